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

/// Writes the package of `manifest` and `source` into `directory`, which lies outside of this workspace, compiles it by its
/// author's command, and brings what lies at `wasm` then into the directory. It takes compiler and versions of this
/// workspace, and its profile of plugins for `--release`, so that what these have in common is compiled once.
pub fn foreign_guest(
    directory: &Path,
    manifest: &str,
    source: &str,
    command: &str,
    wasm: &str,
) -> PathBuf {
    // Those of one name are compiled to one file, and are one package to cargo, whose source has changed only if it is
    // written after the compilation before.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let workspace = build::workspace();
    for file in ["Cargo.lock", "rust-toolchain.toml"] {
        fs::copy(workspace.join(file), directory.join(file)).unwrap();
    }
    let ours = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let profile = &ours[ours.find("[profile.plugin]").unwrap()..];
    fs::write(directory.join("Cargo.toml"), format!("{manifest}\n{profile}")).unwrap();
    fs::create_dir(directory.join("src")).unwrap();
    fs::write(directory.join("src/lib.rs"), source).unwrap();
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
