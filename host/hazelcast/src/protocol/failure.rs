//! Errors that members answer with, and what they mean for whoever called.

use super::frame::{Malformed, Message};

/// The type of a message that is an error.
const ERROR: i32 = 0;

/// The code of an exception of no special kind.
const HAZELCAST: i32 = 18;

/// What members say of calls to the CP Subsystem where there is none.
/// <https://github.com/hazelcast/hazelcast/blob/v5.3.8/hazelcast/src/main/java/com/hazelcast/cp/internal/CPSubsystemImpl.java>
const CP_OFF: &str = "CP Subsystem is not enabled";

/// Characters of a member's text that are passed on.
const TEXT_CHARS_MAX: usize = 300;

/// An error in an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: i32,
    /// The class of the exception, and its text.
    pub text: String,
}

/// What a failure says about the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It was not made, because the cluster is changing. It can be made again at once.
    NotNow,
    /// It was not made, because the cluster is too busy or too small.
    Unavailable,
    /// It was not made, and never will be.
    Refused,
    /// It was not made, because the cluster has no CP Subsystem.
    CpOff,
    /// The lock is held by somebody else, or nobody.
    NotOwner,
    /// The CP group that it was for is gone.
    GroupGone,
    /// It may have been made.
    Unknown,
}

impl Failure {
    /// The failure in `message`, if it is one.
    ///
    /// # Errors
    ///
    /// Where it is one, but not readable.
    pub fn of(message: &Message) -> Result<Option<Self>, Malformed> {
        if message.kind() != ERROR {
            return Ok(None);
        }
        let mut frames = message.frames();
        frames.begin()?;
        frames.begin()?;
        let code = frames.expect()?.fixed().i32()?;
        let class = frames.expect()?.text();
        let text = frames.expect()?.nullable().map(String::from_utf8_lossy).unwrap_or_default();
        let class = class.rsplit('.').next().unwrap_or_default();
        let text = format!("{class}: {text}").chars().take(TEXT_CHARS_MAX).collect();
        Ok(Some(Self { code, text }))
    }

    /// What it says about the call.
    ///
    /// The codes are those of
    /// <https://github.com/hazelcast/hazelcast/blob/v5.3.8/hazelcast/src/main/java/com/hazelcast/client/impl/protocol/ClientProtocolErrorCodes.java>.
    /// `MemberLeft`, `RetryableIO` and `HazelcastInstanceNotActive` are among the unknown, although other clients make the
    /// call again: the member may have made it before it went. So are `IllegalState` and `NullPointer`, which code of the
    /// cluster's users may raise after a change.
    pub fn meaning(&self) -> Meaning {
        match self.code {
            // It has no code of its own, and texts may hold names that users chose.
            HAZELCAST
                if self.text.split_once(": ").is_some_and(|(_, text)| text.starts_with(CP_OFF)) =>
            {
                Meaning::CpOff
            }
            // CallerNotMember, PartitionMigrating, RetryableHazelcast, TargetNotMember, WrongTarget, TargetNotReplica,
            // CannotReplicate, NotLeader
            8 | 39 | 46 | 53 | 62 | 82 | 90 | 93 => Meaning::NotNow,
            // HazelcastOverload, SplitBrainProtection
            20 | 42 => Meaning::Unavailable,
            // AccessControl, Authentication, DistributedObjectDestroyed, HazelcastSerialization, IllegalArgument,
            // UnsupportedOperation, ServiceNotFound, MutationDisallowed
            3 | 14 | 21 | 23 | 61 | 64 | 75 | 83 => Meaning::Refused,
            26 => Meaning::NotOwner,
            89 => Meaning::GroupGone,
            _ => Meaning::Unknown,
        }
    }
}
