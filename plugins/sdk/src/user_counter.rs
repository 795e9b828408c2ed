//! The table in which the PostgreSQL plugins keep their counters.
//!
//! All of them share it, so that the method can be exchanged while the counts stay. A method is the way in which it
//! changes a row that exists; what is the same for all is here: the table, the row of a new key, reading and resetting,
//! listing and putting.
//!
//! Each change also adds 1 to the row's version, whichever method makes it, so that optimistic writers see it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    slice::from_ref,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use crate::{
    Error,
    database::{self, Answer, Isolation, Transaction, Value, execute},
    entries::{self, Entry, Page},
};

/// Characters that the column `user_id` of a table of ours has room for.
const USER_ID_CHARS_MAX: usize = 255;

/// The longest `user_id` that is listed, in bytes: that of the longest key.
const LISTED_BYTES_MAX: usize = 256;

/// Entries in one page, because an answer of the database has no more rows.
const ENTRIES_PER_PAGE_MAX: u32 = 1_000;

const FIND: &str = "SELECT format_type(atttypid, NULL) FROM pg_attribute \
     WHERE attrelid = to_regclass('user_counter') AND attname = 'user_id'";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS user_counter (\
     user_id varchar(255) PRIMARY KEY, \
     counter bigint NOT NULL DEFAULT 0, \
     version bigint NOT NULL DEFAULT 0)";
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
    mut method: impl FnMut(&Value) -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let user_id = user_id(key)?;
    if let Some(changed) = unless_refused(method(&user_id))? {
        return Ok(changed);
    }
    ask(ADD_ROW, from_ref(&user_id))?;
    unless_refused(method(&user_id))?.ok_or_else(|| {
        Error::Other("the key's row was deleted by somebody while it was added".to_string())
    })
}

/// The count of `key`; 0 for one that was never written.
///
/// # Errors
///
/// [`Error::Unavailable`] and [`Error::Other`].
pub fn read(key: &str) -> Result<i64, Error> {
    let user_id = match user_id(key) {
        // What can't be stored was never written.
        Err(Error::InvalidKey(_)) => return Ok(0),
        user_id => user_id?,
    };
    Ok(integers(&ask(READ, &[user_id])?)?.map_or(0, |[counter]| counter))
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
    let answer = match cursor {
        None => ask(LIST_FIRST, &[limit]),
        Some(last) => ask(LIST_NEXT, &[limit, listed_user_id(&last)?]),
    }?;
    let is_last = answer.rows.len() < entries_max as usize;
    let entries = answer.rows.into_iter().map(entry).collect::<Result<Vec<Entry>, Error>>()?;
    let next = entries.last().filter(|_| !is_last).map(|last| last.key.clone());
    Ok(Page { entries, next })
}

/// A `user_id` that is listed, as the text it is listed as.
fn listed_user_id(cursor: &str) -> Result<Value, entries::Error> {
    let refused = || entries::Error::of_cursor(cursor);
    if user_id_type()? == TEXT {
        // Tables of others may hold longer texts than ours, but no NUL.
        let is_listed = (1..=LISTED_BYTES_MAX).contains(&cursor.len()) && !cursor.contains('\0');
        return is_listed.then(|| Value::Text(String::from(cursor))).ok_or_else(refused);
    }
    match user_id(cursor) {
        Ok(Value::Integer(id)) if id.to_string() == cursor => Ok(Value::Integer(id)),
        Ok(_) | Err(Error::InvalidKey(_)) => Err(refused()),
        Err(error) => Err(error.into()),
    }
}

fn entry(row: Vec<Value>) -> Result<Entry, Error> {
    match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(key), Value::Integer(value)]) => Ok(Entry { key, value }),
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
    // Beforehand, because what the table is can't be asked while the transaction is open.
    let user_ids = entries
        .iter()
        .map(|entry| user_id(&entry.key).map_err(|error| entries::Error::of_key(&entry.key, error)))
        .collect::<Result<Vec<Value>, _>>()?;
    let transaction = Transaction::begin(Isolation::ReadCommitted).map_err(Error::from)?;
    for (Entry { key, value }, user_id) in entries.iter().zip(user_ids) {
        let added = transaction.execute(PUT, &[user_id, Value::Integer(*value)]);
        unless_refused(added.map_err(refused_key))
            .map_err(|error| entries::Error::of_key(key, error))?;
    }
    Ok(Transaction::commit(transaction).map_err(Error::from)?)
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
    unless_refused(execute(statement, parameters).map_err(harmless))
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

/// `key` as the table's `user_id`.
fn user_id(key: &str) -> Result<Value, Error> {
    let largest = match user_id_type()? {
        SMALLINT => i16::MAX.into(),
        INTEGER => i32::MAX.into(),
        BIGINT => i64::MAX,
        _ => return text_user_id(key),
    };
    let user_id = key.parse().ok().filter(|id| (-largest - 1..=largest).contains(id));
    user_id.map(Value::Integer).ok_or_else(|| {
        Error::InvalidKey(format!(
            "the column user_id of the table user_counter is an integer, so a key must be a whole number up to {largest}"
        ))
    })
}

fn text_user_id(key: &str) -> Result<Value, Error> {
    if USER_ID_CHARS_MAX < key.chars().count() || key.contains('\0') {
        return Err(Error::InvalidKey(format!(
            "PostgreSQL holds keys of at most {USER_ID_CHARS_MAX} characters, none of them NUL"
        )));
    }
    Ok(Value::Text(String::from(key)))
}

/// What is known of the table: nothing yet, or the type of its `user_id`.
static USER_ID_TYPE: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const TEXT: u8 = 1;
const SMALLINT: u8 = 2;
const INTEGER: u8 = 3;
const BIGINT: u8 = 4;

/// The type by which the table, made long ago by somebody else, identifies users. Asked once for each instance; the
/// table is made where there is none.
fn user_id_type() -> Result<u8, Error> {
    if USER_ID_TYPE.load(Relaxed) == UNKNOWN {
        USER_ID_TYPE.store(find_or_create()?, Relaxed);
    }
    Ok(USER_ID_TYPE.load(Relaxed))
}

/// Looks at the table anew at the next call when the database refused something: it may have been dropped, or replaced.
fn unless_refused<T>(outcome: Result<T, Error>) -> Result<T, Error> {
    if let Err(Error::Other(_)) = &outcome {
        USER_ID_TYPE.store(UNKNOWN, Relaxed);
    }
    outcome
}

fn find_or_create() -> Result<u8, Error> {
    let found = ask(FIND, &[])?;
    if let Some([Value::Text(user_id_type)]) = found.rows.first().map(|row| row.as_slice()) {
        return Ok(match user_id_type.as_str() {
            "smallint" => SMALLINT,
            "integer" => INTEGER,
            "bigint" => BIGINT,
            _ => TEXT,
        });
    }
    match execute(CREATE, &[]) {
        Ok(_) => Ok(TEXT),
        // Another caller made it at the same moment, on which PostgreSQL's IF NOT EXISTS does not help.
        Err(error) if error.sqlstate.as_deref().is_some_and(is_duplicate) => Ok(TEXT),
        Err(error) => Err(harmless(error)),
    }
}

/// `unique_violation`, `duplicate_table` and `duplicate_object`.
fn is_duplicate(sqlstate: &str) -> bool {
    matches!(sqlstate, "23505" | "42P07" | "42710")
}
