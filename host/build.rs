//! Compiles every plugin under `plugins/` and embeds it with what its manifest says of it.

#[path = "build/guests.rs"]
mod guests;

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process,
};

/// The folder in `plugins/` that is a library for plugins, not a plugin.
const SDK: &str = "sdk";

fn main() {
    let workspace = guests::workspace();
    for input in ["plugins", "wit", "Cargo.toml", "Cargo.lock", "host/build"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    let names = plugin_names(&workspace.join("plugins"));
    let target_dir = target_dir();
    let built = guests::build(&names, &target_dir).unwrap_or_else(|why| {
        println!("cargo::error={why}");
        process::exit(1);
    });
    println!("cargo::rustc-env=TALLY_GUEST_TARGET_DIR={}", target_dir.display());

    let mut table = String::from("&[\n");
    for name in &names {
        let manifest = workspace.join("plugins").join(name).join("Cargo.toml");
        let wasm = built.join(format!("{}.wasm", name.replace('-', "_")));
        writeln!(table, "{}", entry(name, &manifest, &wasm)).expect("writing to a string");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("bundled.rs"), table).expect("OUT_DIR is writable");
}

fn plugin_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("plugins/ can be read");
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != SDK && folder.join(name).join("Cargo.toml").exists())
        .collect();
    names.sort();
    names
}

/// A folder of the guests' own beside the profile folders, so that all profiles share it and the
/// inner cargo does not wait for the lock that the outer one holds.
fn target_dir() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    out.ancestors().nth(4).expect("OUT_DIR lies in a target directory").join("plugins")
}

/// One element of the table of bundled plugins, as Rust source.
fn entry(name: &str, manifest: &Path, wasm: &Path) -> String {
    let text = fs::read_to_string(manifest).expect("the manifest can be read");
    let parsed: toml::Table = text.parse().expect("the manifest is TOML");
    let tally = &parsed["package"]["metadata"]["tally"];
    let text = |field: &str| tally[field].as_str().unwrap_or_else(|| panic!("{name}: no {field}"));
    let lock_protocol = tally.get("lock-protocol").and_then(toml::Value::as_str);
    let no_settings = toml::Value::Array(Vec::new());
    let settings = tally.get("settings").unwrap_or(&no_settings);
    format!(
        "Bundled {{ name: {name:?}, storage: {:?}, method: {:?}, guarantee: {:?}, lock_protocol: {lock_protocol:?}, grants: &{}, settings: &{settings}, wasm: include_bytes!({wasm:?}) }},",
        text("storage"),
        text("method"),
        text("guarantee"),
        tally["grants"],
    )
}
