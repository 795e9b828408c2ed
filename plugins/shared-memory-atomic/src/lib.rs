//! Counts with one atomic addition in shared memory: no lock, nothing to wait for, exact.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{
    Counter, Entries, Error, String, Vec, cell_entries, cells,
    entries::{self, Entry, Page},
    export, export_entries,
};

struct Atomic;

impl Counter for Atomic {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        Ok(cells::add(&key, delta)?)
    }

    fn get(key: String) -> Result<i64, Error> {
        Ok(cells::load(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        Ok(cells::store(&key, 0)?)
    }
}

impl Entries for Atomic {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        cell_entries::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        cell_entries::put(entries)
    }
}

export!(Atomic);
export_entries!(Atomic);
