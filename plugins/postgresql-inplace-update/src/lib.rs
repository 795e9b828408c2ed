//! One UPDATE that adds and returns.
//!
//! The database takes the row's lock, adds, and commits, all by itself. A second writer waits for the first and then
//! adds to what that one wrote.

#![cfg_attr(target_arch = "wasm32", no_std)]

use tally_plugin::{
    Counter, Entries, Error, String, Vec,
    database::{Value, execute},
    entries::{self, Entry, Page},
    export, export_entries,
    user_counter::{self, integers},
};

const ADD: &str = "UPDATE user_counter SET counter = counter + $2, version = version + 1 \
     WHERE user_id = $1 RETURNING counter::bigint";

struct InplaceUpdate;

impl Counter for InplaceUpdate {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        user_counter::change(&key, |user_id| {
            let answer = execute(ADD, &[user_id.clone(), Value::Integer(delta)])?;
            Ok(integers(&answer)?.map(|[counter]| counter))
        })
    }

    fn get(key: String) -> Result<i64, Error> {
        user_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        user_counter::reset(&key)
    }
}

impl Entries for InplaceUpdate {
    fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
        user_counter::list(cursor, entries_max)
    }

    fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
        user_counter::put(entries)
    }
}

export!(InplaceUpdate);
export_entries!(InplaceUpdate);
