//! The threads that hold the clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

use super::client::{ClientLog, make_calls};
use super::{Load, Stop, current_thread_runtime};
use crate::target::Target;

/// The threads of a run. Dropping it before [`Crew::release`] sends them home without a call made.
pub(super) struct Crew<'run, T> {
    target: &'run T,
    load: &'run Load,
    stop: Stop,
    counters: Arc<[PaddedCounter]>,
    /// Becomes the run's common origin of time when the clients may begin.
    gate: watch::Sender<Option<Instant>>,
    events: mpsc::UnboundedReceiver<Event>,
    /// Taken when the threads are spawned, so that the channel closes when the last thread ends.
    report_to: Option<mpsc::UnboundedSender<Event>>,
    n_threads: usize,
}

enum Event {
    /// All clients of one thread are connected, or one could not be.
    Connected(anyhow::Result<()>),
    /// All clients of one thread have ended.
    Finished(Vec<ClientLog>),
}

/// Calls made by one client, alone on its cache line: written by the client at each call, read by the progress display.
#[derive(Default)]
#[repr(align(64))]
struct PaddedCounter(AtomicU64);

/// A client's hold on its counter.
pub(super) struct CallCounter {
    counters: Arc<[PaddedCounter]>,
    idx: usize,
}

impl CallCounter {
    pub(super) fn set(&self, made: u64) {
        // One writer and a reader that only displays: a plain store, with no order to keep.
        self.counters[self.idx].0.store(made, Ordering::Relaxed);
    }
}

impl<'run, T: Target> Crew<'run, T> {
    pub(super) fn new(target: &'run T, load: &'run Load, stop: &Stop) -> Crew<'run, T> {
        let (report_to, events) = mpsc::unbounded_channel();
        let (gate, _) = watch::channel(None);
        let n_threads = target.threads(load.clients).clamp(1, load.clients.max(1));
        let counters = (0..load.clients).map(|_| PaddedCounter::default()).collect();
        Crew {
            target,
            load,
            stop: stop.clone(),
            counters,
            gate,
            events,
            report_to: Some(report_to),
            n_threads,
        }
    }

    /// Starts the threads, which connect their clients and then wait.
    pub(super) fn spawn<'scope>(&mut self, scope: &'scope Scope<'scope, 'run>) -> anyhow::Result<()>
    where
        'run: 'scope,
    {
        let Some(report_to) = self.report_to.take() else {
            return Ok(());
        };
        for thread_idx in 0..self.n_threads {
            let share = Share {
                target: self.target,
                calls: self.load.calls_per_client,
                stop: self.stop.clone(),
                counters: Arc::clone(&self.counters),
                gate: self.gate.subscribe(),
                report_to: report_to.clone(),
                // Every n-th client, so that shares differ by one at most.
                clients: (thread_idx..self.load.clients).step_by(self.n_threads).collect(),
            };
            thread::Builder::new()
                .name(format!("load-{thread_idx}"))
                .spawn_scoped(scope, move || share.work())
                .with_context(|| {
                    format!("cannot start thread {} of {}", thread_idx + 1, self.n_threads)
                })?;
        }
        Ok(())
    }

    /// Waits until all clients are connected.
    pub(super) async fn connected(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.n_threads {
            match self.events.recv().await {
                Some(Event::Connected(connected)) => connected?,
                Some(Event::Finished(_)) | None => break,
            }
        }
        Ok(())
    }

    /// Lets all clients begin.
    pub(super) fn release(&self, origin: Instant) {
        self.gate.send_replace(Some(origin));
    }

    /// What the clients of the next thread to end recorded; `None` after the last one.
    pub(super) async fn finished(&mut self) -> Option<Vec<ClientLog>> {
        match self.events.recv().await? {
            Event::Finished(logs) => Some(logs),
            Event::Connected(_) => Some(Vec::new()),
        }
    }

    /// Calls made so far by all clients.
    pub(super) fn calls_made(&self) -> u64 {
        self.counters.iter().map(|it| it.0.load(Ordering::Relaxed)).sum()
    }
}

/// What one thread does.
struct Share<'run, T> {
    target: &'run T,
    calls: u64,
    stop: Stop,
    counters: Arc<[PaddedCounter]>,
    gate: watch::Receiver<Option<Instant>>,
    report_to: mpsc::UnboundedSender<Event>,
    clients: Vec<usize>,
}

impl<T: Target> Share<'_, T> {
    fn work(mut self) {
        match current_thread_runtime() {
            Ok(runtime) => LocalSet::new().block_on(&runtime, self.work_in_runtime()),
            Err(err) => self.tell(Event::Connected(Err(err))),
        }
    }

    async fn work_in_runtime(&mut self) {
        let mut connected = Vec::with_capacity(self.clients.len());
        for &idx in &self.clients {
            match self.target.connect(idx).await {
                Ok(client) => {
                    let number = u32::try_from(idx).unwrap_or(u32::MAX - 1);
                    connected.push((idx, client, ClientLog::new(number, self.calls)));
                }
                Err(err) => return self.tell(Event::Connected(Err(err))),
            }
        }
        self.tell(Event::Connected(Ok(())));
        // An error means that the run was given up.
        let Ok(Some(origin)) = self.gate.wait_for(Option::is_some).await.map(|it| *it) else {
            return;
        };

        let mut tasks = Vec::with_capacity(connected.len());
        for (idx, client, log) in connected {
            let counter = CallCounter { counters: Arc::clone(&self.counters), idx };
            tasks.push(spawn_local(make_calls(
                client,
                log,
                self.calls,
                origin,
                counter,
                self.stop.clone(),
            )));
        }
        let mut logs = Vec::with_capacity(tasks.len());
        for task in tasks {
            match task.await {
                Ok(log) => logs.push(log),
                // A panic in a client is a bug here or in the target; the run must not end as if all were well.
                Err(err) => std::panic::resume_unwind(err.into_panic()),
            }
        }
        self.tell(Event::Finished(logs));
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more when the run was given up.
        let _ = self.report_to.send(event);
    }
}
