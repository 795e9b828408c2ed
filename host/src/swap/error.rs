//! Why a swap was not made.

use std::fmt;

/// Why a swap was not made. The old generation goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapError {
    /// The request itself is wrong.
    BadRequest(String),
    /// There is no such plugin.
    UnknownPlugin(String),
    /// Too many others are under way or wait.
    Busy,
    /// There was no generation before this one.
    NothingToRollBack,
    /// The storage changes, the old one holds counts, and nobody has said what becomes of them.
    CarryOrLeave(String),
    /// The plugin, or the storage, does not allow it.
    Refused(String),
    /// Something else is in the way at the moment.
    NotNow(String),
    /// The host is stopping.
    Stopping,
}

impl fmt::Display for SwapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadRequest(why)
            | Self::UnknownPlugin(why)
            | Self::CarryOrLeave(why)
            | Self::Refused(why)
            | Self::NotNow(why) => f.write_str(why),
            Self::Busy => f.write_str("other swaps are under way: try again when they are done"),
            Self::NothingToRollBack => {
                f.write_str("there is no generation before this one to go back to")
            }
            Self::Stopping => f.write_str("the host is stopping"),
        }
    }
}

impl std::error::Error for SwapError {}
