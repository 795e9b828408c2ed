//! What a failure of the client means to a plugin.

use crate::bindings::tally::hazelcast::types::{Error, Fault};

impl Error {
    /// A failure of this kind.
    pub(super) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }
}

/// Of a call that may have changed a number.
impl From<tally_hazelcast::Error> for Error {
    fn from(error: tally_hazelcast::Error) -> Self {
        use tally_hazelcast::Error as Failure;
        match error {
            Failure::Unavailable(why) => Self::new(Fault::Unavailable, why),
            Failure::Refused(why) => Self::new(Fault::Refused, why),
            Failure::LockLost(why) => Self::new(Fault::LockLost, why),
            Failure::OutcomeUnknown(why) => Self::new(Fault::OutcomeUnknown, why),
        }
    }
}

/// Of a call that changes no number, so that nothing is unknown when its outcome is: a read, and the
/// taking and giving back of a lock, which ends with its lease.
pub fn harmless(error: tally_hazelcast::Error) -> Error {
    match error.into() {
        Error { fault: Fault::OutcomeUnknown, message } => Error::new(Fault::Unavailable, message),
        error => error,
    }
}
