//! Reads the count and its version, and writes if the version is still the same: compare-and-set.
//!
//! Nothing is locked in between. A caller that was overtaken reads again and tries again, until the retry budget is used
//! up. The count is compared too, which costs nothing and makes it right beside writers that don't know of versions.
//!
//! Settings: `do-retries` (`true` or `false`), `retries-max` (a whole number, 200) and `retry-wait-max` (ms, 8000).

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::{slice::from_ref, time::Duration};

use tally_plugin::{
    Counter, Entries, Error, RetryBudget, String, Vec, WAIT_MAX,
    database::{Value, execute},
    entries::{self, Entry, Page},
    export, export_entries, retry,
    user_counter::{self, ask, integers},
};

const READ: &str = "SELECT counter, version FROM user_counter WHERE user_id = $1";
const WRITE_IF_UNCHANGED: &str = "UPDATE user_counter SET counter = $2, version = version + 1 \
     WHERE user_id = $1 AND version = $3 AND counter = $4";

/// About 6 s in all. Short waits, because an attempt costs little.
const BUDGET: RetryBudget = RetryBudget {
    retries_max: 200,
    delay_first: Duration::from_millis(1),
    delay_max: Duration::from_millis(32),
    wait_max: WAIT_MAX,
};

struct OptimisticConcurrencyControl;

impl Counter for OptimisticConcurrencyControl {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let budget = BUDGET.with_settings()?;
        user_counter::change(&key, |user_id| retry(&budget, || compare_and_set(user_id, delta)))
    }

    fn get(key: String) -> Result<i64, Error> {
        user_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        user_counter::reset(&key)
    }
}

impl Entries for OptimisticConcurrencyControl {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        user_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        user_counter::put(entries)
    }
}

/// None when somebody else changed the row; some none when there is no row.
fn compare_and_set(user_id: &Value, delta: i64) -> Result<Option<Option<i64>>, Error> {
    let Some([counter, version]) = integers(&ask(READ, from_ref(user_id))?)? else {
        return Ok(Some(None));
    };
    let sum = counter.checked_add(delta).ok_or(Error::Overflow)?;
    let parameters =
        [user_id.clone(), Value::Integer(sum), Value::Integer(version), Value::Integer(counter)];
    let written = execute(WRITE_IF_UNCHANGED, &parameters)?;
    Ok((0 < written.affected).then_some(Some(sum)))
}

export!(OptimisticConcurrencyControl);
export_entries!(OptimisticConcurrencyControl);
