//! What is counted and timed, for Prometheus and for the dashboard.
//!
//! Each worker records for itself, under a lock that nobody else takes but when the metrics are asked for;
//! what the workers recorded is added up then.

mod classic;
mod generations;
mod recorded;
mod times;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::{
    encoding::text,
    metrics::info::Info,
    registry::{Registry, Unit},
};

use self::{
    generations::Generations,
    recorded::{Recorded, Workers},
};
use crate::{capabilities::lock_times, plugin::call::CallError, swap::status::Status};

pub use recorded::{Asked, Window};

/// The forms in which metrics are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which everything reads.
    Classic,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// All metrics of the process. Cloning it shares them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    workers: Workers,
}

impl Metrics {
    /// Metrics at zero; the generations, where there are some, are looked up in `status`.
    pub fn new(status: Option<Arc<Status>>) -> Self {
        let workers = Workers::default();
        let mut registry = Registry::with_prefix("tally");
        registry.register_collector(Box::new(workers.clone()));
        registry.register_with_unit(
            "lock_wait",
            "Time that a plugin waited in the host for a lock that it then got",
            Unit::Seconds,
            lock_times::WAIT.clone(),
        );
        registry.register_with_unit(
            "lock_hold",
            "Time for which a plugin held a lock",
            Unit::Seconds,
            lock_times::HOLD.clone(),
        );
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "This program", Info::new(version));
        if let Some(status) = status {
            registry.register_collector(Box::new(Generations(status)));
        }
        Self { registry: Arc::new(registry), workers }
    }

    /// All of them, as text.
    pub fn encode(&self, format: Format) -> String {
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry).expect("writing to a string");
        match format {
            Format::OpenMetrics => encoded,
            Format::Classic => classic::from_open_metrics(&encoded),
        }
    }

    /// What one worker records its calls and requests with.
    pub fn of_worker(&self) -> WorkerMetrics {
        WorkerMetrics(self.workers.add())
    }

    /// The calls of all workers since this was asked last.
    pub fn take_window(&self) -> Window {
        self.workers.take_window()
    }

    /// Calls of `plugin`, and how many of them trapped.
    pub fn of_plugin(&self, plugin: &str) -> (u64, u64) {
        self.workers.of_plugin(plugin)
    }
}

/// Records what one worker does.
pub struct WorkerMetrics(Arc<Mutex<Recorded>>);

impl WorkerMetrics {
    /// Notes one request of the main listener that took `time`.
    pub fn answered(&self, route: &'static str, status: u16, time: Duration) {
        lock(&self.0).answered(route, status, time);
    }

    /// Notes one request of the main listener that was refused for its head, before it had a route.
    pub fn refused(&self, status: u16) {
        lock(&self.0).refused(status);
    }

    /// Notes one call of `plugin` that took `time`.
    pub fn called<T>(
        &self,
        plugin: &str,
        asked: Asked,
        time: Duration,
        outcome: &Result<T, CallError>,
    ) {
        lock(&self.0).called(plugin, asked, time, outcome.as_ref().err());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
