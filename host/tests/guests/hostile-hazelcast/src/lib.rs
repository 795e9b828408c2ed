//! Takes the lock of the key `locked` in a map and adds to it, and then does what no plugin should, depending on the key
//! that it is called with.
//!
//! `get` answers with what is stored under the key it is called with, and `reset` puts 0 there without a lock, so that it
//! waits for whoever has one. Needs the grants `hazelcast-map` and `clocks`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::mem;

use tally_plugin::{
    Counter, Error, String, export,
    map::{self, Kind, Lock, Stored},
    map_counter,
    wasi::clocks::monotonic_clock,
};

/// The key that it locks.
const LOCKED: &str = "locked";

/// Of 8 s: longer than a lease of a test, and than any lock may be waited for.
const PAUSE_NS: u64 = 8_000_000_000;

struct HostileHazelcast;

impl Counter for HostileHazelcast {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        match key.as_str() {
            "no-key" => return Ok(map::get("")?.map_or(0, |stored| stored.value)),
            "long-key" => return map_counter::read(&"x".repeat(257)),
            // No such Integer can be stored.
            "wide-integer" => {
                let expected = Stored { value: i64::MAX, kind: Kind::Integer };
                return Ok(map::replace_if_same(LOCKED, expected, delta)?.into());
            }
            _ => {}
        }
        let lock = Lock::acquire(LOCKED)?;
        let sum = map_counter::read(LOCKED)?.wrapping_add(delta);
        match key.as_str() {
            "leave-held" => {
                mem::forget(lock);
                return Ok(1);
            }
            "leave-held-and-fail" => {
                mem::forget(lock);
                return Err(Error::Overflow);
            }
            "panic" => panic!(),
            // Ends when the host cuts the call off.
            "sleep" => loop {
                monotonic_clock::subscribe_duration(3_600_000_000_000).block();
            },
            "second-lock" => {
                Lock::acquire("another")?;
            }
            "second-lock-of-the-key" => {
                Lock::acquire(LOCKED)?;
            }
            // A write after the lease has ended, or would before the answer.
            "late-write" => monotonic_clock::subscribe_duration(PAUSE_NS).block(),
            "late-release" => {
                map::put(LOCKED, sum, Kind::Long)?;
                monotonic_clock::subscribe_duration(PAUSE_NS).block();
                Lock::release(lock)?;
                return Ok(sum);
            }
            // Dropped instead of released.
            "drop" => {
                map::put(LOCKED, sum, Kind::Long)?;
                return Ok(sum);
            }
            // Another key than the one that is locked.
            "write-beside" => {
                map::put("beside", sum, Kind::Long)?;
                Lock::release(lock)?;
                return Ok(sum);
            }
            _ => {}
        }
        map::put(LOCKED, sum, Kind::Long)?;
        Lock::release(lock)?;
        Ok(sum)
    }

    fn get(key: String) -> Result<i64, Error> {
        map_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        Ok(map::put(&key, 0, Kind::Long)?)
    }
}

export!(HostileHazelcast);
