//! Counts in shared memory, and each of its functions misbehaves in the way that the counter of its name says: with
//! `POST /counters/tick/inc?by=1` its work at an interval never ends. Calls for these counters never misbehave, nor
//! for `sleeping`, which counts the calls that sleep.
//!
//! | value | what the function does |
//! |---|---|
//! | 0 | what it should |
//! | 1 | sleeps for hours |
//! | 2 | computes and never ends |
//! | 3 | panics, at length |
//! | 4 | takes the lock `counter` and sleeps for hours |
//! | 10 to 15 | fails with an error of 900 KB, another one for each number |
//! | 20, 21, 22 | lists a key, or ends the page with a cursor, of 900 KB; lists more than it was asked for |
//! | 23 | lists nothing, and ends each page with a cursor that leads to the same page |
//!
//! Needs the grants `shared-memory`, `file-lock` and `clocks`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use guest_misbehaviour::misbehave;
use tally_plugin::{
    Counter, Entries, Error, Periodic, String, Vec, cell_entries, cells,
    entries::{self, Entry, Page},
    export, export_entries, export_periodic, format,
    locks::{Lock, Mode},
    wasi::clocks::monotonic_clock,
};

/// Its functions, and so the counters that say how these behave; and the one of calls that sleep.
const NOTES: [&str; 7] = ["increment", "get", "reset", "list", "put", "tick", SLEEPING];

const SLEEPING: &str = "sleeping";

struct Unruly;

impl Counter for Unruly {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        behave("increment", &key)?;
        Ok(cells::add(&key, delta)?)
    }

    fn get(key: String) -> Result<i64, Error> {
        behave("get", &key)?;
        Ok(cells::load(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        behave("reset", &key)?;
        Ok(cells::store(&key, 0)?)
    }
}

impl Entries for Unruly {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        let mode = in_bulk("list")?;
        let mut page = cell_entries::list(cursor, entries_max)?;
        page.entries.retain(|entry| !NOTES.contains(&entry.key.as_str()));
        match mode {
            20 => page.entries = Vec::from([Entry { key: long("k"), value: 1 }]),
            21 => page.next = Some(long("c")),
            22 => {
                let entry = |number| Entry { key: format!("{number}"), value: 1 };
                page.entries = (0..=entries_max).map(entry).collect();
            }
            23 => page = Page { entries: Vec::new(), next: Some("0".into()) },
            _ => {}
        }
        Ok(page)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        in_bulk("put")?;
        cell_entries::put(entries)
    }
}

impl Periodic for Unruly {
    fn tick() -> Result<(), String> {
        match misbehave_as("tick").map_err(|error| format!("{error:?}"))? {
            10.. => Err(long("t")),
            _ => Ok(()),
        }
    }
}

fn behave(function: &str, key: &str) -> Result<(), Error> {
    if NOTES.contains(&key) {
        return Ok(());
    }
    Err(match misbehave_as(function)? {
        10 => Error::Unavailable(long("u")),
        11 => Error::Full(long("f")),
        12 => Error::InvalidKey(long("k")),
        13 => Error::OutOfRange(long("r")),
        14 => Error::OutcomeUnknown(long("o")),
        15 => Error::Other(long("e")),
        _ => return Ok(()),
    })
}

fn in_bulk(function: &str) -> Result<i64, entries::Error> {
    Err(match misbehave_as(function)? {
        10 => entries::Error::Unavailable(long("u")),
        11 => entries::Error::Full(long("f")),
        12 => entries::Error::InvalidKey(long("k")),
        13 => entries::Error::InvalidCursor(long("c")),
        14 | 15 => entries::Error::Other(long("e")),
        mode => return Ok(mode),
    })
}

/// Does what does not come back, and otherwise says how the function is to behave.
fn misbehave_as(function: &str) -> Result<i64, Error> {
    let mode = cells::load(function)?;
    match mode {
        1 => sleep()?,
        2 => misbehave("loop"),
        3 => misbehave("panic-at-length"),
        4 => {
            let _guard = Lock::open("counter")?.acquire(Mode::Exclusive, 5_000)?;
            sleep()?;
        }
        _ => {}
    }
    Ok(mode)
}

/// Ends when the host breaks the call off.
fn sleep() -> Result<(), Error> {
    cells::add(SLEEPING, 1)?;
    loop {
        monotonic_clock::subscribe_duration(3_600_000_000_000).block();
    }
}

/// 900 KB in two lines, and characters of two bytes so that not every place is one to cut at.
fn long(text: &str) -> String {
    format!("{text}\n{}", "ä".repeat(450_000))
}

export!(Unruly);
export_entries!(Unruly);
export_periodic!(Unruly);
