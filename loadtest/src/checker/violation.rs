//! What a broken history is told to people as: one sentence with both operations.

use std::fmt;

use crate::history::{Kind, Operation, RUN_ITSELF};

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two increments were answered with one value.
    Duplicate {
        /// The one that began first.
        first: Operation,
        /// The other one.
        second: Operation,
    },
    /// An operation ended before another began, and yet was answered with the larger value, or with an equal one
    /// where only a later operation can be.
    Backwards {
        /// The operation that ended.
        ended: Operation,
        /// The operation that began after that.
        began_later: Operation,
    },
    /// An answer that the counter cannot have given, as it began above it.
    OutOfRange {
        /// The operation with that answer.
        operation: Operation,
        /// The value the counter began with.
        start: i64,
    },
    /// The counter passed a value that no increment was answered with and that no unknown increment can have made.
    Missing {
        /// The missing value.
        value: i64,
        /// The first operation to end of those whose answers are at or above the missing value.
        witness: Operation,
        /// The best increment of unknown outcome that was left; it began after the witness had ended.
        too_late: Option<Operation>,
    },
}

impl Violation {
    /// The value at which the history, in the order of its values, breaks.
    pub fn value(&self) -> i64 {
        match self {
            Violation::Duplicate { second, .. } => second.value,
            Violation::Backwards { ended, .. } => ended.value,
            Violation::OutOfRange { operation, .. } => operation.value,
            Violation::Missing { value, .. } => *value,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Duplicate { first, second } => {
                write!(
                    f,
                    "two increments were answered {}: {} and {}",
                    first.value,
                    Short(first),
                    Short(second)
                )
            }
            Violation::Backwards { ended, began_later } => write!(
                f,
                "{} ended before {} began, although by its answer it must come later",
                Full(ended),
                Full(began_later)
            ),
            Violation::OutOfRange { operation, start } => {
                write!(f, "{} is impossible for a counter that began at {start}", Full(operation))
            }
            Violation::Missing { value, witness, too_late } => {
                write!(f, "no increment was answered {value}, and yet there is {}", Full(witness))?;
                match too_late {
                    None => {
                        f.write_str(", with no increment of unknown outcome left to have made it")
                    }
                    Some(unknown) => write!(
                        f,
                        "; the increment of unknown outcome by {} began too late to have made it, at {}",
                        who(unknown),
                        Us(unknown.invoked_ns)
                    ),
                }
            }
        }
    }
}

/// `client 3's increment, answered 42 (10.000 µs to 12.345 µs)`.
struct Full<'a>(&'a Operation);

impl fmt::Display for Full<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Full(operation) = self;
        let what = match operation.kind {
            Kind::Read if operation.client == RUN_ITSELF => "the final read".to_owned(),
            Kind::Read => format!("the read by {}", who(operation)),
            _ => format!("the increment by {}", who(operation)),
        };
        write!(f, "{what} that was answered {} ({})", operation.value, span(operation))
    }
}

/// `client 3 (10.000 µs to 12.345 µs)`.
struct Short<'a>(&'a Operation);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", who(self.0), span(self.0))
    }
}

/// Clients are counted from 1 for people.
fn who(operation: &Operation) -> String {
    match operation.client {
        RUN_ITSELF => "the run itself".to_owned(),
        client => format!("client {}", u64::from(client) + 1),
    }
}

fn span(operation: &Operation) -> String {
    format!("{} to {}", Us(operation.invoked_ns), Us(operation.returned_ns))
}

/// Nanoseconds, printed as microseconds with all their digits.
struct Us(u64);

impl fmt::Display for Us {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} µs", self.0 / 1_000, self.0 % 1_000)
    }
}
