//! Takes the lock of the count's key in a map, then reads the count and writes it.
//!
//! A second caller that wants the lock waits for it, and then reads what the first one wrote. The lock is released by its
//! owner, before the answer, and never by force. One that can't be released, because the host died or the cluster is out
//! of reach, ends with its lease (`--hz-lock-lease`).
//!
//! A lease makes the lock a bet: its holder may be slower than it believes, and a cluster that has lost a member may give
//! a lock to two. So the write compares: it is made only if what was read is still there. Who holds the lock never finds
//! it changed, and who only believed to hold it changes nothing.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{
    Counter, Entries, Error, String, Vec,
    entries::{self, Entry, Page},
    export, export_entries,
    map::{self, Lock},
    map_counter::{self, compare_and_set, value},
};

struct Pessimistic;

impl Counter for Pessimistic {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let lock = Lock::acquire(&key)?;
        let read = map::get(&key)?;
        let sum = value(read).checked_add(delta).ok_or(Error::Overflow)?;
        let is_stored = compare_and_set(&key, read, sum)?;
        release(lock);
        if is_stored { Ok(sum) } else { Err(Error::Conflict) }
    }

    /// A read waits for no lock, and needs none.
    fn get(key: String) -> Result<i64, Error> {
        map_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        let lock = Lock::acquire(&key)?;
        map_counter::overwrite(&key, 0)?;
        release(lock);
        Ok(())
    }
}

impl Entries for Pessimistic {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        map_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        map_counter::put(entries)
    }
}

/// Waits until the lock is released. Whether it was still held does not matter any more.
fn release(lock: Lock) {
    let _ = Lock::release(lock);
}

export!(Pessimistic);
export_entries!(Pessimistic);
