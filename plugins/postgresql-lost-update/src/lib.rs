//! The warning example: reads the count, then writes the count it read plus one.
//!
//! At the isolation level READ COMMITTED nothing keeps a second caller from reading the same count in between. Both
//! write the same sum, and one addition is lost. That both run in transactions does not help.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::slice::from_ref;

use tally_plugin::{
    Counter, Entries, Error, String, Vec,
    database::{Isolation, Transaction, Value},
    entries::{self, Entry, Page},
    export, export_entries,
    user_counter::{self, integers},
};

const READ: &str = "SELECT counter FROM user_counter WHERE user_id = $1";
const WRITE: &str =
    "UPDATE user_counter SET counter = $2, version = version + 1 WHERE user_id = $1";

struct LostUpdate;

impl Counter for LostUpdate {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        user_counter::change(&key, |user_id| {
            let transaction = Transaction::begin(Isolation::ReadCommitted)?;
            let read = transaction.execute(READ, from_ref(user_id))?;
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

impl Entries for LostUpdate {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        user_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        user_counter::put(entries)
    }
}

export!(LostUpdate);
export_entries!(LostUpdate);
