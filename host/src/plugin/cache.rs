//! Compiled components on disk, so that a plugin is compiled once and not at every start.
//!
//! An entry is named after the component's content and the engine that compiled it. It begins with
//! a checksum over the rest: machine code that was damaged must never run.

#![allow(unsafe_code, reason = "loading machine code can't be done without")]

use std::{
    fs,
    hash::{Hash, Hasher},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

/// The most entries kept; the ones written longest ago are removed first.
const ENTRIES_MAX: usize = 64;

/// Bytes of the checksum that an entry begins with.
const CHECKSUM_BYTES: usize = 32;

/// A directory of compiled components that only its owner can write to.
pub struct CompileCache {
    directory: PathBuf,
}

impl CompileCache {
    /// The cache in `directory`, which is made where it does not exist.
    ///
    /// # Errors
    ///
    /// When it can't be made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// The compiled form of `wasm`; none when it is not there, damaged, or of another engine.
    pub fn load(&self, engine: &Engine, wasm: &[u8]) -> Option<Component> {
        let path = self.path(engine, wasm);
        let entry = fs::read(&path).ok()?;
        let (checksum, code) = entry.split_first_chunk::<CHECKSUM_BYTES>()?;
        if *checksum != <[u8; CHECKSUM_BYTES]>::from(Sha256::digest(code)) {
            tracing::warn!(path = %path.display(), "a damaged entry of the compile cache is ignored");
            return None;
        }
        // SAFETY: the bytes are what `store` wrote: `Component::serialize` made them, the checksum
        // says that they are unchanged, and nobody but the owner can write to the directory.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Keeps the compiled form of `wasm`.
    ///
    /// # Errors
    ///
    /// When it can't be written; the cache is unchanged then.
    pub fn store(&self, engine: &Engine, wasm: &[u8], component: &Component) -> anyhow::Result<()> {
        let code = component.serialize()?;
        let path = self.path(engine, wasm);
        // A name of this process's own, so that what is renamed into place is whole.
        let temporary = path.with_extension(format!("{}.tmp", process::id()));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&Sha256::digest(&code))?;
        file.write_all(&code)?;
        fs::rename(&temporary, &path)?;
        self.prune()?;
        Ok(())
    }

    fn path(&self, engine: &Engine, wasm: &[u8]) -> PathBuf {
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.write(wasm);
        let name: String = hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.join(name)
    }

    fn prune(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            entries.push((entry.metadata()?.modified()?, entry.path()));
        }
        entries.sort();
        for (_, path) in entries.iter().rev().skip(ENTRIES_MAX) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
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

    fn entry(cache: &CompileCache) -> PathBuf {
        fs::read_dir(&cache.directory).unwrap().next().unwrap().unwrap().path()
    }

    #[test]
    fn what_was_stored_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = (Engine::default(), CompileCache::open(dir.path()).unwrap());
        assert!(cache.load(&engine, WASM).is_none());
        let component = Component::new(&engine, WASM).unwrap();
        cache.store(&engine, WASM, &component).unwrap();
        assert!(cache.load(&engine, WASM).is_some());
        assert!(cache.load(&engine, b"other").is_none(), "other content");
    }

    #[test]
    fn a_damaged_entry_is_a_miss_wherever_the_damage_is() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = (Engine::default(), CompileCache::open(dir.path()).unwrap());
        let component = Component::new(&engine, WASM).unwrap();
        cache.store(&engine, WASM, &component).unwrap();
        let path = entry(&cache);
        let whole = fs::read(&path).unwrap();
        for damaged_idx in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            let mut damaged = whole.clone();
            damaged[damaged_idx] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(cache.load(&engine, WASM).is_none(), "byte {damaged_idx}");
        }
        for len in [0, CHECKSUM_BYTES - 1, CHECKSUM_BYTES, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(cache.load(&engine, WASM).is_none(), "cut to {len} bytes");
        }
        fs::write(&path, whole).unwrap();
        assert!(cache.load(&engine, WASM).is_some());
    }

    #[test]
    fn the_oldest_entries_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = (Engine::default(), CompileCache::open(dir.path()).unwrap());
        let component = Component::new(&engine, WASM).unwrap();
        for idx in 0..=ENTRIES_MAX {
            cache.store(&engine, idx.to_string().as_bytes(), &component).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), ENTRIES_MAX);
    }
}
