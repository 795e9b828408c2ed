//! Replaces files as a whole: whoever opens one finds the old content or the new one.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Puts `content` in the place of the file at `path`, readable by all and written by its owner. It is on the disk then, though
/// perhaps not under its name.
///
/// It is written under a name that nobody can foresee, and only where nothing of that name is: neither a link nor a named
/// pipe can be put in its way. A process that is killed meanwhile leaves that file there, `*.tmp`.
///
/// # Errors
///
/// When it can't be written; the file is as it was then.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: nobody takes it for the file itself.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A name beside `path` that no other process has.
///
/// # Errors
///
/// When there are no random numbers.
pub fn temporary(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let mut name = OsString::from(path);
    name.push(format!(".{:016x}.tmp", u64::from_ne_bytes(random)));
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for content in ["one", "another"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        replace(&taken, b"one").unwrap_err();
        replace(&dir.path().join("missing/file"), b"one").unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
