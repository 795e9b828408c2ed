//! The warning example: reads, adds and writes with nothing that keeps others out.
//!
//! Two callers that read the same value both write the same sum, and one addition is lost.
//! The load client's verdict names how many.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{
    Counter, Entries, Error, String, Vec, cell_entries, cells,
    entries::{self, Entry, Page},
    export, export_entries,
};

struct NoLock;

impl Counter for NoLock {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let value = cells::load(&key)?;
        let sum = value.checked_add(delta).ok_or(Error::Overflow)?;
        cells::store(&key, sum)?;
        Ok(sum)
    }

    fn get(key: String) -> Result<i64, Error> {
        Ok(cells::load(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        Ok(cells::store(&key, 0)?)
    }
}

impl Entries for NoLock {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        cell_entries::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        cell_entries::put(entries)
    }
}

export!(NoLock);
export_entries!(NoLock);
