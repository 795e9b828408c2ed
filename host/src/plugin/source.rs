//! Reads the bytes of a component, whole and within a size.

use std::{
    borrow::Cow,
    fs::{Metadata, OpenOptions},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::{catalog::Source, limits::PluginLimits};
use crate::regular_file;

/// How a component begins; a core module has another version in bytes 4 to 7.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// The component at `source`.
///
/// # Errors
///
/// When it can't be read, is larger than it may be, or changes while it is read.
pub fn read(source: &Source, limits: &PluginLimits) -> anyhow::Result<Cow<'static, [u8]>> {
    match source {
        Source::Bundled(bundled) => Ok(Cow::Borrowed(bundled.wasm)),
        Source::File(path) => Ok(Cow::Owned(read_file(path, limits)?)),
    }
}

/// The content's name: a digest, `sha256:` and 64 hexadecimal digits.
pub fn digest(wasm: &[u8]) -> String {
    let digits = Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

/// Refuses what no compiler needs to look at.
///
/// # Errors
///
/// Says what it is instead of a component.
pub fn check_header(wasm: &[u8]) -> anyhow::Result<()> {
    if wasm.starts_with(&COMPONENT_HEADER) {
        return Ok(());
    }
    if wasm.starts_with(b"\0asm") {
        bail!("it is a core WebAssembly module and not a component: compile it for wasm32-wasip2");
    }
    bail!("it is not WebAssembly");
}

fn read_file(path: &Path, limits: &PluginLimits) -> anyhow::Result<Vec<u8>> {
    let size_max = limits.file_bytes_max();
    let shown = path.display();
    let mut file = regular_file::open(path, OpenOptions::new().read(true))
        .with_context(|| format!("can't open {shown}"))?;
    let cant_read = || format!("can't read {shown}");
    let before = file.metadata().with_context(cant_read)?;
    let mut wasm = Vec::new();
    (&mut file).take(size_max + 1).read_to_end(&mut wasm).with_context(cant_read)?;
    if wasm.len() as u64 > size_max {
        bail!("{shown} is larger than --plugin-file-max ({} MiB)", limits.plugin_file_max);
    }
    let after = file.metadata().with_context(cant_read)?;
    if version(&before) != version(&after) || wasm.len() as u64 != after.len() {
        bail!("{shown} changed while it was read: try again when it is written");
    }
    Ok(wasm)
}

/// What changes whenever a file is written to; its modification time alone can be set back.
fn version(file: &Metadata) -> (u64, i64, i64) {
    (file.len(), file.ctime(), file.ctime_nsec())
}
