//! Counts with one atomic addition in shared memory: no lock, nothing to wait for, exact.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{Counter, Error, String, cells, export};

struct Atomic;

impl Counter for Atomic {
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

export!(Atomic);
