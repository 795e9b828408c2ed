//! The guests that are only for tests.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

#[path = "../../../build/guests.rs"]
mod build;

const GUESTS: [&str; 9] = [
    "guest-disk-truncate",
    "guest-first-call",
    "guest-hostile",
    "guest-hostile-hazelcast",
    "guest-hostile-prompt",
    "guest-hostile-sql",
    "guest-periodic",
    "guest-slow",
    "guest-unruly",
];

/// Where they are compiled.
const TARGET_DIR: &str = env!("TALLY_GUEST_TARGET_DIR");

/// The `.wasm` file of one of them; all are compiled when the first is asked for.
pub fn guest(name: &str) -> PathBuf {
    static DIRECTORY: LazyLock<PathBuf> =
        LazyLock::new(|| build::build(&GUESTS.map(String::from), Path::new(TARGET_DIR)).unwrap());
    assert!(GUESTS.contains(&name), "{name} is not a guest");
    DIRECTORY.join(format!("{}.wasm", name.replace('-', "_")))
}

/// Compiles the package in `directory`, which lies outside of this workspace, by its author's command, and brings what
/// lies at `wasm` then into the directory. It takes compiler and versions of this workspace, and its profile of plugins for
/// `--release`, so that what these have in common is compiled once.
pub fn foreign_guest(directory: &Path, command: &str, wasm: &str) -> PathBuf {
    // Those of one name are compiled to one file.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let workspace = build::workspace();
    for file in ["Cargo.lock", "rust-toolchain.toml"] {
        fs::copy(workspace.join(file), directory.join(file)).unwrap();
    }
    let read = |manifest: &Path| fs::read_to_string(manifest).unwrap();
    let ours = read(&workspace.join("Cargo.toml"));
    let profile = &ours[ours.find("[profile.plugin]").unwrap()..];
    let manifest = directory.join("Cargo.toml");
    fs::write(&manifest, format!("{}\n{profile}", read(&manifest))).unwrap();
    let command = command.replace("--release", "--profile plugin");
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("cargo"));
    let mut cargo = build::cargo(directory, Path::new(TARGET_DIR));
    assert!(cargo.args(words).args(["--quiet", "--offline"]).status().unwrap().success());
    let wasm = wasm.strip_prefix("target/").unwrap().replace("/release/", "/plugin/");
    let compiled = Path::new(TARGET_DIR).join(wasm);
    let brought = directory.join(compiled.file_name().unwrap());
    fs::copy(compiled, &brought).unwrap();
    brought
}
