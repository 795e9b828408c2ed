//! Counts in small text files, one for each key, read and rewritten under a file lock.
//!
//! A value is flushed to the disk before the answer, so an answered increment survives the end of
//! the process at any instant and, with `durability = "each"` (the default), the loss of power.
//! With `durability = "none"` the flush is left to the operating system: only the end of the
//! process is survived.
//!
//! A file whose content is not a counter is refused with its path and content, and never touched.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod list;
mod path;
mod record;
mod storage;

use storage::Storage;
use tally_plugin::{
    Counter, Entries, Error, String, Vec,
    entries::{self, Entry, Page},
    export, export_entries,
    locks::Mode,
};

struct DiskFlock;

impl Counter for DiskFlock {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let storage = Storage::get()?;
        let _guard = storage.hold(Mode::Exclusive)?;
        let file = storage.open(&key)?;
        let sum = file.value().checked_add(delta).ok_or(Error::Overflow)?;
        file.write(sum)?;
        Ok(sum)
    }

    fn get(key: String) -> Result<i64, Error> {
        let storage = Storage::get()?;
        let _guard = storage.hold(Mode::Shared)?;
        Ok(storage.open(&key)?.value())
    }

    fn reset(key: String) -> Result<(), Error> {
        let storage = Storage::get()?;
        let _guard = storage.hold(Mode::Exclusive)?;
        storage.open(&key)?.write(0)
    }
}

impl Entries for DiskFlock {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        Storage::get()?.list(cursor.as_deref(), entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        let storage = Storage::get()?;
        let _guard = storage.hold(Mode::Exclusive)?;
        storage.put(&entries)
    }
}

export!(DiskFlock);
export_entries!(DiskFlock);
