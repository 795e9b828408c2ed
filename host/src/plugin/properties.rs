//! Components and entries of the compile cache that were damaged: an error, or a miss.

use std::{fs, path::PathBuf, sync::LazyLock};

use proptest::{collection::vec, prelude::*, sample::Index};
use wasmtime::Engine;

use super::{cache::CompileCache, catalog::BUNDLED, compiled, outline::Outline};

/// What becomes of a part of a file.
#[derive(Clone, Debug)]
enum Damage {
    Replace(Vec<u8>),
    Insert(Vec<u8>),
    Remove(usize),
    /// Another part of the same file comes here.
    Copy(Index, usize),
    End,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => vec(any::<u8>(), 1..6).prop_map(Damage::Replace),
        2 => vec(any::<u8>(), 1..6).prop_map(Damage::Insert),
        2 => (1..40_usize).prop_map(Damage::Remove),
        2 => (any::<Index>(), 1..400_usize).prop_map(|(from, length)| Damage::Copy(from, length)),
        1 => Just(Damage::End),
    ]
}

fn damages() -> impl Strategy<Value = Vec<(Index, Damage)>> {
    vec((any::<Index>(), damage()), 1..5)
}

fn damaged(mut content: Vec<u8>, damages: Vec<(Index, Damage)>) -> Vec<u8> {
    for (idx, damage) in damages {
        if content.is_empty() {
            break;
        }
        let idx = idx.index(content.len());
        let until = |length: usize| (idx + length).min(content.len());
        match damage {
            Damage::Replace(bytes) => {
                let end = until(bytes.len());
                content[idx..end].copy_from_slice(&bytes[..end - idx]);
            }
            Damage::Insert(bytes) => drop(content.splice(idx..idx, bytes)),
            Damage::Remove(length) => drop(content.drain(idx..until(length))),
            Damage::Copy(from, length) => {
                let from = from.index(content.len());
                let part = content[from..(from + length).min(content.len())].to_vec();
                content.splice(idx..idx, part);
            }
            Damage::End => content.truncate(idx),
        }
    }
    content
}

/// The smallest component: magic number, version, layer.
const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

/// A cache with one entry, and where this lies.
struct Cached {
    cache: CompileCache,
    engine: Engine,
    name: String,
    entry: PathBuf,
    whole: Vec<u8>,
    _dir: tempfile::TempDir,
}

static CACHED: LazyLock<std::sync::Mutex<Cached>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let (engine, cache) = (Engine::default(), CompileCache::open(dir.path()).unwrap());
    let name = compiled::name(&engine, WASM);
    cache.store(&name, &compiled::compile(&engine, WASM).unwrap()).unwrap();
    let entry = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&entry).unwrap();
    Cached { cache, engine, name, entry, whole, _dir: dir }.into()
});

proptest! {
    #[test]
    fn a_damaged_component_has_an_outline_or_is_refused(
        plugin in 0..BUNDLED.len(),
        damages in damages(),
    ) {
        let wasm = damaged(BUNDLED[plugin].wasm.to_vec(), damages);
        if let Err(error) = Outline::read(&wasm) {
            let message = format!("{error:#}");
            prop_assert!(message.starts_with("it "), "{}", message);
        }
    }

    #[test]
    fn an_entry_of_the_cache_that_is_not_what_was_stored_is_a_miss(damages in damages()) {
        let cached = CACHED.lock().unwrap();
        let content = damaged(cached.whole.clone(), damages);
        fs::write(&cached.entry, &content).unwrap();
        let found = cached.cache.load(&cached.engine, &cached.name).is_some();
        prop_assert_eq!(found, content == cached.whole);
    }
}
