//! The warning example: reads the count from a map, then puts the count it read plus one.
//!
//! Nothing keeps a second caller from reading the same count in between. Both put the same sum, and one addition is lost.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{
    Counter, Entries, Error, String, Vec,
    entries::{self, Entry, Page},
    export, export_entries, map,
    map_counter::{self, kind, value},
};

struct NoLock;

impl Counter for NoLock {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let read = map::get(&key)?;
        let sum = value(read).checked_add(delta).ok_or(Error::Overflow)?;
        map::put(&key, sum, kind(read))?;
        Ok(sum)
    }

    fn get(key: String) -> Result<i64, Error> {
        map_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        Ok(map_counter::overwrite(&key, 0)?)
    }
}

impl Entries for NoLock {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        map_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        map_counter::put(entries)
    }
}

export!(NoLock);
export_entries!(NoLock);
