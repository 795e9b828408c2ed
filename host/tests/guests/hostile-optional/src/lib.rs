//! Misbehaves in what a plugin may export beside the counter: in listings, depending on the cursor, and in its ticks,
//! depending on the number in the cell `tick`.
//!
//! Needs the grants `shared-memory` and `clocks`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use guest_misbehaviour::misbehave;
use tally_plugin::{
    Counter, Entries, Error, Periodic, String, Vec, cell_entries, cells,
    entries::{self, Entry, Page},
    export, export_entries, export_periodic,
    wasi::clocks::monotonic_clock,
};

/// Longer than any call may take.
const HOURS_NS: u64 = 3_600_000_000_000;

struct HostileOptional;

impl Counter for HostileOptional {
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

impl Entries for HostileOptional {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        let entry = |key: &str| Entry { key: key.into(), value: 1 };
        match cursor.as_deref() {
            // A page that leads to itself, for ever.
            Some("again") => Ok(Page { entries: Vec::new(), next: cursor }),
            // More than was asked for, and keys that are none.
            Some("many") => {
                let entries = (0..=entries_max).map(|_| entry("k")).collect();
                Ok(Page { entries, next: None })
            }
            Some("long") => {
                let entries = (0..entries_max).map(|_| entry(&"k".repeat(8_192))).collect();
                Ok(Page { entries, next: None })
            }
            Some("sleep") => Err(sleep()),
            Some(other) => {
                misbehave(other);
                cell_entries::list(cursor, entries_max)
            }
            None => cell_entries::list(cursor, entries_max),
        }
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        cell_entries::put(entries)
    }
}

impl Periodic for HostileOptional {
    fn tick() -> Result<(), String> {
        match cells::load("tick") {
            Ok(1) => Err("no ".repeat(100_000)),
            Ok(2) => panic!("in a tick"),
            Ok(3) => {
                misbehave("loop");
                Ok(())
            }
            Ok(4) => {
                sleep();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn sleep() -> entries::Error {
    monotonic_clock::subscribe_duration(HOURS_NS).block();
    entries::Error::Other("awake again".into())
}

export!(HostileOptional);
export_entries!(HostileOptional);
export_periodic!(HostileOptional);
