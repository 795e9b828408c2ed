//! Opens what must be a regular file: configuration, plugins, records, regions.
//!
//! Anything else that lies at such a path could stop the program: opening a named pipe waits for a writer, and a device may
//! never end. A symbolic link could lead anywhere.

use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno};

/// Opens the file at `path` as `options` say, without waiting and without following a link in the last part of the path.
///
/// # Errors
///
/// When it can't be opened, or is not a regular file: then what it is instead, as the end of a sentence that names the path.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A named pipe without a reader can't be opened for writing, whatever its type says.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| {
        match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => io::Error::other(
                "it is a symbolic link, which is not followed: name the file itself",
            ),
            Some(Errno::NXIO) => not_regular("a named pipe, socket or device"),
            _ => error,
        }
    })?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() { Ok(file) } else { Err(not_regular(in_words(kind))) }
}

/// Reads the file at `path`, which may have at most `bytes_max` bytes.
///
/// # Errors
///
/// As for [`open`]; when it can't be read; and when it has more bytes.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open(path, OpenOptions::new().read(true))?;
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn not_regular(what: &str) -> io::Error {
    io::Error::other(format!("it is {what}, not a regular file"))
}

fn in_words(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "a special file",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn nothing_but_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "12345").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (path, expected) in [
            (at("file"), None),
            (at("link"), Some("a symbolic link")),
            (at("pipe"), Some("a named pipe")),
            (at("socket"), Some("socket")),
            (dir.path().to_owned(), Some("irectory")),
            (Path::new("/dev/zero").to_owned(), Some("a device")),
        ] {
            let read = OpenOptions::new().read(true).to_owned();
            let append = OpenOptions::new().append(true).to_owned();
            for mut options in [read, append] {
                let why = open(&path, &mut options).err().map(|error| error.to_string());
                match expected {
                    None => assert_eq!(why, None, "{path:?}"),
                    Some(part) => assert!(why.unwrap().contains(part), "{path:?}"),
                }
            }
        }
    }

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert!(read(file.path(), 4).unwrap_err().to_string().contains("4 bytes"));
    }
}
