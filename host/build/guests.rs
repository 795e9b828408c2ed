//! Compiles guest packages of this workspace for wasm32-wasip2.
//!
//! Shared by the build script, for the bundled plugins, and by the tests, for the guests that
//! misbehave on purpose.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "wasm32-wasip2";

/// Compiles `packages` and returns the directory that holds their `.wasm` files.
///
/// # Errors
///
/// A sentence for the user, when the target can't be installed or a guest does not compile.
pub fn build(packages: &[String], target_dir: &Path) -> Result<PathBuf, String> {
    require_target()?;
    let mut cargo = cargo(&workspace(), target_dir);
    cargo.args(["build", "--quiet", "--profile", "plugin", "--target", TARGET]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    let status = cargo.status().map_err(|error| format!("cargo can't be started: {error}"))?;
    if !status.success() {
        return Err("the plugins did not compile; the reason stands above".into());
    }
    Ok(target_dir.join(TARGET).join("plugin"))
}

/// A command of cargo in `directory`, whose results go to `target_dir`.
pub fn cargo(directory: &Path, target_dir: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(directory).env("CARGO_TARGET_DIR", target_dir);
    // What the surrounding cargo set for the host must not leak into the guests' build.
    for (name, _) in env::vars_os() {
        let leaks = name.to_str().is_some_and(|name| {
            matches!(name, "RUSTFLAGS" | "CARGO_ENCODED_RUSTFLAGS" | "CARGO_BUILD_TARGET")
                || name.starts_with("CARGO_PROFILE_")
                || name.starts_with("RUSTC_")
                || name.starts_with("CLIPPY_")
        });
        if leaks {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The root of the workspace, asked at run time: a checkout may have been moved since this was compiled.
pub fn workspace() -> PathBuf {
    let host = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    PathBuf::from(host).join("..")
}

/// Adds the guests' compilation target through rustup where it is missing.
fn require_target() -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let installed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
    let added = installed
        || Command::new("rustup")
            .args(["target", "add", TARGET])
            .status()
            .is_ok_and(|status| status.success());
    if added {
        Ok(())
    } else {
        Err(format!("the plugins' compilation target is missing; run: rustup target add {TARGET}"))
    }
}
