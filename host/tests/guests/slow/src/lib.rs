//! Counts in shared memory, and waits for three seconds before it writes counts that it is given, and in the middle of its
//! work at an interval. Counts these writes in the cell `puts`, its ticks in `ticks`, and those that began beside another one in `overlaps`.
//!
//! Needs the grants `shared-memory` and `clocks`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{
    Counter, Entries, Error, Periodic, String, Vec, cell_entries, cells,
    entries::{self, Entry, Page},
    export, export_entries, export_periodic, format,
    wasi::clocks::monotonic_clock,
};

const WAIT_NS: u64 = 3_000_000_000;

/// Cells that are not its counters.
const NOTES: [&str; 4] = ["puts", "ticks", "ticking", "overlaps"];

struct Slow;

impl Counter for Slow {
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

impl Entries for Slow {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        let mut page = cell_entries::list(cursor, entries_max)?;
        page.entries.retain(|entry| !NOTES.contains(&entry.key.as_str()));
        Ok(page)
    }

    /// Zeros, with which counts are taken back, are written at once.
    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        if entries.iter().any(|entry| entry.value != 0) {
            wait();
            cells::add("puts", 1).map_err(Error::from)?;
        }
        cell_entries::put(entries)
    }
}

impl Periodic for Slow {
    fn tick() -> Result<(), String> {
        let ticking = add("ticking", 1)?;
        if 1 < ticking {
            add("overlaps", 1)?;
        }
        wait();
        add("ticks", 1)?;
        add("ticking", -1).map(drop)
    }
}

fn add(key: &str, delta: i64) -> Result<i64, String> {
    cells::add(key, delta).map_err(|error| format!("{error:?}"))
}

fn wait() {
    monotonic_clock::subscribe_duration(WAIT_NS).block();
}

export!(Slow);
export_entries!(Slow);
export_periodic!(Slow);
