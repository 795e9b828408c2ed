//! Compiled components as they are passed on from the compiler and kept in the cache.
//!
//! A checksum over the name and the machine code, and then the machine code. The name is made from the component and the
//! engine, so what was compiled from another component, or for another engine, is not loaded whatever file it lies in.

#![allow(unsafe_code, reason = "loading machine code can't be done without")]

use std::hash::{Hash, Hasher};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

/// Bytes of the checksum at the beginning.
const CHECKSUM_BYTES: usize = 32;

/// What `wasm` is called when `engine` has compiled it: 64 hexadecimal digits.
pub fn name(engine: &Engine, wasm: &[u8]) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.write(wasm);
    hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compiles `wasm` on this thread.
///
/// # Errors
///
/// Why it does not compile.
pub fn compile(engine: &Engine, wasm: &[u8]) -> anyhow::Result<Vec<u8>> {
    let code = engine
        .precompile_component(wasm)
        .map_err(|error| anyhow::anyhow!("it does not compile: {error:#}"))?;
    let mut compiled = checksum(&name(engine, wasm), &code).to_vec();
    compiled.extend(code);
    Ok(compiled)
}

/// The component in `compiled`, which is called `name`.
///
/// The bytes become machine code of this process: they must come from [`compile`], by a way on which nobody else can put
/// others in their place.
///
/// # Errors
///
/// When they are damaged, or of another name.
pub fn load(engine: &Engine, name: &str, compiled: &[u8]) -> anyhow::Result<Component> {
    let (found, code) = compiled.split_first_chunk().context("it is cut off")?;
    ensure!(*found == checksum(name, code), "its checksum is another");
    // SAFETY: `compile` made the code, as the caller promises, and the checksum says that it is unchanged.
    Ok(unsafe { Component::deserialize(engine, code) }?)
}

fn checksum(name: &str, code: &[u8]) -> [u8; CHECKSUM_BYTES] {
    Sha256::new().chain_update(name).chain_update(code).finalize().into()
}

/// SHA-256 behind the standard trait, for the engine's hash.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the whole digest is taken instead")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component: magic number, version, layer.
    const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn what_was_compiled_is_loaded_whole_and_under_its_own_name_only() {
        let engine = Engine::default();
        let name = name(&engine, WASM);
        let whole = compile(&engine, WASM).unwrap();
        load(&engine, &name, &whole).unwrap();
        let other = super::name(&engine, b"other");
        assert!(load(&engine, &other, &whole).is_err(), "another name");
        for damaged_idx in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            let mut damaged = whole.clone();
            damaged[damaged_idx] ^= 1;
            assert!(load(&engine, &name, &damaged).is_err(), "byte {damaged_idx}");
        }
        for len in [0, CHECKSUM_BYTES - 1, CHECKSUM_BYTES, whole.len() - 1] {
            assert!(load(&engine, &name, &whole[..len]).is_err(), "cut to {len} bytes");
        }
    }
}
