//! Counts in shared memory, and counts its own ticks in the cell `ticks`.
//!
//! Needs the grant `shared-memory`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{Counter, Error, Periodic, String, cells, export, export_periodic, format};

struct Ticking;

impl Counter for Ticking {
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

impl Periodic for Ticking {
    fn tick() -> Result<(), String> {
        cells::add("ticks", 1).map(drop).map_err(|error| format!("{error:?}"))
    }
}

export!(Ticking);
export_periodic!(Ticking);
