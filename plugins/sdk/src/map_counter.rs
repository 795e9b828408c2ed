//! What is the same for the plugins that keep one counter under each key of a Hazelcast map.

use crate::{
    Error,
    map::{self, Stored},
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
