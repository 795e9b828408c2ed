//! What this instance was granted: the files of one directory, and the locks on them.

use alloc::{format, string::String, vec::Vec};

use once_cell::race::OnceBox;
use tally_plugin::{
    Box, DEFAULT_KEY, Error,
    entries::{self, Entry},
    locks::{self, Guard, Lock, Mode},
    wasi::{
        config::store,
        filesystem::{preopens, types::Descriptor},
    },
};

use crate::{counter_file::Files, path};

/// How long a call waits for a lock, in milliseconds. It is held for about one flush at a time.
const LOCK_WAIT_MS: u32 = 5_000;

/// The lock on the default counter's file itself, which other programs take too.
const FILE_LOCK: &str = "file";

/// The lock on all other files, and on making any.
const COUNTERS_LOCK: &str = "counter";

/// How often a call begins again because others have made the file, removed it or failed to flush it meanwhile.
const TRIES_MAX: u32 = 10;

/// What this instance was granted, looked up once.
///
/// No call holds both locks at once: another program may hold [`FILE_LOCK`] for long, and must not keep other
/// counters waiting.
pub struct Storage {
    pub(crate) files: Files<Descriptor>,
    /// Name of the default counter's file.
    pub(crate) file: String,
    file_lock: Lock,
    counters_lock: Lock,
}

impl Storage {
    pub fn get() -> Result<&'static Self, Error> {
        static STORAGE: OnceBox<Storage> = OnceBox::new();
        STORAGE.get_or_try_init(|| Self::new().map(Box::new))
    }

    fn new() -> Result<Self, Error> {
        let (directory, shown) = preopens::get_directories()
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
        let (file_lock, counters_lock) = (Lock::open(FILE_LOCK)?, Lock::open(COUNTERS_LOCK)?);
        Ok(Self { files: Files { directory, shown, flush }, file, file_lock, counters_lock })
    }

    /// The value of `key`; 0 where it has no file.
    pub fn value(&self, key: &str) -> Result<i64, Error> {
        for _ in 0..TRIES_MAX {
            let value = {
                let Some(_guard) = self.hold(key, Mode::Shared)? else { return Ok(0) };
                let file = self.files.open(&self.path(key))?;
                file.map_or(Some(0), |file| (!file.is_marked()).then_some(file.value()))
            };
            match value {
                Some(value) => return Ok(value),
                None => self.settle(key).map_err(|why| {
                    let path = self.path(key);
                    Error::Unavailable(format!("the value in {path} is not on the disk: {why}"))
                })?,
            }
        }
        Err(self.restless(key))
    }

    /// Replaces the value of `key` by what `change` makes of it, and returns that.
    pub fn change(
        &self,
        key: &str,
        change: impl Fn(i64) -> Result<i64, Error>,
    ) -> Result<i64, Error> {
        let path = self.path(key);
        for _ in 0..TRIES_MAX {
            if let Some(_guard) = self.hold(key, Mode::Exclusive)?
                && let Some(file) = self.files.open(&path)?
            {
                let value = change(file.value())?;
                file.write(value)?;
                return Ok(value);
            }
            let value = change(0)?;
            if value == 0 {
                return Ok(0);
            }
            let made = {
                let _guard = self.hold_counters(Mode::Exclusive)?;
                self.files.make(&path, value)?
            };
            if made {
                // Others see the value already.
                return self.settle(key).map(|()| value).map_err(Error::OutcomeUnknown);
            }
        }
        Err(self.restless(key))
    }

    /// Stores each value as durably as [`Self::change`] does.
    pub fn put(&self, entries: &[Entry]) -> Result<(), entries::Error> {
        let (default, others): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry.key == DEFAULT_KEY);
        for Entry { key, value } in default {
            self.change(key, |_| Ok(*value)).map_err(|error| entries::Error::of_key(key, error))?;
        }
        let _guard = self.hold_counters(Mode::Exclusive)?;
        let mut made = Vec::new();
        let written = others.into_iter().try_for_each(|Entry { key, value }| {
            let made_one =
                self.store(key, *value).map_err(|error| entries::Error::of_key(key, error))?;
            made.extend(made_one.then(|| self.path(key)));
            Ok(())
        });
        // Of those that were written, too, when one was not.
        let settled = self.files.settle(&made);
        written.and(Ok(settled?))
    }

    /// Stores a value under the lock on the counters; returns whether it made the file, which is to be settled.
    fn store(&self, key: &str, value: i64) -> Result<bool, Error> {
        let path = self.path(key);
        for _ in 0..TRIES_MAX {
            if let Some(file) = self.files.open(&path)? {
                return file.write(value).map(|()| false);
            }
            if value == 0 || self.files.make(&path, value)? {
                return Ok(value != 0);
            }
        }
        Err(self.restless(key))
    }

    /// Takes the lock on the file of `key`; none where the default counter has no file.
    pub fn hold(&self, key: &str, mode: Mode) -> Result<Option<Guard>, Error> {
        if key != DEFAULT_KEY {
            return self.hold_counters(mode).map(Some);
        }
        match self.file_lock.acquire(mode, LOCK_WAIT_MS) {
            Ok(guard) => Ok(Some(guard)),
            Err(locks::Error::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lock on all files but the default counter's.
    pub fn hold_counters(&self, mode: Mode) -> Result<Guard, Error> {
        Ok(self.counters_lock.acquire(mode, LOCK_WAIT_MS)?)
    }

    /// Flushes what is marked in the file of `key`; on an error says what is in the way.
    fn settle(&self, key: &str) -> Result<(), String> {
        let settled = self.hold(key, Mode::Exclusive).and_then(|_guard| {
            self.files.open(&self.path(key))?.map_or(Ok(()), |file| file.settle())
        });
        settled.map_err(|error| match error {
            Error::Conflict => "others hold the file's lock".into(),
            Error::Unavailable(why)
            | Error::Full(why)
            | Error::OutOfRange(why)
            | Error::OutcomeUnknown(why)
            | Error::InvalidKey(why)
            | Error::Other(why) => why,
            Error::Overflow => String::new(),
        })
    }

    fn path(&self, key: &str) -> String {
        path::of_key(&self.file, key)
    }

    fn restless(&self, key: &str) -> Error {
        let path = self.path(key);
        Error::Unavailable(format!("{path} is made, removed or damaged again and again by others"))
    }
}
