//! One call, made until it is answered, refused, or nobody can know.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    Error,
    cluster::{Cluster, Recipient, Route},
    connection::Broken,
    protocol::{
        failure::{Failure, Meaning},
        frame::{Malformed, Message, Request},
    },
};

/// Pause before a call is made again that the cluster has put off.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What whoever runs the cluster has to do before it has atomic longs to rely on.
const CP_OFF: &str = "the cluster has no CP Subsystem: set cp-subsystem.cp-member-count to 3 or more in hazelcast.yaml on \
    each member, and start the cluster anew (Hazelcast up to 5.4 has it in the open-source edition)";

/// When a call has to be over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    time_max: Duration,
}

impl Deadline {
    /// `time_max` from now.
    pub fn after(time_max: Duration) -> Self {
        Self { at: Instant::now() + time_max, time_max }
    }
}

/// Whether a call may be made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The second one changes nothing.
    Harmless,
    /// It would count twice.
    Never,
}

impl Repeat {
    /// What was read of the answer to such a call.
    ///
    /// # Errors
    ///
    /// Where it could not be read.
    pub fn understood<T>(self, read: Result<T, Malformed>) -> Result<T, Error> {
        read.map_err(|malformed| match self {
            Self::Harmless => Error::Refused(malformed.to_string()),
            Self::Never => Error::OutcomeUnknown(malformed.to_string()),
        })
    }
}

/// How a member answered.
pub enum Outcome {
    Done(Message),
    /// The lock is held by somebody else, or nobody.
    NotOwner(String),
    /// The CP group is gone.
    GroupGone(String),
    /// The cluster has no CP Subsystem.
    CpOff,
    /// It was refused, and always would be.
    Refused(String),
}

impl Outcome {
    /// The answer to a call that was made.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where it was not.
    pub fn done(self) -> Result<Message, Error> {
        match self {
            Self::Done(answer) => Ok(answer),
            Self::NotOwner(why) | Self::GroupGone(why) | Self::Refused(why) => {
                Err(Error::Refused(why))
            }
            Self::CpOff => Err(Error::Refused(CP_OFF.to_owned())),
        }
    }
}

/// Why one attempt came to nothing.
enum Failed {
    /// It was not made, and can be made again.
    NotMade(String),
    /// Nobody knows whether it was made.
    Unknown(String),
    /// It was not made, and making it again is of no use.
    ForGood(Error),
}

/// Makes a call until `deadline`. `request` is made for the partition that it is given.
///
/// # Errors
///
/// Any but [`Error::LockLost`]; [`Error::OutcomeUnknown`] only where it must not be repeated.
pub async fn invoke(
    cluster: &Cluster,
    recipient: Recipient<'_>,
    repeat: Repeat,
    deadline: Deadline,
    request: impl Fn(i32) -> Request,
) -> Result<Outcome, Error> {
    loop {
        let why = match attempt(cluster, recipient, deadline, &request).await {
            Ok(outcome) => return Ok(outcome),
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::Unknown(why)) if repeat == Repeat::Never => {
                return Err(Error::OutcomeUnknown(why));
            }
            Err(Failed::NotMade(why) | Failed::Unknown(why)) => why,
        };
        if deadline.at < Instant::now() + RETRY_PAUSE {
            return Err(Error::Unavailable(why));
        }
        sleep(RETRY_PAUSE).await;
    }
}

async fn attempt(
    cluster: &Cluster,
    recipient: Recipient<'_>,
    deadline: Deadline,
    request: &impl Fn(i32) -> Request,
) -> Result<Outcome, Failed> {
    let route = cluster.route(recipient, deadline.at).await.map_err(Failed::ForGood)?;
    let began = Instant::now();
    let outcome = ask(&route, deadline, &request(route.partition)).await;
    if let Recipient::Leader = recipient {
        let is_done = matches!(outcome, Ok(Outcome::Done(_)));
        // Whoever refuses at once is not fast.
        route.connection.pace().note(if is_done { began.elapsed() } else { deadline.time_max });
    }
    outcome
}

async fn ask(route: &Route, deadline: Deadline, request: &Request) -> Result<Outcome, Failed> {
    let answered = timeout_at(deadline.at, route.connection.call(request)).await;
    let answer = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(Broken::Before(why))) => return Err(Failed::NotMade(why)),
        Ok(Err(Broken::Meanwhile(why))) => return Err(Failed::Unknown(why)),
        Err(_) => {
            let (member, waited) = (route.connection.address(), deadline.time_max.as_millis());
            return Err(Failed::Unknown(format!("{member} did not answer within {waited} ms")));
        }
    };
    match Failure::of(&answer) {
        Ok(None) => Ok(Outcome::Done(answer)),
        Ok(Some(failure)) => judge(failure),
        Err(malformed) => Err(Failed::Unknown(malformed.to_string())),
    }
}

fn judge(failure: Failure) -> Result<Outcome, Failed> {
    let meaning = failure.meaning();
    let why = failure.text;
    match meaning {
        Meaning::NotNow => Err(Failed::NotMade(why)),
        Meaning::Unknown => Err(Failed::Unknown(why)),
        Meaning::Unavailable => Err(Failed::ForGood(Error::Unavailable(why))),
        Meaning::Refused => Ok(Outcome::Refused(why)),
        Meaning::CpOff => Ok(Outcome::CpOff),
        Meaning::NotOwner => Ok(Outcome::NotOwner(why)),
        Meaning::GroupGone => Ok(Outcome::GroupGone(why)),
    }
}
