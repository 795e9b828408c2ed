//! The capabilities' errors as the contract's errors, so that plugins can use `?`.

use alloc::{format, string::ToString};

use crate::{Error, cells, database, locks, wasi::config::store};

impl From<cells::Error> for Error {
    fn from(error: cells::Error) -> Self {
        match error {
            cells::Error::Overflow => Error::Overflow,
            cells::Error::Full(capacity) => Error::Unavailable(format!(
                "the shared-memory region is full: it has room for {capacity} keys"
            )),
            cells::Error::InvalidKey => Error::InvalidKey("a key has 1 to 256 bytes".to_string()),
            cells::Error::Unavailable(why) => Error::Unavailable(why),
        }
    }
}

impl From<locks::Error> for Error {
    fn from(error: locks::Error) -> Self {
        match error {
            locks::Error::TimedOut => Error::Conflict,
            locks::Error::InvalidName => Error::Other("invalid lock name".to_string()),
            locks::Error::Unavailable(why) => Error::Unavailable(why),
        }
    }
}

/// What PostgreSQL reports when a sum does not fit into its column.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        use database::Fault;
        match (error.fault, error.sqlstate.as_deref()) {
            (Fault::Conflict, _) => Error::Conflict,
            (Fault::Unavailable, _) => Error::Unavailable(error.message),
            (Fault::OutcomeUnknown, _) => Error::OutcomeUnknown(error.message),
            (Fault::Refused, Some(NUMERIC_VALUE_OUT_OF_RANGE)) => Error::Overflow,
            (Fault::Refused, _) => Error::Other(format!("the database refused: {}", error.message)),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let (store::Error::Upstream(why) | store::Error::Io(why)) = error;
        Error::Unavailable(format!("can't read the plugin's settings: {why}"))
    }
}
