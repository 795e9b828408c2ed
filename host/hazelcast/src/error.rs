//! Why a call failed.

use std::fmt;

/// A failure, by what may be done about it. The text says what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The cluster is out of reach or too busy. Nothing was changed, and the call can be made again.
    Unavailable(String),
    /// The cluster refused the call, or what is stored can't be read. Nothing was changed.
    Refused(String),
    /// A lock was no longer held.
    LockLost(String),
    /// The connection broke or the time was up before the cluster said whether the change was made.
    OutcomeUnknown(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unavailable(why)
        | Self::Refused(why)
        | Self::LockLost(why)
        | Self::OutcomeUnknown(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Error {}
