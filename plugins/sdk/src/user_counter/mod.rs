//! The table in which the PostgreSQL plugins keep their counters.
//!
//! All of them share it, so that the method can be exchanged while the counts stay. A method is the way in which it
//! changes a row that exists; what is the same for all is here: the table, which row is whose, the row of a new key,
//! reading and resetting, listing and putting.
//!
//! Each change also adds 1 to the row's version, whichever method makes it, so that optimistic writers see it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::slice::from_ref;

mod rows;
mod table;

use rows::Rows;
use table::on_table;

use crate::{
    Error,
    database::{self, Answer, Isolation, Transaction, Value, execute},
    entries::{self, Entry, Page},
};

/// Entries in one page, because an answer of the database has no more rows.
const ENTRIES_PER_PAGE_MAX: u32 = 1_000;

const ADD_ROW: &str = "INSERT INTO user_counter (user_id, counter, version) VALUES ($1, 0, 0) \
     ON CONFLICT (user_id) DO NOTHING";
const READ: &str = "SELECT counter FROM user_counter WHERE user_id = $1";
/// What is no key can't be listed: an `user_id` of more than 256 bytes, which others may have put there. The order is the
/// column's own, so the primary key serves it; `user_id` alone would mean the text.
const LIST_FIRST: &str = "SELECT user_id::text, counter FROM user_counter \
     WHERE octet_length(user_id::text) BETWEEN 1 AND 256 \
     ORDER BY user_counter.user_id LIMIT $1";
const LIST_NEXT: &str = "SELECT user_id::text, counter FROM user_counter \
     WHERE octet_length(user_id::text) BETWEEN 1 AND 256 AND user_id > $2 \
     ORDER BY user_counter.user_id LIMIT $1";
const PUT: &str = "INSERT INTO user_counter (user_id, counter, version) VALUES ($1, $2, 0) \
     ON CONFLICT (user_id) DO UPDATE SET counter = excluded.counter, version = user_counter.version + 1";
const RESET: &str = "UPDATE user_counter SET counter = 0, version = version + 1 WHERE user_id = $1";

/// Changes the row of `key` by `method`, which is given the row's `user_id` and returns none where there is no such
/// row; it is then added with the count 0, and `method` runs again.
///
/// # Errors
///
/// Those of `method`, and any of [`Error`].
pub fn change<T>(
    key: &str,
    method: impl Fn(&Value) -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let rows = Rows::of_settings()?;
    let row = rows.row(key)?;
    on_table(|table| {
        let user_id = table.user_id(row)?;
        if let Some(changed) = method(&user_id)? {
            return Ok(changed);
        }
        ask(ADD_ROW, from_ref(&user_id))?;
        method(&user_id)?.ok_or_else(|| {
            Error::Other("the key's row was deleted by somebody while it was added".to_string())
        })
    })
}

/// The count of `key`; 0 for one that was never written.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::InvalidKey`] for what is another counter's row, and [`Error::Other`].
pub fn read(key: &str) -> Result<i64, Error> {
    let rows = Rows::of_settings()?;
    let row = rows.row(key)?;
    let counter = on_table(|table| integers(&ask(READ, &[table.user_id(row)?])?));
    match counter {
        // What can't be stored was never written.
        Err(Error::InvalidKey(_)) => Ok(0),
        counter => Ok(counter?.map_or(0, |[counter]| counter)),
    }
}

/// Sets the count of `key` to 0.
///
/// # Errors
///
/// Any of [`Error`] but an overflow.
pub fn reset(key: &str) -> Result<(), Error> {
    change(key, |user_id| {
        let answer = execute(RESET, from_ref(user_id))?;
        Ok((0 < answer.affected).then_some(()))
    })
}

/// Lists the counters by their `user_id`; a cursor is the last one of the page before.
///
/// # Errors
///
/// [`entries::Error::Unavailable`], [`entries::Error::InvalidCursor`] and [`entries::Error::Other`].
pub fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
    let entries_max = entries_max.min(ENTRIES_PER_PAGE_MAX);
    let limit = Value::Integer(entries_max.into());
    let answer = on_table(|table| match &cursor {
        None => ask(LIST_FIRST, from_ref(&limit)),
        Some(last) => ask(LIST_NEXT, &[limit.clone(), table.listed(last)?]),
    });
    let answer = answer.map_err(|error| match error {
        Error::InvalidKey(_) => entries::Error::of_cursor(&cursor.unwrap_or_default()),
        error => error.into(),
    })?;
    let is_last = answer.rows.len() < entries_max as usize;
    let rows = answer.rows.into_iter().map(user_id_and_counter);
    let rows = rows.collect::<Result<Vec<(String, i64)>, Error>>()?;
    let next = rows.last().filter(|_| !is_last).map(|(user_id, _)| user_id.clone());
    let names = Rows::of_settings()?;
    let entry = |(user_id, value): (String, i64)| {
        names.key(&user_id).map(|key| Entry { key: String::from(key), value })
    };
    Ok(Page { entries: rows.into_iter().filter_map(entry).collect(), next })
}

fn user_id_and_counter(row: Vec<Value>) -> Result<(String, i64), Error> {
    match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(user_id), Value::Integer(counter)]) => Ok((user_id, counter)),
        Ok(row) => Err(unreadable(&row)),
        Err(row) => Err(unreadable(&row)),
    }
}

/// Sets all counts in one transaction, adding the rows that are missing.
///
/// # Errors
///
/// Any of [`entries::Error`].
pub fn put(mut entries: Vec<Entry>) -> Result<(), entries::Error> {
    // Two callers that lock rows in the same order don't wait for each other in a circle. Entries of the same key stay
    // as they were given, so that the last one counts.
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let rows = Rows::of_settings()?;
    Ok(on_table(|table| {
        let transaction = Transaction::begin(Isolation::ReadCommitted)?;
        for Entry { key, value } in &entries {
            let put = rows.row(key).and_then(|row| {
                let parameters = [table.user_id(row)?, Value::Integer(*value)];
                transaction.execute(PUT, &parameters).map_err(refused_key)
            });
            put.map_err(|error| table.with_range(error).of_key(key))?;
        }
        Ok(Transaction::commit(transaction)?)
    })?)
}

/// `string_data_right_truncation`, `character_not_in_repertoire` and `untranslatable_character` are about the only text
/// of an entry, its key.
fn refused_key(error: database::Error) -> Error {
    match error.sqlstate.as_deref() {
        Some("22001" | "22021" | "22P05") => Error::InvalidKey(error.message),
        _ => error.into(),
    }
}

/// Runs a statement that changes no count, so that nothing is unknown when its outcome is.
///
/// # Errors
///
/// Any of [`Error`] but [`Error::OutcomeUnknown`].
pub fn ask(statement: &str, parameters: &[Value]) -> Result<Answer, Error> {
    execute(statement, parameters).map_err(harmless)
}

fn harmless(error: database::Error) -> Error {
    match error.into() {
        Error::OutcomeUnknown(why) => Error::Unavailable(why),
        error => error,
    }
}

/// The integers in the first row of an answer; none if it has no row.
///
/// # Errors
///
/// [`Error::Other`] when the row holds anything else.
pub fn integers<const N: usize>(answer: &Answer) -> Result<Option<[i64; N]>, Error> {
    let Some(row) = answer.rows.first() else {
        return Ok(None);
    };
    let mut integers = [0; N];
    if row.len() != N {
        return Err(unreadable(row));
    }
    for (integer, value) in integers.iter_mut().zip(row) {
        let Value::Integer(value) = value else {
            return Err(unreadable(row));
        };
        *integer = *value;
    }
    Ok(Some(integers))
}

fn unreadable(row: &[Value]) -> Error {
    Error::Other(format!("a row of user_counter holds {row:?}"))
}
