//! What is asked of a plugin, and why there may be no answer.

use std::fmt;

use rustix::io::Errno;

use crate::{
    bindings::exports::tally::counter::counter::Error,
    capabilities::{Unfinished, os_error::words},
    text::{SAID_BYTES_MAX, bounded},
};

/// What a caller asks of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Add this much; answers with the value after the addition.
    Increment(i64),
    /// Answer with the value.
    Get,
    /// Set to 0; answers with 0.
    Reset,
}

impl Operation {
    /// The exported function that does it.
    pub fn function(self) -> &'static str {
        match self {
            Self::Increment(_) => "increment",
            Self::Get => "get",
            Self::Reset => "reset",
        }
    }
}

/// Why a call has no answer from the plugin.
#[derive(Debug)]
pub enum CallError {
    /// The plugin refused, with this error.
    Refused(Error),
    /// The plugin has returned no such cursor; the text names it.
    InvalidCursor(String),
    /// The plugin broke off; its instance is gone. Whether the call counted is unknown.
    Trapped(TrapReason),
    /// The call took longer than it may; it goes on, and whether it will count is unknown.
    TimedOut,
    /// A forced swap broke the call off; whether it counted is unknown.
    BrokenOff,
    /// Too many calls are waiting for an instance; this one was not begun.
    QueueFull,
    /// No instance was free for as long as a call may take; this one was not begun.
    QueuedTooLong,
    /// No instance could be made; the call was not begun.
    NoInstance(String),
    /// A swap held calls back for longer than it may; this one was not begun.
    HeldBackTooLong,
    /// The plugin does not export what this needs; named as in the WIT files.
    NotExported(&'static str),
}

impl CallError {
    /// The plugin refused with `error`, whose text is bounded.
    pub fn refused(error: Error) -> Self {
        let said = |why| bounded(why, SAID_BYTES_MAX);
        Self::Refused(match error {
            Error::Overflow => Error::Overflow,
            Error::Conflict => Error::Conflict,
            Error::OutOfRange(why) => Error::OutOfRange(said(why)),
            Error::Unavailable(why) => Error::Unavailable(said(why)),
            Error::Full(why) => Error::Full(said(why)),
            Error::InvalidKey(why) => Error::InvalidKey(said(why)),
            Error::OutcomeUnknown(why) => Error::OutcomeUnknown(said(why)),
            Error::Other(why) => Error::Other(said(why)),
        })
    }

    /// No instance could be made, as `error` says, in which names of the component may stand.
    pub fn no_instance(error: &anyhow::Error) -> Self {
        Self::NoInstance(bounded(format!("{error:#}"), SAID_BYTES_MAX))
    }

    /// Whether nobody can say if the call counted.
    pub fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Trapped(_)
            | Self::TimedOut
            | Self::BrokenOff
            | Self::Refused(Error::OutcomeUnknown(_)) => true,
            Self::Refused(_)
            | Self::InvalidCursor(_)
            | Self::QueueFull
            | Self::QueuedTooLong
            | Self::NoInstance(_)
            | Self::HeldBackTooLong
            | Self::NotExported(_) => false,
        }
    }

    /// Whether the plugin says that its storage failed.
    pub fn is_of_storage(&self) -> bool {
        use Error::{Full, OutcomeUnknown, Unavailable};
        matches!(self, Self::Refused(Unavailable(_) | Full(_) | OutcomeUnknown(_)))
    }

    /// The same, where the host has found that files can't be written for this reason. Of most reasons WASI only says
    /// "io".
    pub fn because(mut self, errno: Errno) -> Self {
        if let Self::Refused(
            Error::Unavailable(why) | Error::Full(why) | Error::OutcomeUnknown(why),
        ) = &mut self
        {
            let reason = words(errno);
            if !why.contains(&reason) {
                *why = format!("{why}: {reason}");
            }
        }
        match self {
            Self::Refused(Error::Unavailable(why)) if errno == Errno::DQUOT => {
                Self::Refused(Error::Full(why))
            }
            error => error,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNKNOWN: &str = "whether this call counted is unknown";
        match self {
            Self::Refused(Error::Overflow) => {
                f.write_str("the value would leave the signed 64-bit range; it is unchanged")
            }
            Self::Refused(Error::OutOfRange(why)) => {
                write!(f, "the value would leave its range: {why}; it is unchanged")
            }
            Self::Refused(Error::Conflict) => f.write_str(
                "others were in the way until the retry budget was used up; nothing was changed",
            ),
            Self::Refused(
                Error::Unavailable(why)
                | Error::Full(why)
                | Error::InvalidKey(why)
                | Error::Other(why),
            )
            | Self::InvalidCursor(why) => f.write_str(why),
            Self::Refused(Error::OutcomeUnknown(why)) => write!(f, "{why}; {UNKNOWN}"),
            Self::Trapped(reason) => write!(f, "the plugin broke off: {reason}; {UNKNOWN}"),
            Self::TimedOut => {
                write!(f, "the plugin did not answer within --call-time-max; {UNKNOWN}")
            }
            Self::BrokenOff => {
                write!(f, "a forced swap of the plugin broke this call off; {UNKNOWN}")
            }
            Self::QueueFull => f.write_str("too many calls are waiting; this one was not begun"),
            Self::QueuedTooLong => f.write_str(
                "no instance of the plugin was free within --call-time-max, or within 1 s while its calls compute for \
                 long; this call was not begun",
            ),
            Self::NoInstance(why) => {
                write!(f, "the plugin could not be started, so this call was not begun: {why}")
            }
            Self::HeldBackTooLong => f.write_str(
                "a swap of the plugin held this call back for too long; it was not begun",
            ),
            Self::NotExported(interface) => {
                write!(f, "the plugin does not export the interface {interface}")
            }
        }
    }
}

/// What made a plugin break off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapReason {
    /// It computed for longer than a call may.
    CpuTime,
    /// It called functions too deeply.
    StackOverflow,
    /// It called the host more often than a call may.
    HostCalls,
    /// It could not go on without memory beyond its limit.
    Memory {
        /// What it would have had, in bytes.
        asked: usize,
        /// What it may have, in bytes.
        allowed: usize,
    },
    /// It said that it panicked; its message is in the log.
    Panic,
    /// It returned without ending this, which was ended with its instance.
    Unfinished(Unfinished),
    /// It answered what the contract does not allow; the log says what.
    Contract,
    /// Anything else.
    Other,
}

impl fmt::Display for TrapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory { asked, allowed } => {
                let mib = |bytes: &usize| *bytes as f64 / f64::from(1 << 20);
                let (asked, allowed) = (mib(asked), mib(allowed));
                return write!(
                    f,
                    "it asked for {asked:.1} MiB of memory, more than --plugin-memory-max ({allowed} MiB)"
                );
            }
            Self::Panic => "it panicked; the host's log says why",
            Self::CpuTime => "it computed for longer than --call-cpu-max",
            Self::StackOverflow => "its stack overflowed",
            Self::HostCalls => "it called the host more often than --host-calls-max",
            Self::Unfinished(Unfinished::Transaction) => {
                "it left a transaction open, which was rolled back"
            }
            Self::Unfinished(Unfinished::Lock) => "it left a lock held, which was let go of",
            Self::Contract => "its answer is not what the contract allows; the host's log says why",
            Self::Other => "it trapped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_for_which_files_can_not_be_written_is_said_once_and_decides_what_it_is() {
        let refused =
            |error: fn(String) -> Error| CallError::Refused(error("can't open x: io".into()));
        for (error, errno, expected) in [
            (
                refused(Error::Unavailable),
                Errno::ROFS,
                "can't open x: io: the file system is read-only (EROFS)",
            ),
            (
                refused(Error::OutcomeUnknown),
                Errno::DQUOT,
                "can't open x: io: the disk quota is used up (EDQUOT); whether this call counted is unknown",
            ),
            (CallError::Refused(Error::Conflict), Errno::ROFS, "others were in the way"),
        ] {
            let said = error.because(errno).because(errno).to_string();
            assert!(said.starts_with(expected), "{said}");
        }
        let full = refused(Error::Unavailable).because(Errno::DQUOT);
        assert!(matches!(full, CallError::Refused(Error::Full(_))), "{full}");
    }
}
