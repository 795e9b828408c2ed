//! The loop of one client.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::crew::CallCounter;
use super::{Stop, nanoseconds};
use crate::history::{Kind, Operation};
use crate::reasons::Reasons;
use crate::target::{Client, Outcome};

/// Failed connections in a row after which a client stops. With the waits below that takes about two seconds, in which
/// a server that was killed can have been started again.
const CONNECT_FAILURES_MAX: u32 = 10;

/// Wait after the first failed connection, in milliseconds; it doubles with each further one.
const CONNECT_WAIT_MS_MIN: u64 = 10;

/// Longest wait between two failed connections, in milliseconds.
const CONNECT_WAIT_MS_MAX: u64 = 500;

/// Operations for which memory is reserved before the load; a longer history grows during it.
const RESERVED_OPERATIONS_MAX: u64 = 1 << 20;

/// Everything one client recorded.
pub(crate) struct ClientLog {
    /// The client's index.
    pub(crate) client: u32,
    /// Its operations, in the order in which they were made.
    pub(crate) operations: Vec<Operation>,
    /// Why increments failed that surely were not applied.
    pub(crate) failed: Reasons,
    /// Why the outcome of increments is unknown.
    pub(crate) unknown: Reasons,
    /// Why it stopped before all its calls were made, other than by request.
    pub(crate) stopped: Option<String>,
}

impl ClientLog {
    pub(crate) fn new(client: u32, calls: u64) -> ClientLog {
        let reserved = calls.min(RESERVED_OPERATIONS_MAX) as usize;
        ClientLog {
            client,
            operations: Vec::with_capacity(reserved),
            failed: Reasons::default(),
            unknown: Reasons::default(),
            stopped: None,
        }
    }
}

/// Makes `calls` increments one after the other and records each.
pub(super) async fn make_calls<C: Client>(
    mut client: C,
    mut log: ClientLog,
    calls: u64,
    origin: Instant,
    counter: CallCounter,
    stop: Stop,
) -> ClientLog {
    let mut connect_failures = 0;
    for made in 1..=calls {
        if stop.requested() {
            break;
        }
        let invoked_ns = nanoseconds(origin.elapsed());
        let outcome = client.increment().await;
        let returned_ns = nanoseconds(origin.elapsed());

        let disconnected = matches!(outcome, Outcome::Disconnected { .. });
        let (kind, value) = log.classify(outcome);
        log.operations.push(Operation { invoked_ns, returned_ns, value, client: log.client, kind });
        counter.set(made);

        if !disconnected {
            connect_failures = 0;
            continue;
        }
        connect_failures += 1;
        if CONNECT_FAILURES_MAX <= connect_failures {
            log.stopped =
                Some(format!("stopped after {CONNECT_FAILURES_MAX} failed connections in a row"));
            break;
        }
        sleep(connect_wait(connect_failures)).await;
    }
    log
}

impl ClientLog {
    /// What kind of operation the outcome makes, and its value; counts the reason of a failure.
    fn classify(&mut self, outcome: Outcome) -> (Kind, i64) {
        match outcome {
            Outcome::Acknowledged { value: Some(value) } => (Kind::Increment, value),
            Outcome::Acknowledged { value: None } => (Kind::IncrementUnseen, 0),
            Outcome::Failed { reason } | Outcome::Disconnected { reason } => {
                self.failed.add(&reason);
                (Kind::IncrementFailed, 0)
            }
            Outcome::Unknown { reason } => {
                self.unknown.add(&reason);
                (Kind::IncrementUnknown, 0)
            }
        }
    }
}

fn connect_wait(failures: u32) -> Duration {
    let doubled = CONNECT_WAIT_MS_MIN.saturating_mul(1 << (failures - 1).min(16));
    Duration::from_millis(doubled.min(CONNECT_WAIT_MS_MAX))
}
