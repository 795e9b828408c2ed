//! The capabilities' errors as the contract's errors, so that plugins can use `?`.

use alloc::{format, string::ToString};

use crate::{
    Error, cells, database, entries, hazelcast, locks,
    wasi::{config::store, filesystem::types::ErrorCode},
};

/// What an error of a file means, for people.
pub fn file_error(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InsufficientSpace => "the disk is full (ENOSPC)",
        ErrorCode::Quota => "the disk quota is used up (EDQUOT)",
        ErrorCode::ReadOnly => "the file system is read-only (EROFS)",
        // Also all that WASI has no code for; the host says what it is, where it still is.
        ErrorCode::Io => "the operating system reports an error (io)",
        code => code.name(),
    }
}

impl From<cells::Error> for Error {
    fn from(error: cells::Error) -> Self {
        match error {
            cells::Error::Overflow => Error::Overflow,
            cells::Error::Full(capacity) => Error::Full(format!(
                "the shared-memory region is full: it has room for {capacity} keys beside the default counter; \
                 a new region has room for as many as --shared-memory-capacity says"
            )),
            cells::Error::InvalidKey => Error::InvalidKey("a key has 1 to 256 bytes".to_string()),
            cells::Error::Unavailable(why) => Error::Unavailable(why),
            cells::Error::OutcomeUnknown(why) => Error::OutcomeUnknown(why),
        }
    }
}

impl From<locks::Error> for Error {
    fn from(error: locks::Error) -> Self {
        match error {
            locks::Error::TimedOut => Error::Conflict,
            locks::Error::InvalidName => Error::Other("invalid lock name".to_string()),
            locks::Error::NotFound => {
                Error::Unavailable("the file to be locked does not exist".to_string())
            }
            locks::Error::Unavailable(why) => Error::Unavailable(why),
        }
    }
}

/// What PostgreSQL reports when a sum does not fit into its column.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const NUMERIC_VALUE_OUT_OF_RANGE: &str = "22003";

/// What it reports when a table has no room to grow. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const DISK_FULL: &str = "53100";

impl From<database::Error> for Error {
    fn from(error: database::Error) -> Self {
        use database::Fault;
        match (error.fault, error.sqlstate.as_deref()) {
            (Fault::Conflict, _) => Error::Conflict,
            (Fault::Unavailable, Some(DISK_FULL)) => {
                Error::Full(format!("the database has no room: {}", error.message))
            }
            (Fault::Unavailable, _) => Error::Unavailable(error.message),
            (Fault::OutcomeUnknown, _) => Error::OutcomeUnknown(error.message),
            (Fault::Refused, Some(NUMERIC_VALUE_OUT_OF_RANGE)) => Error::Overflow,
            (Fault::Refused, _) => Error::Other(format!("the database refused: {}", error.message)),
        }
    }
}

/// A lock that was lost before it was released may have been lost before the write under it, or after.
impl From<hazelcast::Error> for Error {
    fn from(error: hazelcast::Error) -> Self {
        use hazelcast::Fault;
        match error.fault {
            Fault::Conflict => Error::Conflict,
            Fault::Unavailable => Error::Unavailable(error.message),
            Fault::InvalidKey => Error::InvalidKey(error.message),
            Fault::OutcomeUnknown | Fault::LockLost => Error::OutcomeUnknown(error.message),
            Fault::Refused | Fault::InvalidCursor => Error::Other(error.message),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let (store::Error::Upstream(why) | store::Error::Io(why)) = error;
        Error::Unavailable(format!("can't read the plugin's settings: {why}"))
    }
}

/// The contract's errors as those of the entries: what may be tried again is unavailable, also where the outcome is
/// unknown, because putting an entry twice does no harm.
impl From<Error> for entries::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Conflict => {
                entries::Error::Unavailable("others were in the way for too long".to_string())
            }
            Error::Unavailable(why) | Error::OutcomeUnknown(why) => {
                entries::Error::Unavailable(why)
            }
            Error::Full(why) => entries::Error::Full(why),
            Error::InvalidKey(why) => entries::Error::InvalidKey(why),
            Error::Overflow => entries::Error::Other("the value is too large".to_string()),
            Error::OutOfRange(why) | Error::Other(why) => entries::Error::Other(why),
        }
    }
}

impl entries::Error {
    /// `cursor` is none of this plugin.
    pub fn of_cursor(cursor: &str) -> Self {
        entries::Error::InvalidCursor(format!("\"{cursor}\" is no cursor of this plugin"))
    }

    /// Why the entry of `key` was not stored; where the key or its value is the reason, the text names it.
    pub fn of_key(key: &str, error: impl Into<Error>) -> Self {
        error.into().of_key(key).into()
    }
}

impl Error {
    /// The same for who asked for several keys at once: where `key` or its value is the reason, the text names it.
    pub(crate) fn of_key(self, key: &str) -> Self {
        match self {
            Error::InvalidKey(why) => Error::InvalidKey(format!("\"{key}\": {why}")),
            Error::Overflow => Error::Other(format!("the value of \"{key}\" is too large")),
            Error::OutOfRange(why) => {
                Error::Other(format!("the value of \"{key}\" is too large: {why}"))
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_can_not_be_stored_is_named() {
        let refused = |error: Error| entries::Error::of_key("k", error);
        let invalid = refused(Error::InvalidKey("too long".into()));
        assert!(matches!(invalid, entries::Error::InvalidKey(why) if why == "\"k\": too long"));
        let overflow = refused(Error::Overflow);
        assert!(matches!(overflow, entries::Error::Other(why) if why.contains("\"k\"")));
    }

    #[test]
    fn what_may_be_put_again_is_unavailable() {
        for error in
            [Error::Conflict, Error::Unavailable("why".into()), Error::OutcomeUnknown("why".into())]
        {
            assert!(matches!(error.into(), entries::Error::Unavailable(_)));
        }
    }
}
