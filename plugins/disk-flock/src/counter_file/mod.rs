//! Reading and writing the files of counters so that nothing which was acknowledged is lost. The caller holds the lock.
//!
//! A file is made under another name and linked to its own, so it appears whole, and never in the place of another. From
//! then on it is overwritten in place: other programs lock the file itself, and would go on with one that was replaced.
//!
//! What is not known to be on the disk, its name included, is marked in the file itself: an instance and a process may
//! end, and the next one has to know. Who finds the mark flushes all of it before relying on it.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use tally_plugin::{Error, file_error};

use crate::{
    files::{Directory, ErrorCode, File},
    record,
};

/// The most steps in which a record is read or written: of one byte each, and as many that were interrupted.
const STEPS_MAX: usize = 2 * (record::FILE_BYTES_MAX + 1);

/// The counter files of one directory.
pub struct Files<D> {
    pub directory: D,
    /// The directory's path, for people.
    pub shown: String,
    /// Whether anything is flushed.
    pub flush: bool,
}

impl<D: Directory> Files<D> {
    /// The file at `path`; none where it does not exist. One that holds no counter is an error.
    pub fn open(&self, path: &str) -> Result<Option<CounterFile<'_, D>>, Error> {
        let file = match self.directory.open(path) {
            Ok(file) => file,
            Err(ErrorCode::NoEntry) => return Ok(None),
            Err(code) => return Err(self.failed("open", path, code)),
        };
        let content = read_to_end(&file).map_err(|code| self.failed("read", path, code))?;
        let value = record::parse(&content).map_err(|quoted| {
            Error::Other(format!(
                "{}/{path} is not a counter file: it holds {quoted}; \
                 put a whole number there or move the file away",
                self.shown
            ))
        })?;
        Ok(Some(CounterFile { files: self, path: path.into(), file, content, value }))
    }

    /// Makes the file at `path`, marked; returns false where there is one by now, which is left alone.
    pub fn make(&self, path: &str, value: i64) -> Result<bool, Error> {
        self.make_folders(path)?;
        // The name is free: only the holder of the lock uses it. What a process that died has left there may be a second
        // name of a counter's file, so it is not written to.
        let temporary = format!("{path}.tmp");
        let _ = self.directory.remove(&temporary);
        let failed = |code| self.failed("make", path, code);
        let written = self.write_temporary(&temporary, value);
        let written = written.map_err(|code| self.failed("make", &temporary, code));
        let linked = written.map(|()| {
            match self.directory.link(&temporary, path) {
                // A file system without links.
                Err(ErrorCode::Unsupported | ErrorCode::NotPermitted) => {
                    self.directory.rename(&temporary, path)
                }
                linked => linked,
            }
        });
        // Best effort: one that stays is removed next time.
        let _ = self.directory.remove(&temporary);
        match linked? {
            Ok(()) => Ok(true),
            Err(ErrorCode::Exist) => Ok(false),
            Err(code) => Err(failed(code)),
        }
    }

    /// Flushes files that were made, and their names.
    pub fn settle(&self, paths: &[String]) -> Result<(), Error> {
        if !self.flush {
            return Ok(());
        }
        let folders: BTreeSet<&str> = paths.iter().flat_map(|path| folders(path)).collect();
        self.flush_folders(folders)?;
        for path in paths {
            // One that others have removed has nothing left to be flushed.
            if let Some(file) = self.open(path)? {
                file.unmark()?;
            }
        }
        Ok(())
    }

    fn write_temporary(&self, temporary: &str, value: i64) -> Result<(), ErrorCode> {
        let file = self.directory.create(temporary)?;
        let content = if self.flush { record::marked(value) } else { record::format(value) };
        write_all(&file, content.as_bytes(), 0).map_err(|(code, _)| code)?;
        self.flush(&file)
    }

    fn make_folders(&self, path: &str) -> Result<(), Error> {
        // The first is the directory itself.
        for folder in folders(path).skip(1) {
            match self.directory.make_folder(folder) {
                Ok(()) | Err(ErrorCode::Exist) => {}
                Err(code) => return Err(self.failed("make", folder, code)),
            }
        }
        Ok(())
    }

    fn flush_folders<'a>(&self, folders: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        if !self.flush {
            return Ok(());
        }
        folders.into_iter().try_for_each(|folder| {
            self.directory.flush_folder(folder).map_err(|code| self.failed("flush", folder, code))
        })
    }

    fn flush(&self, file: &D::File) -> Result<(), ErrorCode> {
        if self.flush { file.flush() } else { Ok(()) }
    }

    /// An error of what changed nothing.
    pub fn failed(&self, action: &str, path: &str, code: ErrorCode) -> Error {
        let why = format!("can't {action} {}/{path}: {}", self.shown, in_words(code));
        match code {
            ErrorCode::InsufficientSpace | ErrorCode::Quota => Error::Full(why),
            _ => Error::Unavailable(why),
        }
    }

    fn unknown(&self, action: &str, path: &str, code: ErrorCode) -> Error {
        Error::OutcomeUnknown(format!("can't {action} {}/{path}: {}", self.shown, in_words(code)))
    }
}

/// One key's file, read under the lock.
pub struct CounterFile<'a, D: Directory> {
    files: &'a Files<D>,
    path: String,
    file: D::File,
    content: Vec<u8>,
    value: i64,
}

impl<D: Directory> CounterFile<'_, D> {
    pub fn value(&self) -> i64 {
        self.value
    }

    /// Whether the value, or the file's name, may not be on the disk although it should.
    pub fn is_marked(&self) -> bool {
        self.files.flush && record::is_marked(&self.content)
    }

    /// Stores `value`; when this returns, it is as durable as the settings ask for.
    pub fn write(&self, value: i64) -> Result<(), Error> {
        let new = record::of_length(value, self.content.len());
        if self.content.len() >= record::RECORD_BYTES && !self.is_marked() {
            return self.overwrite(&self.content, new.as_bytes());
        }
        // The name, and the length with the old value, are on the disk before the value changes: a loss of power could
        // leave the new one cut to a shorter length.
        self.files.flush_folders(folders(&self.path))?;
        let grown = record::marked(self.value);
        self.overwrite(&self.content, grown.as_bytes())?;
        self.overwrite(grown.as_bytes(), new.as_bytes())
    }

    /// Flushes the name of a marked file, and its value with it.
    pub fn settle(&self) -> Result<(), Error> {
        self.files.flush_folders(folders(&self.path))?;
        self.unmark()
    }

    fn unmark(&self) -> Result<(), Error> {
        if self.is_marked() {
            self.overwrite(&self.content, record::format(self.value).as_bytes())
        } else {
            Ok(())
        }
    }

    /// Best effort: where the mark can't be written either, the value is the old one or the new one all the same.
    fn mark(&self) {
        let _ = write_all(&self.file, record::MARK, record::RECORD_BYTES - record::MARK.len());
    }

    fn overwrite(&self, old: &[u8], new: &[u8]) -> Result<(), Error> {
        let (files, path) = (self.files, &self.path);
        if let Err((code, written)) = write_all(&self.file, new, 0) {
            return Err(if self.is_restored(old, code, written) {
                files.failed("write", path, code)
            } else {
                files.unknown("write", path, code)
            });
        }
        // The bytes have reached the file, but perhaps not the disk, and a flush that is made again would not tell.
        files.flush(&self.file).map_err(|code| {
            self.mark();
            files.unknown("flush", path, code)
        })
    }

    /// Whether the file holds the `old` content again after a write that failed after some bytes: a part of the new
    /// value followed by a part of the old one would be a value that nobody has stored.
    fn is_restored(&self, old: &[u8], code: ErrorCode, written: usize) -> bool {
        if written == 0 {
            // Only of these is it known that nothing was begun.
            return matches!(code, ErrorCode::InsufficientSpace | ErrorCode::Quota);
        }
        let restored = write_all(&self.file, old, 0).is_ok();
        if restored && old.len() == record::RECORD_BYTES {
            self.mark();
        }
        restored
    }
}

/// What a code means for a file of ours, where that is not what it says.
fn in_words(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Exist => "something that can't be removed is there",
        ErrorCode::IsDirectory => "it is a directory, not a regular file",
        ErrorCode::Loop => "it is a symbolic link, which is not followed",
        ErrorCode::InvalidSeek | ErrorCode::NoSuchDevice => {
            "it is a named pipe, a socket or a device, not a regular file"
        }
        code => file_error(code),
    }
}

/// The folders on the way to a file, the directory itself first.
fn folders(path: &str) -> impl Iterator<Item = &str> {
    core::iter::once(".").chain(path.match_indices('/').map(|(end, _)| &path[..end]))
}

/// The content of a file, or one byte more than is ever accepted, so that a longer file is seen to be longer.
fn read_to_end(file: &impl File) -> Result<Vec<u8>, ErrorCode> {
    let mut content = Vec::new();
    for _ in 0..STEPS_MAX {
        if content.len() > record::FILE_BYTES_MAX || record::is_whole(&content) {
            return Ok(content);
        }
        match file.read(record::FILE_BYTES_MAX + 1 - content.len(), content.len()) {
            Ok(part) if part.is_empty() => return Ok(content),
            Ok(part) => content.extend(part),
            Err(ErrorCode::Interrupted) => {}
            Err(code) => return Err(code),
        }
    }
    Err(ErrorCode::Interrupted)
}

/// Writes all bytes; on an error returns also how many were written.
fn write_all(file: &impl File, bytes: &[u8], offset: usize) -> Result<(), (ErrorCode, usize)> {
    let mut written = 0;
    for _ in 0..STEPS_MAX {
        if written == bytes.len() {
            return Ok(());
        }
        match file.write(&bytes[written..], offset + written) {
            Ok(0) => return Err((ErrorCode::InsufficientSpace, written)),
            Ok(count) => written += count,
            Err(ErrorCode::Interrupted) => {}
            Err(code) => return Err((code, written)),
        }
    }
    if written == bytes.len() { Ok(()) } else { Err((ErrorCode::Interrupted, written)) }
}

#[cfg(test)]
mod tests;
