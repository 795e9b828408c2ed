//! What is the same for the plugins that keep one counter under each key of a Hazelcast map.

use alloc::{string::String, vec::Vec};

use crate::{
    Error,
    entries::{self, Entry, Page},
    hazelcast::{self, Fault},
    map::{self, Kind, Stored},
};

/// The count of `key`; 0 for one that was never written.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::InvalidKey`] and [`Error::Other`].
pub fn read(key: &str) -> Result<i64, Error> {
    Ok(value(map::get(key)?))
}

/// The count that is stored, of whichever kind; 0 where nothing is.
pub fn value(stored: Option<Stored>) -> i64 {
    stored.map_or(0, |stored| stored.value)
}

/// In which kind to store what takes the place of this: the same, since clients in other languages that compare would never
/// find the other kind equal to what they wrote. What is new is a `Long`.
pub fn kind(stored: Option<Stored>) -> Kind {
    stored.map_or(Kind::Long, |stored| stored.kind)
}

/// Stores `value`, whatever is stored, in the kind of that.
///
/// # Errors
///
/// Those of [`map::get`] and of [`map::put`].
pub fn overwrite(key: &str, value: i64) -> Result<(), hazelcast::Error> {
    map::put(key, value, kind(map::get(key)?))
}

/// Stores `sum` if what is stored is still what was `read`, and returns whether it did. What is compared includes the kind.
///
/// # Errors
///
/// [`Error::Unavailable`], [`Error::OutcomeUnknown`], [`Error::InvalidKey`] and [`Error::Other`].
pub fn compare_and_set(key: &str, read: Option<Stored>, sum: i64) -> Result<bool, Error> {
    Ok(match read {
        Some(stored) => map::replace_if_same(key, stored, sum)?,
        None => map::put_if_absent(key, sum)?.is_none(),
    })
}

/// Lists the counters in the map; a cursor is the host's own.
///
/// # Errors
///
/// [`entries::Error::Unavailable`], [`entries::Error::InvalidCursor`] and [`entries::Error::Other`].
pub fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, entries::Error> {
    let page = map::list(cursor.as_deref(), entries_max).map_err(|error| match error.fault {
        Fault::InvalidCursor => entries::Error::of_cursor(&cursor.unwrap_or_default()),
        _ => Error::from(error).into(),
    })?;
    let entry = |found: map::Entry| Entry { key: found.key, value: found.stored.value };
    Ok(Page { entries: page.entries.into_iter().map(entry).collect(), next: page.next })
}

/// Stores each value, one after the other, in the kind of what is stored there.
///
/// # Errors
///
/// Any of [`entries::Error`].
pub fn put(entries: Vec<Entry>) -> Result<(), entries::Error> {
    for Entry { key, value } in entries {
        overwrite(&key, value).map_err(|error| entries::Error::of_key(&key, error))?;
    }
    Ok(())
}
