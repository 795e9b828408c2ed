//! Does what no plugin should, depending on the key; counts like any other for all other keys.
//!
//! Needs the grants `shared-memory`, `file-lock`, `clocks` and `log`.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use core::hint::black_box;

use tally_plugin::{
    Counter, Error, String, Vec, cells, export,
    locks::{Lock, Mode},
    wasi::{cli::stderr, clocks::monotonic_clock},
};

struct Hostile;

impl Counter for Hostile {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        match key.as_str() {
            "loop" => loop {
                black_box(());
            },
            "recurse" => return Ok(recurse(delta)),
            "grow" => return Ok(grow()),
            "panic" => panic!(),
            "host-calls" => loop {
                let _ = cells::load(&key);
            },
            "hold-and-panic" => {
                let _guard = Lock::open("counter")?.try_acquire(Mode::Exclusive)?;
                panic!();
            }
            "hoard" => return hoard(),
            "sleep" => monotonic_clock::subscribe_duration(delta.unsigned_abs()).block(),
            "shout" => shout(),
            _ => {}
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

/// Calls itself until the stack ends.
fn recurse(depth: i64) -> i64 {
    if black_box(depth) == i64::MAX { 0 } else { black_box(recurse(depth + 1)) }
}

/// Asks for memory and never gives it back.
fn grow() -> i64 {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(Vec::with_capacity(1 << 20)));
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
