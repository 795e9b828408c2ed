//! One run: connect, reset, release all clients together, read back.

mod client;
mod crew;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub(crate) use self::client::ClientLog;
use self::crew::Crew;
use crate::history::{Kind, Operation, RUN_ITSELF};
use crate::progress::Progress;
use crate::report::{self, Report};
use crate::swaps::Swaps;
use crate::target::{Client, Target};

/// How often the final read is tried. Reading twice does no harm, and a server that was killed during the run gets the
/// time to come back.
const FINAL_READ_ATTEMPTS_MAX: u32 = 10;

/// Wait between two tries of the final read, in milliseconds.
const FINAL_READ_WAIT_MS: u64 = 200;

/// What load to put on a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Clients that run at once, each making one call after the other. At least 1.
    pub clients: usize,
    /// Increments per client.
    pub calls_per_client: u64,
    /// What becomes of the count that is there before.
    pub start: Start,
    /// Whether nobody else increments (or resets) the counter during the run.
    ///
    /// Where others do, their increments are part of the final count and of the values answered here. Then only what
    /// holds whatever the others do is judged: lost updates as the number by which the count grew less than was
    /// acknowledged here (others can hide a loss, never cause one), distinct values, and their order in time.
    /// Doubled updates are not judged, and neither are missing values. Two runs that load one counter together are
    /// judged best by their sum: the last of the two final counts minus the first start must be the sum of acknowledged.
    pub sole_writer: bool,
}

/// What becomes of the count that is there before a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Reset it, and check that it then is 0.
    Reset,
    /// Keep it; the run is judged by how much the count grew.
    Keep,
}

/// A request to stop issuing calls, shared by cloning. Calls under way are still waited for.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks all clients to stop after the call they are at.
    pub fn request(&self) {
        // It only stops a loop; nothing is published through it.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why there is no report at all.
#[derive(Debug)]
pub enum RunError {
    /// The target could not be connected to, reset or read before the load; no increment was made.
    Unreachable(anyhow::Error),
    /// This process could not run the load, for want of threads for example.
    Internal(anyhow::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (RunError::Unreachable(err) | RunError::Internal(err)) = self;
        write!(f, "{err:#}")
    }
}

impl std::error::Error for RunError {}

/// Puts `load` on `target` and judges the outcome.
///
/// It blocks until the run ends, and makes its own threads and runtimes: from async code, call it in `spawn_blocking`.
///
/// # Errors
///
/// When no load could be put on the target. A load that failed in part, or a wrong count, is a [`Report`].
pub fn run<T: Target>(
    target: &T,
    load: &Load,
    progress: &Progress,
    stop: &Stop,
) -> Result<Report, RunError> {
    drive(target, load, None, progress, stop)
}

/// Puts `load` on `target` as [`run()`] does, makes `swaps` meanwhile, and judges both.
///
/// # Errors
///
/// As [`run()`], and as unreachable when the admin listener does not answer before the load. Swaps that failed, or that
/// missed the traffic, are in the [`Report`].
pub fn run_with_swaps<T: Target>(
    target: &T,
    load: &Load,
    swaps: &Swaps,
    progress: &Progress,
    stop: &Stop,
) -> Result<Report, RunError> {
    drive(target, load, Some(swaps), progress, stop)
}

fn drive<T: Target>(
    target: &T,
    load: &Load,
    swaps: Option<&Swaps>,
    progress: &Progress,
    stop: &Stop,
) -> Result<Report, RunError> {
    let runtime = current_thread_runtime().map_err(RunError::Internal)?;
    let local = LocalSet::new();
    let mut crew = Crew::new(target, load, stop);
    thread::scope(|scope| {
        // Before a thread is started, one connection shows whether anything answers at all.
        let mut control = local
            .block_on(&runtime, target.connect(load.clients))
            .map_err(RunError::Unreachable)?;
        if let Some(swaps) = swaps {
            local.block_on(&runtime, swaps.check()).map_err(RunError::Unreachable)?;
        }
        crew.spawn(scope).map_err(RunError::Internal)?;
        local.block_on(&runtime, conduct(target, load, swaps, crew, &mut control, progress, stop))
    })
}

/// The run as seen by the calling thread, while the crew's threads make the calls.
async fn conduct<T: Target>(
    target: &T,
    load: &Load,
    swaps: Option<&Swaps>,
    mut crew: Crew<'_, T>,
    control: &mut T::Client,
    progress: &Progress,
    stop: &Stop,
) -> Result<Report, RunError> {
    crew.connected().await.map_err(RunError::Unreachable)?;
    if load.start == Start::Reset {
        control.reset().await.map_err(RunError::Unreachable)?;
    }
    let start = control.read().await.map_err(RunError::Unreachable)?;
    let before = control.plugin().await;

    let origin = Instant::now();
    crew.release(origin);
    let (end, ended) = oneshot::channel();
    let loading = async {
        let logs = watch(&mut crew, load, progress, origin).await;
        // Nobody listens where no swaps are made.
        let _ = end.send(());
        logs
    };
    let swapping = async {
        match swaps {
            Some(swaps) => Some(swaps.make(origin, ended).await),
            None => None,
        }
    };
    let (mut logs, swaps) = tokio::join!(loading, swapping);

    let (final_read, final_read_error) = match read_back(target, load, origin).await {
        Ok(operation) => (Some(operation), None),
        Err(err) => (None, Some(format!("{err:#}"))),
    };
    let plugin = match swaps {
        Some(_) => Err("it was swapped during the run".to_owned()),
        None => still_counts(target, load, before).await,
    };
    logs.sort_unstable_by_key(|it| it.client);
    Ok(report::summarise(report::Evidence {
        target: target.name(),
        plugin,
        load: *load,
        start,
        logs,
        swaps,
        final_read,
        final_read_error,
        interrupted: stop.requested(),
    }))
}

/// Shows the progress until every client has ended, and returns what they recorded.
async fn watch<T: Target>(
    crew: &mut Crew<'_, T>,
    load: &Load,
    progress: &Progress,
    origin: Instant,
) -> Vec<ClientLog> {
    let mut meter = progress.begin(load.clients as u64 * load.calls_per_client);
    let mut ticks = interval(meter.period());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut logs = Vec::with_capacity(load.clients);
    loop {
        tokio::select! {
            finished = crew.finished() => match finished {
                Some(finished) => logs.extend(finished),
                None => break,
            },
            _ = ticks.tick() => meter.show(crew.calls_made(), origin.elapsed()),
        }
    }
    meter.end();
    logs
}

/// The count after the load, over a new connection: the first one was idle for as long as the load took, and the server
/// was free to close it.
async fn read_back<T: Target>(
    target: &T,
    load: &Load,
    origin: Instant,
) -> anyhow::Result<Operation> {
    let mut attempt = 1;
    loop {
        let invoked_ns = nanoseconds(origin.elapsed());
        let count = async { target.connect(load.clients).await?.read().await }.await;
        match count {
            Ok(value) => {
                let returned_ns = nanoseconds(origin.elapsed());
                return Ok(Operation {
                    invoked_ns,
                    returned_ns,
                    value,
                    client: RUN_ITSELF,
                    kind: Kind::Read,
                });
            }
            Err(err) if FINAL_READ_ATTEMPTS_MAX <= attempt => return Err(err),
            Err(_) => sleep(Duration::from_millis(FINAL_READ_WAIT_MS)).await,
        }
        attempt += 1;
    }
}

/// The plugin that counted before the load, if it still does after it.
async fn still_counts<T: Target>(
    target: &T,
    load: &Load,
    before: Result<String, String>,
) -> Result<String, String> {
    let before = before?;
    let mut client = target.connect(load.clients).await.map_err(|err| format!("{err:#}"))?;
    let after = client.plugin().await?;
    if before != after {
        return Err(format!("it was {before} before the load and {after} after it"));
    }
    Ok(after)
}

fn current_thread_runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start an event loop")
}

/// Nanoseconds in 64 bits, which last for 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
