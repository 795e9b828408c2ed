//! What happened: one record per operation, small enough to keep all of them.

/// What kind of operation it was, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An increment that was acknowledged with the value after the addition.
    Increment,
    /// An increment that was acknowledged without a value, as servers of the original contract do.
    IncrementUnseen,
    /// An increment that failed and surely was not applied.
    IncrementFailed,
    /// An increment whose outcome is unknown: it may have been applied, may be applied later, or never.
    IncrementUnknown,
    /// A read that was answered with a value.
    Read,
}

/// The `client` of an operation made by the run itself, such as the final read.
pub const RUN_ITSELF: u32 = u32::MAX;

/// One operation. Times are nanoseconds since one instant that all clients of a run share.
///
/// A record takes 32 bytes, because every operation of a run is kept for the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// When the client began the operation. Never later than the operation's effect.
    pub invoked_ns: u64,
    /// When the client had the answer. Never earlier than the effect of an acknowledged operation.
    pub returned_ns: u64,
    /// The value in the answer; meaningless (0) unless the kind is [`Kind::Increment`] or [`Kind::Read`].
    pub value: i64,
    /// Who made it: the client's index from 0, or [`RUN_ITSELF`].
    pub client: u32,
    /// What it was and how it ended.
    pub kind: Kind,
}

const _: () = assert!(size_of::<Operation>() == 32);

impl Operation {
    /// How long the client waited for the answer, in nanoseconds.
    pub fn latency_ns(&self) -> u64 {
        self.returned_ns.saturating_sub(self.invoked_ns)
    }

    /// Whether this is an increment that was answered with success.
    pub fn acknowledged(&self) -> bool {
        matches!(self.kind, Kind::Increment | Kind::IncrementUnseen)
    }
}
