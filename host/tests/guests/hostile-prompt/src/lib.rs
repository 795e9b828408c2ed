//! Misbehaves without ever waiting, depending on the key; counts like any other for all other keys.
//!
//! Needs the grant `shared-memory`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use guest_misbehaviour::misbehave;
use tally_plugin::{Counter, Error, String, cells, export};

struct HostilePrompt;

impl Counter for HostilePrompt {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        if key == "scan" {
            scan()?;
        }
        misbehave(&key);
        Ok(cells::add(&key, delta)?)
    }

    fn get(key: String) -> Result<i64, Error> {
        Ok(cells::load(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        Ok(cells::store(&key, 0)?)
    }
}

/// Spends its time in a function of the host.
fn scan() -> Result<(), Error> {
    loop {
        cells::list(0, 1_000)?;
    }
}

export!(HostilePrompt);
