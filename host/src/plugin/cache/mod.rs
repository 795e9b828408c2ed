//! Compiled components on disk, so that a plugin is compiled once and not at every start.
//!
//! Entries are machine code that this process runs, so nobody else may be able to write them.

use std::{
    fs::{self, DirBuilder, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::ensure;
use rustix::process::geteuid;
use wasmtime::{Engine, component::Component};

use super::compiled;
use crate::{regular_file, whole_file};

/// The most entries kept; the ones written longest ago are removed first.
const ENTRIES_MAX: usize = 64;

/// The most bytes of all entries together, and so of one; again the oldest are removed first.
const BYTES_MAX: u64 = 1 << 30;

/// The permission of the group and of all others to write.
const OTHERS_WRITE: u32 = 0o022;

/// Hexadecimal digits that the name of an entry begins with; files of other names are left alone.
const NAME_DIGITS: usize = 64;

/// A directory of compiled components that only this user can write to.
pub struct CompileCache {
    directory: PathBuf,
}

impl CompileCache {
    /// The cache in `directory`, which is made where it does not exist.
    ///
    /// # Errors
    ///
    /// When it can't be made, or when others could write to it.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        check_own(&fs::metadata(directory)?)?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// The component called `name`; none when it is not there, damaged, or written by somebody else.
    pub fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let path = self.directory.join(name);
        let loaded = read(&path).and_then(|entry| compiled::load(engine, name, &entry));
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        loaded
            .inspect_err(|error| {
                if !error.downcast_ref().is_some_and(missing) {
                    let path = path.display();
                    tracing::warn!("the entry {path} of the compile cache is ignored: {error:#}");
                }
            })
            .ok()
    }

    /// Keeps `compiled`, which is called `name`.
    ///
    /// # Errors
    ///
    /// When it can't be written; the cache is unchanged then.
    pub fn store(&self, name: &str, compiled: &[u8]) -> anyhow::Result<()> {
        whole_file::replace(&self.directory.join(name), compiled)?;
        Ok(self.prune()?)
    }

    fn prune(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.as_encoded_bytes().get(..NAME_DIGITS);
            if name.is_some_and(|name| name.iter().all(u8::is_ascii_hexdigit)) {
                let metadata = match entry.metadata() {
                    // Another host has given it its name, or made room.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    metadata => metadata?,
                };
                entries.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        entries.sort();
        let mut bytes = 0;
        for (idx, (_, len, path)) in entries.iter().rev().enumerate() {
            bytes += len;
            if idx >= ENTRIES_MAX || bytes > BYTES_MAX {
                match fs::remove_file(path) {
                    // Another host has made room at the same time.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = regular_file::open(path, OpenOptions::new().read(true))?;
    let metadata = file.metadata()?;
    // Again: another directory may have been put in the place of the one that was opened.
    check_own(&metadata)?;
    ensure!(metadata.len() <= BYTES_MAX, "it has more than {BYTES_MAX} bytes");
    let mut entry = Vec::with_capacity(usize::try_from(metadata.len())?);
    file.take(BYTES_MAX).read_to_end(&mut entry)?;
    Ok(entry)
}

/// Refuses what others may have written.
fn check_own(metadata: &Metadata) -> anyhow::Result<()> {
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    ensure!(owner == user, "it belongs to the user {owner}, and this program runs as {user}");
    let mode = metadata.mode() & 0o7777;
    ensure!(mode & OTHERS_WRITE == 0, "others may write to it (mode {mode:o}): chmod go-w");
    Ok(())
}

#[cfg(test)]
mod tests;
