//! Reads and writes as the lost update does, but at the isolation level SERIALIZABLE.
//!
//! The database notices that two transactions read what the other one wrote, and lets only one of them commit. The other
//! one is told so (SQLSTATE 40001), has changed nothing, and is tried again.
//!
//! Settings: `do-retries` (`true` or `false`), `retries-max` (a whole number, 20) and `retry-wait-max` (ms, 8000).

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::{slice::from_ref, time::Duration};

use tally_plugin::{
    Counter, Entries, Error, RetryBudget, String, Vec, WAIT_MAX,
    database::{Isolation, Transaction, Value},
    entries::{self, Entry, Page},
    export, export_entries, retry,
    user_counter::{self, integers},
};

const READ: &str = "SELECT counter FROM user_counter WHERE user_id = $1";
const WRITE: &str =
    "UPDATE user_counter SET counter = $2, version = version + 1 WHERE user_id = $1";

/// Long waits, because each conflict means work thrown away. All of them take a minute, so the ninth is the last unless
/// `retry-wait-max` and the host's `--call-time-max` are raised.
const BUDGET: RetryBudget = RetryBudget {
    retries_max: 20,
    delay_first: Duration::from_millis(10),
    delay_max: Duration::from_secs(5),
    wait_max: WAIT_MAX,
};

struct SerializableUpdate;

impl Counter for SerializableUpdate {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        let budget = BUDGET.with_settings()?;
        user_counter::change(&key, |user_id| {
            retry(&budget, || match read_and_write(user_id, delta) {
                Err(Error::Conflict) => Ok(None),
                done => done.map(Some),
            })
        })
    }

    fn get(key: String) -> Result<i64, Error> {
        user_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        user_counter::reset(&key)
    }
}

impl Entries for SerializableUpdate {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        user_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        user_counter::put(entries)
    }
}

fn read_and_write(user_id: &Value, delta: i64) -> Result<Option<i64>, Error> {
    let transaction = Transaction::begin(Isolation::Serializable)?;
    let read = transaction.execute(READ, from_ref(user_id))?;
    let Some([counter]) = integers(&read)? else {
        return Ok(None);
    };
    let sum = counter.checked_add(delta).ok_or(Error::Overflow)?;
    transaction.execute(WRITE, &[user_id.clone(), Value::Integer(sum)])?;
    Transaction::commit(transaction)?;
    Ok(Some(sum))
}

export!(SerializableUpdate);
export_entries!(SerializableUpdate);
