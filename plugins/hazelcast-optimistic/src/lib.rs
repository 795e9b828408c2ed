//! Reads the count from a map, and replaces it if it is still the same: compare-and-set.
//!
//! Nothing is locked in between. A caller that was overtaken reads again and tries again, until the retry budget is used
//! up. What is compared is what was read, its kind included: clients in other languages may have stored a Java `Integer`,
//! which equals no `Long`.
//!
//! Settings: `do-retries` (`true` or `false`), `retries-max` (a whole number, 999) and `retry-wait-max` (ms, 8000).

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::time::Duration;

use tally_plugin::{
    Counter, Entries, Error, RetryBudget, String, Vec, WAIT_MAX,
    entries::{self, Entry, Page},
    export, export_entries, map,
    map_counter::{self, compare_and_set, value},
    retry,
};

/// 1,000 attempts, with about 4 s of waits in all, which leaves the attempts themselves as much time.
const BUDGET: RetryBudget = RetryBudget {
    retries_max: 999,
    delay_first: Duration::from_millis(1),
    delay_max: Duration::from_millis(4),
    wait_max: WAIT_MAX,
};

struct Optimistic;

impl Counter for Optimistic {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        retry(&BUDGET.with_settings()?, || attempt(&key, delta))
    }

    fn get(key: String) -> Result<i64, Error> {
        map_counter::read(&key)
    }

    /// Whoever has read before does not find the same any more.
    fn reset(key: String) -> Result<(), Error> {
        Ok(map_counter::overwrite(&key, 0)?)
    }
}

impl Entries for Optimistic {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        map_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        map_counter::put(entries)
    }
}

/// None when somebody else changed what is stored. An unknown outcome is an error, and so not tried again.
fn attempt(key: &str, delta: i64) -> Result<Option<i64>, Error> {
    let read = map::get(key)?;
    let sum = value(read).checked_add(delta).ok_or(Error::Overflow)?;
    Ok(compare_and_set(key, read, sum)?.then_some(sum))
}

export!(Optimistic);
export_entries!(Optimistic);
