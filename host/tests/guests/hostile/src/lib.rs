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
    wasi::{cli::stderr, clocks::monotonic_clock},
};

/// The most that the host allows.
const LOCKS_MAX: usize = 64;

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
            key => misbehave(key),
        }
        Ok(cells::add(&key, delta)?)
    }

    fn get(key: String) -> Result<i64, Error> {
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

/// Writes more lines than anybody wants to read.
fn shout() {
    let stream = stderr::get_stderr();
    for _ in 0..1000 {
        let _ = stream.blocking_write_and_flush(b"a line of the hostile guest\n");
    }
}

export!(Hostile);
