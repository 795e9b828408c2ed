//! Takes the lock of the count's key in a map, then reads the count and writes it.
//!
//! A second caller that wants the lock waits for it, and then reads what the first one wrote. The lock is released by its
//! owner and never by force. One that can't be released, because the host died or the cluster is out of reach, ends with
//! its lease (`--hz-lock-lease`); the host sends no write that could arrive after that.
//!
//! A lock that turns out to be gone when it is released should not be: by the host's clock its lease had not ended when
//! the write was acknowledged, so somebody has released it by force, or the members that knew of it are lost. Nobody can
//! say whether that was before the write, and so the outcome is unknown.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{
    Counter, Error, String, export,
    map::{self, Lock},
    map_counter,
};

struct Pessimistic;

impl Counter for Pessimistic {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let lock = Lock::acquire(&key)?;
        let sum = map_counter::read(&key)?.checked_add(delta).ok_or(Error::Overflow)?;
        map::put(&key, sum)?;
        Lock::release(lock)?;
        Ok(sum)
    }

    /// A read waits for no lock, and needs none.
    fn get(key: String) -> Result<i64, Error> {
        map_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        let lock = Lock::acquire(&key)?;
        map::put(&key, 0)?;
        Ok(Lock::release(lock)?)
    }
}

export!(Pessimistic);
