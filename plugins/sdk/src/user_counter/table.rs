//! What is known of the table: it may have been made long ago by somebody else, and is dropped and made again by others
//! while it is used.

use alloc::{
    format,
    string::{String, ToString},
};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{ask, harmless, integers};
use crate::{
    Error,
    database::{Value, execute},
};

/// Characters that the column `user_id` of a table of ours has room for.
const USER_ID_CHARS_MAX: usize = 255;

/// The longest `user_id` that is listed, in bytes: that of the longest key.
const LISTED_BYTES_MAX: usize = 256;

const FIND: &str = "SELECT ids.attrelid::bigint, ids.atttypid::bigint, counters.atttypid::bigint \
     FROM pg_attribute ids JOIN pg_attribute counters ON counters.attrelid = ids.attrelid \
     WHERE ids.attrelid = to_regclass('user_counter') \
     AND ids.attname = 'user_id' AND counters.attname = 'counter'";
/// Somebody who drops the table to make another one should find the place empty, so it is left so for half a second.
const WAIT: &str = "SELECT 1 FROM pg_sleep(0.5)";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS user_counter (\
     user_id varchar(255) PRIMARY KEY, \
     counter bigint NOT NULL DEFAULT 0, \
     version bigint NOT NULL DEFAULT 0)";

/// One table `user_counter`; another one that took its place differs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Table {
    oid: u32,
    /// Bits of an integer column; 0 for one of another type.
    user_id_bits: u8,
    counter_bits: u8,
}

/// Runs `step` on the table. Where the table is another one than it was known to be, which the database or `step` refused,
/// nothing was changed, and `step` is run on the one that is there now, once.
///
/// # Errors
///
/// Those of `step`, and any of [`Error`].
pub fn on_table<T>(step: impl Fn(&Table) -> Result<T, Error>) -> Result<T, Error> {
    let known = Table::known()?;
    let outcome = step(&known).map_err(|error| known.with_range(error));
    if !matches!(outcome, Err(Error::Other(_) | Error::InvalidKey(_))) {
        return outcome;
    }
    let now = Table::look()?;
    if now == known {
        return outcome;
    }
    step(&now).map_err(|error| match now.with_range(error) {
        Error::Other(why) => Error::Unavailable(format!(
            "the table user_counter is being replaced by somebody, and nothing was changed: {why}"
        )),
        error => error,
    })
}

impl Table {
    /// The table, asked for once in each instance.
    fn known() -> Result<Self, Error> {
        KNOWN.get().map_or_else(Self::look, Ok)
    }

    /// The table that is there now; it is made where there is none.
    fn look() -> Result<Self, Error> {
        if let Some(table) = Self::find()? {
            return Ok(table);
        }
        // Where the database's bound on statements is shorter, that is the wait.
        let _ = ask(WAIT, &[]);
        if let Some(table) = Self::find()? {
            return Ok(table);
        }
        match execute(CREATE, &[]) {
            Ok(_) => {}
            // Another caller made it at the same moment, on which PostgreSQL's IF NOT EXISTS does not help.
            Err(error) if error.sqlstate.as_deref().is_some_and(is_duplicate) => {}
            Err(error) => return Err(harmless(error)),
        }
        Self::find()?.ok_or_else(|| {
            Error::Other("the table user_counter has no columns user_id and counter".to_string())
        })
    }

    fn find() -> Result<Option<Self>, Error> {
        let Some([oid, user_id, counter]) = integers(&ask(FIND, &[])?)? else {
            return Ok(None);
        };
        let oid = u32::try_from(oid)
            .map_err(|_| Error::Other(format!("PostgreSQL has no table of the number {oid}")))?;
        let table = Self { oid, user_id_bits: bits(user_id), counter_bits: bits(counter) };
        KNOWN.set(table);
        Ok(Some(table))
    }

    /// `row` as the table's `user_id`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] where it can't be one.
    pub fn user_id(&self, row: &str) -> Result<Value, Error> {
        if self.user_id_bits == 0 {
            return text_user_id(row);
        }
        let [smallest, largest] = range(self.user_id_bits);
        let number = row.parse().ok().filter(|id| (smallest..=largest).contains(id));
        // "01" and "+1" would be the row 1 too.
        number.filter(|id: &i64| id.to_string() == row).map(Value::Integer).ok_or_else(|| {
            Error::InvalidKey(format!(
                "the column user_id of the table user_counter is an integer, so a key must be a whole number from \
                 {smallest} to {largest}, as one writes it, and \"{row}\" is none"
            ))
        })
    }

    /// `row` as a `user_id` that is listed: tables of others may hold longer texts than ours.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] where it can't be one.
    pub fn listed(&self, row: &str) -> Result<Value, Error> {
        if self.user_id_bits != 0 {
            return self.user_id(row);
        }
        if !(1..=LISTED_BYTES_MAX).contains(&row.len()) || row.contains('\0') {
            return Err(Error::InvalidKey(format!("\"{row}\" is no key")));
        }
        Ok(Value::Text(String::from(row)))
    }

    /// An overflow of a column that is narrower than the contract's values says so.
    pub fn with_range(&self, error: Error) -> Error {
        match error {
            Error::Overflow if (1..64).contains(&self.counter_bits) => {
                let ([smallest, largest], bits) = (range(self.counter_bits), self.counter_bits);
                Error::OutOfRange(format!(
                    "the column counter of the table user_counter is a {bits}-bit integer, from {smallest} to {largest}"
                ))
            }
            error => error,
        }
    }
}

fn text_user_id(row: &str) -> Result<Value, Error> {
    if USER_ID_CHARS_MAX < row.chars().count() || row.contains('\0') {
        return Err(Error::InvalidKey(format!(
            "PostgreSQL holds keys of at most {USER_ID_CHARS_MAX} characters, none of them NUL"
        )));
    }
    Ok(Value::Text(String::from(row)))
}

/// By the numbers that PostgreSQL has given `smallint`, `integer` and `bigint` (pg_type.dat).
fn bits(type_oid: i64) -> u8 {
    match type_oid {
        21 => 16,
        23 => 32,
        20 => 64,
        _ => 0,
    }
}

/// The smallest and the largest integer of 1 to 64 bits.
fn range(bits: u8) -> [i64; 2] {
    let unused = 64 - u32::from(bits);
    [i64::MIN >> unused, i64::MAX >> unused]
}

/// `unique_violation`, `duplicate_table` and `duplicate_object`.
fn is_duplicate(sqlstate: &str) -> bool {
    matches!(sqlstate, "23505" | "42P07" | "42710")
}

/// The table as it was when it was looked at last, packed; 0 before that, since no table has the number 0.
static KNOWN: Known = Known(AtomicU64::new(0));

struct Known(AtomicU64);

impl Known {
    fn get(&self) -> Option<Table> {
        let [user_id_bits, counter_bits, _, _, oid @ ..] = self.0.load(Relaxed).to_le_bytes();
        let oid = u32::from_le_bytes(oid);
        (oid != 0).then_some(Table { oid, user_id_bits, counter_bits })
    }

    fn set(&self, Table { oid, user_id_bits, counter_bits }: Table) {
        let packed = u64::from(oid) << 32 | u64::from(counter_bits) << 8 | u64::from(user_id_bits);
        self.0.store(packed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGERS: Table = Table { oid: 7, user_id_bits: 32, counter_bits: 16 };
    const TEXTS: Table = Table { oid: u32::MAX, user_id_bits: 0, counter_bits: 64 };

    #[test]
    fn an_integer_has_one_key() {
        for (key, id) in [
            ("1", Some(1)),
            ("-2147483648", Some(-2_147_483_648)),
            ("2147483648", None),
            ("01", None),
            ("+1", None),
            ("-0", None),
            (" 1", None),
            ("count", None),
        ] {
            let user_id = INTEGERS.user_id(key).ok();
            let found = user_id.map(|id| if let Value::Integer(id) = id { id } else { 0 });
            assert_eq!(found, id, "{key}");
            assert!(matches!(TEXTS.user_id(key), Ok(Value::Text(text)) if text == key));
        }
    }

    #[test]
    fn an_overflow_names_the_range_of_a_narrow_column() {
        let narrow = INTEGERS.with_range(Error::Overflow);
        assert!(matches!(narrow, Error::OutOfRange(why) if why.contains("-32768 to 32767")));
        assert!(matches!(TEXTS.with_range(Error::Overflow), Error::Overflow));
        assert_eq!(range(64), [i64::MIN, i64::MAX]);
    }

    #[test]
    fn what_is_known_is_what_was_found() {
        let known = Known(AtomicU64::new(0));
        assert!(known.get().is_none());
        for table in [INTEGERS, TEXTS] {
            known.set(table);
            assert!(known.get() == Some(table));
        }
    }
}
