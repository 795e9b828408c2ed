//! The granted directory: its lock, and the files in it.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use once_cell::race::OnceBox;
use tally_plugin::{
    Box, Error,
    entries::{self, Entry},
    locks::{Guard, Lock, Mode},
    wasi::{
        config::store,
        filesystem::{
            preopens,
            types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags},
        },
    },
};

use crate::{path, record};

/// How long a call waits for the lock, in milliseconds. It is held for about one flush at a time.
const LOCK_WAIT_MS: u32 = 5_000;

/// What this instance was granted, looked up once.
pub struct Storage {
    pub(crate) directory: Descriptor,
    directory_path: String,
    /// Name of the default counter's file.
    pub(crate) file: String,
    flush: bool,
    lock: Lock,
}

impl Storage {
    pub fn get() -> Result<&'static Self, Error> {
        static STORAGE: OnceBox<Storage> = OnceBox::new();
        STORAGE.get_or_try_init(|| Self::new().map(Box::new))
    }

    fn new() -> Result<Self, Error> {
        let (directory, directory_path) = preopens::get_directories()
            .pop()
            .ok_or_else(|| Error::Other("no directory was granted".into()))?;
        let file = store::get("file")?
            .ok_or_else(|| Error::Other("the setting \"file\" is missing".into()))?;
        let flush = match store::get("durability")?.as_deref() {
            None | Some("each") => true,
            Some("none") => false,
            Some(other) => {
                return Err(Error::Other(format!(
                    "the setting \"durability\" is \"{other}\": set it to \"each\" or \"none\""
                )));
            }
        };
        let lock = Lock::open("counter")?;
        Ok(Self { directory, directory_path, file, flush, lock })
    }

    /// Takes the lock that all users of this directory share.
    pub fn hold(&self, mode: Mode) -> Result<Guard, Error> {
        Ok(self.lock.acquire(mode, LOCK_WAIT_MS)?)
    }

    /// Opens the file of `key` and reads it; the caller holds the lock.
    ///
    /// A file that does not exist counts as 0. One that holds no counter is an error.
    pub fn open(&self, key: &str) -> Result<CounterFile<'_>, Error> {
        let path = path::of_key(&self.file, key);
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let opened =
            self.directory.open_at(PathFlags::SYMLINK_FOLLOW, &path, OpenFlags::empty(), flags);
        let descriptor = match opened {
            Ok(descriptor) => descriptor,
            Err(ErrorCode::NoEntry) => {
                return Ok(CounterFile { storage: self, path, content: None });
            }
            Err(code) => return Err(self.failed("open", &path, code)),
        };
        // One byte more than is ever accepted, so that a longer file is seen to be longer.
        let (bytes, _) = descriptor
            .read(record::FILE_BYTES_MAX as u64 + 1, 0)
            .map_err(|code| self.failed("read", &path, code))?;
        let value = record::parse(&bytes).map_err(|content| {
            Error::Other(format!(
                "{}/{path} is not a counter file: it holds {content}; \
                 put a whole number there or move the file away",
                self.directory_path
            ))
        })?;
        let content =
            Some(Content { descriptor, value, fixed_width: bytes.len() == record::RECORD_BYTES });
        Ok(CounterFile { storage: self, path, content })
    }

    /// Stores each value as [`CounterFile::write`] does; the caller holds the lock.
    pub fn put(&self, entries: &[Entry]) -> Result<(), entries::Error> {
        let mut folders = BTreeSet::new();
        let written = entries.iter().try_for_each(|Entry { key, value }| {
            let stored = self.open(key).and_then(|file| file.write_file(*value));
            folders.extend(stored.map_err(|error| entries::Error::of_key(key, error))?);
            Ok(())
        });
        // Of those that were written, too, when one was not: the next caller expects that their names last.
        let flushed = self.flush_folders(&folders);
        written.and(Ok(flushed?))
    }

    /// A new name survives the loss of power only when its folder was flushed too.
    fn flush_folders<'a>(
        &self,
        folders: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), Error> {
        if !self.flush {
            return Ok(());
        }
        for folder in folders {
            let flags = DescriptorFlags::READ;
            let opened =
                self.directory.open_at(PathFlags::empty(), folder, OpenFlags::DIRECTORY, flags);
            opened.and_then(|folder| folder.sync()).map_err(|code| {
                Error::OutcomeUnknown(format!(
                    "can't flush the folder {}/{folder}: {}",
                    self.directory_path,
                    code.name()
                ))
            })?;
        }
        Ok(())
    }

    pub(crate) fn failed(&self, action: &str, path: &str, code: ErrorCode) -> Error {
        Error::Unavailable(format!(
            "can't {action} {}/{path}: {}",
            self.directory_path,
            code.name()
        ))
    }
}

/// One key's file, read under the lock.
pub struct CounterFile<'a> {
    storage: &'a Storage,
    path: String,
    content: Option<Content>,
}

struct Content {
    descriptor: Descriptor,
    value: i64,
    /// Whether the file is a record as this plugin writes it, and not a number put there by hand.
    fixed_width: bool,
}

impl CounterFile<'_> {
    pub fn value(&self) -> i64 {
        self.content.as_ref().map_or(0, |content| content.value)
    }

    /// Stores `value`; when this returns, it is as durable as the settings ask for.
    pub fn write(&self, value: i64) -> Result<(), Error> {
        self.storage.flush_folders(&self.write_file(value)?)
    }

    /// Stores `value`, and returns the folders that must be flushed before it is durable.
    fn write_file(&self, value: i64) -> Result<Vec<String>, Error> {
        let record = record::format(value);
        match &self.content {
            Some(content) if content.fixed_width => {
                self.overwrite(&content.descriptor, record.as_bytes())?;
                Ok(Vec::new())
            }
            _ => self.replace(record.as_bytes()),
        }
    }

    fn overwrite(&self, descriptor: &Descriptor, record: &[u8]) -> Result<(), Error> {
        let outcome = write_all(descriptor, record).and_then(|()| self.flush(descriptor));
        // The bytes may have reached the file without reaching the disk, so nobody can say which
        // value will be read next. It will be one of the two, and the next flush settles it.
        outcome.map_err(|code| {
            Error::OutcomeUnknown(format!(
                "can't write {}/{}: {}",
                self.storage.directory_path,
                self.path,
                code.name()
            ))
        })
    }

    /// Puts a whole new file in the place of the old one, or where none was; returns the folders on the way to it.
    fn replace(&self, record: &[u8]) -> Result<Vec<String>, Error> {
        let folders = self.make_folders()?;
        // The name is free: only the holder of the lock uses it.
        let temporary = format!("{}.tmp", self.path);
        let directory = &self.storage.directory;
        let outcome = self
            .write_temporary(&temporary, record)
            .and_then(|()| directory.rename_at(&temporary, directory, &self.path));
        if let Err(code) = outcome {
            // Best effort: a temporary file that stays is overwritten next time.
            let _ = directory.unlink_file_at(&temporary);
            return Err(self.storage.failed("write", &temporary, code));
        }
        Ok(folders)
    }

    fn write_temporary(&self, temporary: &str, record: &[u8]) -> Result<(), ErrorCode> {
        let file = self.storage.directory.open_at(
            PathFlags::empty(),
            temporary,
            OpenFlags::CREATE | OpenFlags::TRUNCATE,
            DescriptorFlags::WRITE,
        )?;
        write_all(&file, record)?;
        self.flush(&file)
    }

    /// Makes the folders on the way to the file; returns them all, the outermost first.
    fn make_folders(&self) -> Result<Vec<String>, Error> {
        let mut folders = Vec::from([String::from(".")]);
        for (end, _) in self.path.match_indices('/') {
            let folder = &self.path[..end];
            match self.storage.directory.create_directory_at(folder) {
                Ok(()) | Err(ErrorCode::Exist) => folders.push(folder.into()),
                Err(code) => return Err(self.storage.failed("make", folder, code)),
            }
        }
        Ok(folders)
    }

    fn flush(&self, descriptor: &Descriptor) -> Result<(), ErrorCode> {
        if self.storage.flush { descriptor.sync_data() } else { Ok(()) }
    }
}

fn write_all(descriptor: &Descriptor, bytes: &[u8]) -> Result<(), ErrorCode> {
    let written = descriptor.write(bytes, 0)?;
    if written < bytes.len() as u64 { Err(ErrorCode::InsufficientSpace) } else { Ok(()) }
}
