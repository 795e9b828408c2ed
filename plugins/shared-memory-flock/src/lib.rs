//! Reads, adds and writes in shared memory under a file lock.
//!
//! A lock that is taken is tried again with exponential backoff. When the retry budget is used up
//! the call fails with a conflict; it never goes on without the lock.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::time::Duration;

use once_cell::race::OnceBox;
use tally_plugin::{
    Box, Counter, Entries, Error, RetryBudget, String, Vec, WAIT_MAX, cell_entries, cells,
    entries::{self, Entry, Page},
    export, export_entries,
    locks::{Guard, Lock, Mode},
    retry,
};

/// About 2 s in all: many times the few microseconds for which the lock is held.
const LOCK_BUDGET: RetryBudget = RetryBudget {
    retries_max: 40,
    delay_first: Duration::from_millis(1),
    delay_max: Duration::from_millis(64),
    wait_max: WAIT_MAX,
};

struct Flock;

impl Counter for Flock {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let _guard = hold()?;
        let value = cells::load(&key)?;
        let sum = value.checked_add(delta).ok_or(Error::Overflow)?;
        cells::store(&key, sum)?;
        Ok(sum)
    }

    /// One load is atomic by itself, so a reader needs no lock.
    fn get(key: String) -> Result<i64, Error> {
        Ok(cells::load(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        let _guard = hold()?;
        Ok(cells::store(&key, 0)?)
    }
}

impl Entries for Flock {
    /// As for `get`, no lock is needed.
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        cell_entries::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        let _guard = hold()?;
        cell_entries::put(entries)
    }
}

fn hold() -> Result<Guard, Error> {
    static LOCK: OnceBox<Lock> = OnceBox::new();
    let lock = LOCK.get_or_try_init(|| Lock::open("counter").map(Box::new))?;
    retry(&LOCK_BUDGET, || Ok(lock.try_acquire(Mode::Exclusive)?))
}

export!(Flock);
export_entries!(Flock);
