//! The warning example: reads, adds and writes with nothing that keeps others out.
//!
//! Two callers that read the same value both write the same sum, and one addition is lost.
//! The load client's verdict names how many.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{Counter, Error, String, cells, export};

struct NoLock;

impl Counter for NoLock {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let value = cells::load(&key)?;
        let sum = value.checked_add(delta).ok_or(Error::Overflow)?;
        cells::store(&key, sum)?;
        Ok(sum)
    }

    fn get(key: String) -> Result<i64, Error> {
        Ok(cells::load(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        Ok(cells::store(&key, 0)?)
    }
}

export!(NoLock);
