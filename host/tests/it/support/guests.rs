//! The guests that are only for tests.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

#[path = "../../../build/guests.rs"]
mod build;

const GUESTS: [&str; 8] = [
    "guest-disk-truncate",
    "guest-first-call",
    "guest-hostile",
    "guest-hostile-hazelcast",
    "guest-hostile-prompt",
    "guest-hostile-sql",
    "guest-periodic",
    "guest-slow",
];

/// The `.wasm` file of one of them; all are compiled when the first is asked for.
pub fn guest(name: &str) -> PathBuf {
    static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
        let target_dir = Path::new(env!("TALLY_GUEST_TARGET_DIR"));
        build::build(&GUESTS.map(String::from), target_dir).unwrap()
    });
    assert!(GUESTS.contains(&name), "{name} is not a guest");
    DIRECTORY.join(format!("{}.wasm", name.replace('-', "_")))
}
