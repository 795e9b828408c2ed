//! Adds to an atomic number of the CP Subsystem: each addition is one step, agreed on by a majority of its members.
//!
//! An addition there wraps around at the ends of the 64-bit range. So these counters range over ±2^62 only, and a sum
//! beyond that is taken back and refused as an overflow. Between the two steps others see it, so at the edge of the range
//! a reader may see a count that is refused, another caller may be refused for an addition that would have fitted, and a
//! reset that falls between the two steps is followed by the taking back. Elsewhere none of this happens.
//!
//! Settings, for the rare additions of more than 2^32, which are tried again when somebody was in the way: `do-retries`
//! (`true` or `false`), `retries-max` (a whole number, 200) and `retry-wait-max` (ms, 8000).

#![cfg_attr(target_arch = "wasm32", no_std)]

mod range;

use core::time::Duration;

use range::is_small;
use tally_plugin::{
    Counter, Error, RetryBudget, String, WAIT_MAX, atomic_long, export, format, retry,
};

/// About 6 s in all. Short waits, because an attempt costs little.
const BUDGET: RetryBudget = RetryBudget {
    retries_max: 200,
    delay_first: Duration::from_millis(1),
    delay_max: Duration::from_millis(32),
    wait_max: WAIT_MAX,
};

struct Atomic;

impl Counter for Atomic {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        if is_small(delta) {
            add(&key, delta)
        } else {
            retry(&BUDGET.with_settings()?, || compare_and_set(&key, delta))
        }
    }

    fn get(key: String) -> Result<i64, Error> {
        Ok(atomic_long::get(&key)?)
    }

    fn reset(key: String) -> Result<(), Error> {
        atomic_long::get_and_set(&key, 0)?;
        Ok(())
    }
}

/// Adds first and looks afterwards: one step wherever the count is not at the edge.
fn add(key: &str, delta: i64) -> Result<i64, Error> {
    let sum = atomic_long::add_and_get(key, delta)?;
    if range::sum(sum.wrapping_sub(delta), delta).is_some() {
        return Ok(sum);
    }
    match atomic_long::add_and_get(key, -delta) {
        Ok(_) => Err(Error::Overflow),
        Err(error) => Err(Error::OutcomeUnknown(format!(
            "adding {delta} left the range of this plugin's counters, and taking it back failed: {}",
            error.message
        ))),
    }
}

/// None when somebody else changed the number. An unknown outcome is an error, and so not tried again.
fn compare_and_set(key: &str, delta: i64) -> Result<Option<i64>, Error> {
    let read = atomic_long::get(key)?;
    let sum = range::sum(read, delta).ok_or(Error::Overflow)?;
    Ok(atomic_long::compare_and_set(key, read, sum)?.then_some(sum))
}

export!(Atomic);
