//! Does what no plugin should, depending on the key; counts like any other for all other keys.
//!
//! Needs the grants `shared-memory`, `file-lock`, `clocks` and `log`.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use core::mem;

use guest_misbehaviour::misbehave;
use tally_plugin::{
    Counter, Error, String, Vec, cells, export, format,
    locks::{Lock, Mode},
    wasi::{cli::stderr, clocks::monotonic_clock, io::poll},
};

/// The most that the host allows.
const LOCKS_MAX: usize = 64;

/// Longer than any call may take.
const HOURS_NS: u64 = 3_600_000_000_000;

struct Hostile;

impl Counter for Hostile {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        match key.as_str() {
            "host-calls" => loop {
                let _ = cells::load(&key);
            },
            "hold-and-panic" => {
                let _guard = Lock::open("counter")?.try_acquire(Mode::Exclusive)?;
                panic!();
            }
            "hoard" => return hoard(),
            "hold" => mem::forget(Lock::open("counter")?.try_acquire(Mode::Exclusive)?),
            "names" => {
                for idx in 0..LOCKS_MAX {
                    mem::forget(Lock::open(&format!("name-{idx}"))?);
                }
            }
            "sleep" => monotonic_clock::subscribe_duration(delta.unsigned_abs()).block(),
            "nap" => {
                for _ in 0..50 {
                    monotonic_clock::subscribe_duration(10_000_000).block();
                }
            }
            "shout" => shout(),
            "locks" => return locks(),
            "timers" => return timers(),
            "error" => return Err(Error::Other("no ".repeat(300_000))),
            key => misbehave(key),
        }
        Ok(cells::add(&key, delta)?)
    }

    fn get(key: String) -> Result<i64, Error> {
        misbehave(&key);
        Ok(cells::load(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        Ok(cells::store(&key, 0)?)
    }
}

/// Opens locks and never closes them.
fn hoard() -> Result<i64, Error> {
    let mut kept = Vec::new();
    loop {
        kept.push(Lock::open("hoard")?);
    }
}

/// Takes as many locks as there are names.
fn locks() -> Result<i64, Error> {
    let mut held = Vec::new();
    for number in 0_u64.. {
        let lock = Lock::open(&format!("lock-{number}"))?;
        held.push((lock.try_acquire(Mode::Exclusive)?, lock));
    }
    Ok(0)
}

/// Begins to wait for one thing after the other, and for all of them.
fn timers() -> Result<i64, Error> {
    let mut begun = Vec::new();
    loop {
        begun.push(monotonic_clock::subscribe_duration(HOURS_NS));
        if begun.len().is_power_of_two() {
            begun.push(monotonic_clock::subscribe_duration(0));
            poll::poll(&begun.iter().collect::<Vec<_>>());
        }
    }
}

/// Writes more lines than anybody wants to read.
fn shout() {
    let stream = stderr::get_stderr();
    for _ in 0..1000 {
        let _ = stream.blocking_write_and_flush(b"a line of the hostile guest\n");
    }
}

export!(Hostile);
