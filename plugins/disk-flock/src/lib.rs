//! Counts in small text files, one for each key, read and rewritten under a file lock.
//!
//! A value is flushed to the disk before the answer, so an answered increment survives the end of
//! the process at any instant and, with `durability = "each"` (the default), the loss of power.
//! With `durability = "none"` the flush is left to the operating system: only the end of the
//! process is survived.
//!
//! A file whose content is not a counter is refused with its path and content, and never touched.
//!
//! The default counter is locked by its file, as any program does that calls flock(2) on it, so such programs may count
//! beside it. All other counters share a lock file.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod counter_file;
mod files;
mod list;
mod path;
mod record;
mod storage;

use storage::Storage;
use tally_plugin::{
    Counter, Entries, Error, String, Vec,
    entries::{self, Entry, Page},
    export, export_entries,
};

struct DiskFlock;

impl Counter for DiskFlock {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        Storage::get()?.change(&key, |value| value.checked_add(delta).ok_or(Error::Overflow))
    }

    fn get(key: String) -> Result<i64, Error> {
        Storage::get()?.value(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        Storage::get()?.change(&key, |_| Ok(0)).map(drop)
    }
}

impl Entries for DiskFlock {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        Storage::get()?.list(cursor.as_deref(), entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        Storage::get()?.put(&entries)
    }
}

export!(DiskFlock);
export_entries!(DiskFlock);
