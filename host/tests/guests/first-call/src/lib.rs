//! Loads like any other, and fails at its first increment in the way that its setting `mode` names: `trap`, `loop` or
//! `refuse`. Without the setting it counts.
//!
//! Needs the grants `shared-memory` and `config`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use guest_misbehaviour::misbehave;
use tally_plugin::{Counter, Error, String, cells, export, setting};

struct FirstCall;

impl Counter for FirstCall {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        match setting::<String>("mode", "trap, loop or refuse")?.as_deref() {
            Some("trap") => misbehave("panic"),
            Some("loop") => misbehave("loop"),
            Some("refuse") => return Err(Error::Other("no thanks".into())),
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

export!(FirstCall);
