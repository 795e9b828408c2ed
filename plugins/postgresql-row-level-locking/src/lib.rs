//! Reads the count and takes the row's lock with it, then writes.
//!
//! The lock is held until the transaction ends. A second caller that wants to read waits for it, and then reads what the
//! first one wrote.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::slice::from_ref;

use tally_plugin::{
    Counter, Entries, Error, String, Vec,
    database::{Isolation, Transaction, Value},
    entries::{self, Entry, Page},
    export, export_entries,
    user_counter::{self, integers},
};

const READ_AND_LOCK: &str = "SELECT counter FROM user_counter WHERE user_id = $1 FOR UPDATE";
const WRITE: &str =
    "UPDATE user_counter SET counter = $2, version = version + 1 WHERE user_id = $1";

struct RowLevelLocking;

impl Counter for RowLevelLocking {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        user_counter::change(&key, |user_id| {
            let transaction = Transaction::begin(Isolation::ReadCommitted)?;
            let read = transaction.execute(READ_AND_LOCK, from_ref(user_id))?;
            let Some([counter]) = integers(&read)? else {
                return Ok(None);
            };
            let sum = counter.checked_add(delta).ok_or(Error::Overflow)?;
            transaction.execute(WRITE, &[user_id.clone(), Value::Integer(sum)])?;
            Transaction::commit(transaction)?;
            Ok(Some(sum))
        })
    }

    fn get(key: String) -> Result<i64, Error> {
        user_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        user_counter::reset(&key)
    }
}

impl Entries for RowLevelLocking {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        user_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        user_counter::put(entries)
    }
}

export!(RowLevelLocking);
export_entries!(RowLevelLocking);
