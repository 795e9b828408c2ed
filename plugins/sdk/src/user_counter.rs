//! The table in which the PostgreSQL plugins keep their counters.
//!
//! All of them share it, so that the method can be exchanged while the counts stay. A method is the way in which it
//! changes a row that exists; what is the same for all is here: the table, the row of a new key, reading and resetting.
//!
//! Each change also adds 1 to the row's version, whichever method makes it, so that optimistic writers see it.

use alloc::{
    format,
    string::{String, ToString},
};
use core::{
    slice::from_ref,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use crate::{
    Error,
    database::{self, Answer, Value, execute},
};

/// Characters that the column `user_id` of a table of ours has room for.
const USER_ID_CHARS_MAX: usize = 255;

const FIND: &str = "SELECT format_type(atttypid, NULL) FROM pg_attribute \
     WHERE attrelid = to_regclass('user_counter') AND attname = 'user_id'";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS user_counter (\
     user_id varchar(255) PRIMARY KEY, \
     counter bigint NOT NULL DEFAULT 0, \
     version bigint NOT NULL DEFAULT 0)";
const ADD_ROW: &str = "INSERT INTO user_counter (user_id, counter, version) VALUES ($1, 0, 0) \
     ON CONFLICT (user_id) DO NOTHING";
const READ: &str = "SELECT counter FROM user_counter WHERE user_id = $1";
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
    let wrong = || Error::Other(format!("a row of user_counter holds {row:?}"));
    if row.len() != N {
        return Err(wrong());
    }
    for (integer, value) in integers.iter_mut().zip(row) {
        let Value::Integer(value) = value else {
            return Err(wrong());
        };
        *integer = *value;
    }
    Ok(Some(integers))
}

/// `key` as the table's `user_id`.
fn user_id(key: &str) -> Result<Value, Error> {
    if has_integer_ids()? {
        return key.parse().map(Value::Integer).map_err(|_| {
            Error::InvalidKey(
                "the column user_id of the table user_counter is an integer, so a key must be a whole number"
                    .to_string(),
            )
        });
    }
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
const INTEGER: u8 = 2;

/// Whether the table, made long ago by somebody else, identifies users by numbers. Asked once for each instance; the
/// table is made where there is none.
fn has_integer_ids() -> Result<bool, Error> {
    if USER_ID_TYPE.load(Relaxed) == UNKNOWN {
        let user_id_type = if find_or_create()? { INTEGER } else { TEXT };
        USER_ID_TYPE.store(user_id_type, Relaxed);
    }
    Ok(USER_ID_TYPE.load(Relaxed) == INTEGER)
}

/// Looks at the table anew at the next call when the database refused something: it may have been dropped, or replaced.
fn unless_refused<T>(outcome: Result<T, Error>) -> Result<T, Error> {
    if let Err(Error::Other(_)) = &outcome {
        USER_ID_TYPE.store(UNKNOWN, Relaxed);
    }
    outcome
}

fn find_or_create() -> Result<bool, Error> {
    let found = ask(FIND, &[])?;
    if let Some([Value::Text(user_id_type)]) = found.rows.first().map(|row| row.as_slice()) {
        return Ok(matches!(user_id_type.as_str(), "smallint" | "integer" | "bigint"));
    }
    match execute(CREATE, &[]) {
        Ok(_) => Ok(false),
        // Another caller made it at the same moment, on which PostgreSQL's IF NOT EXISTS does not help.
        Err(error) if error.sqlstate.as_deref().is_some_and(is_duplicate) => Ok(false),
        Err(error) => Err(harmless(error)),
    }
}

/// `unique_violation`, `duplicate_table` and `duplicate_object`.
fn is_duplicate(sqlstate: &str) -> bool {
    matches!(sqlstate, "23505" | "42P07" | "42710")
}
