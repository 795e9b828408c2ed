//! What is counted and timed, for Prometheus and for the dashboard.

mod generations;

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram as Hdr;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::Registry,
};

use self::generations::Generations;
use crate::{
    capabilities::file_lock::times,
    plugin::call::{CallError, TrapReason},
    swap::status::Status,
};

/// Upper bounds of the buckets for the time of a call, in seconds: from a lock-free addition, some µs, to
/// the longest wait for a database.
const CALL_TIME_BUCKETS_S: [f64; 22] = [
    1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1,
    0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

fn time_histogram() -> Histogram {
    Histogram::new(CALL_TIME_BUCKETS_S)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    plugin: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TrapLabels {
    plugin: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PluginLabel {
    plugin: String,
}

/// All metrics of the process. Cloning it shares them.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    calls: Family<PluginLabel, Counter>,
    call_time: Family<CallLabels, Histogram, fn() -> Histogram>,
    traps: Family<TrapLabels, Counter>,
    traps_of: Family<PluginLabel, Counter>,
    /// What the workers have seen since the last look, each in one of its own.
    windows: Mutex<Vec<Arc<Mutex<Window>>>>,
}

/// Calls since the last look.
pub struct Window {
    /// Their times, in µs.
    pub times_us: Hdr<u64>,
    /// Those that did not succeed.
    pub errors: u64,
}

impl Window {
    /// Two digits are more than a chart shows.
    fn new() -> Self {
        Self { times_us: Hdr::new(2).expect("two digits are allowed"), errors: 0 }
    }
}

impl Metrics {
    /// Metrics at zero; the generations, where there are some, are looked up in `status`.
    pub fn new(status: Option<Arc<Status>>) -> Self {
        let mut registry = Registry::with_prefix("tally");
        let requests = Family::default();
        let call_time = Family::new_with_constructor(time_histogram as fn() -> Histogram);
        let traps = Family::default();
        registry.register("http_requests", "Requests of the main listener", requests.clone());
        registry.register(
            "plugin_call_seconds",
            "Time of a call as its caller sees it, waiting for an instance or a swap included",
            call_time.clone(),
        );
        registry.register("plugin_traps", "Calls in which the plugin broke off", traps.clone());
        registry.register(
            "lock_wait_seconds",
            "Time that a plugin waited in the host for a file lock that it then got",
            times::WAIT.clone(),
        );
        registry.register(
            "lock_hold_seconds",
            "Time for which a plugin held a file lock",
            times::HOLD.clone(),
        );
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "This program", Info::new(version));
        if let Some(status) = status {
            registry.register_collector(Box::new(Generations(status)));
        }
        Self(Arc::new(Families {
            registry,
            requests,
            calls: Family::default(),
            call_time,
            traps,
            traps_of: Family::default(),
            windows: Mutex::default(),
        }))
    }

    /// All of them, as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.0.registry).expect("writing to a string");
        encoded
    }

    /// What one worker records its calls and requests with.
    pub fn of_worker(&self) -> WorkerMetrics {
        let window = Arc::new(Mutex::new(Window::new()));
        lock(&self.0.windows).push(window.clone());
        WorkerMetrics {
            all: self.clone(),
            window,
            plugin: RefCell::default(),
            requests: RefCell::default(),
        }
    }

    /// The calls of all workers since this was asked last.
    pub fn take_window(&self) -> Window {
        let mut all = Window::new();
        for window in lock(&self.0.windows).iter() {
            let taken = std::mem::replace(&mut *lock(window), Window::new());
            all.times_us.add(&taken.times_us).expect("it grows as needed");
            all.errors += taken.errors;
        }
        all
    }

    /// Calls of `plugin`, and how many of them trapped.
    pub fn of_plugin(&self, plugin: &str) -> (u64, u64) {
        let label = PluginLabel { plugin: plugin.to_owned() };
        let count = |family: &Family<PluginLabel, Counter>| {
            family.get(&label).map_or(0, |counter| counter.get())
        };
        (count(&self.0.calls), count(&self.0.traps_of))
    }
}

/// Records what one worker does. It shares nothing with other workers but the counters themselves.
pub struct WorkerMetrics {
    all: Metrics,
    window: Arc<Mutex<Window>>,
    /// The counters of the plugin that was called last.
    plugin: RefCell<Option<PluginMetrics>>,
    requests: RefCell<Vec<(&'static str, u16, Counter)>>,
}

struct PluginMetrics {
    name: String,
    calls: Counter,
    ok: Histogram,
}

impl WorkerMetrics {
    /// Notes one request of the main listener.
    pub fn answered(&self, route: &'static str, status: u16) {
        let mut known = self.requests.borrow_mut();
        let found = known.iter().find(|(of, with, _)| (*of, *with) == (route, status));
        if let Some((_, _, counter)) = found {
            counter.inc();
            return;
        }
        let labels = RequestLabels { route, status };
        let counter = self.all.0.requests.get_or_create(&labels).clone();
        counter.inc();
        known.push((route, status, counter));
    }

    /// Notes one call of `plugin` that took `time`.
    pub fn called<T>(&self, plugin: &str, time: Duration, outcome: &Result<T, CallError>) {
        let mut cached = self.plugin.borrow_mut();
        let known = match &mut *cached {
            Some(known) if known.name == plugin => known,
            other => other.insert(self.all.metrics_of(plugin)),
        };
        known.calls.inc();
        match outcome {
            Ok(_) => known.ok.observe(time.as_secs_f64()),
            Err(error) => self.all.failed(plugin, time, error),
        }
        let mut window = lock(&self.window);
        window.times_us.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        window.errors += u64::from(outcome.is_err());
    }
}

impl Metrics {
    fn metrics_of(&self, plugin: &str) -> PluginMetrics {
        let name = plugin.to_owned();
        let labels = CallLabels { plugin: name.clone(), outcome: "ok" };
        PluginMetrics {
            calls: self.0.calls.get_or_create(&PluginLabel { plugin: name.clone() }).clone(),
            ok: self.0.call_time.get_or_create(&labels).clone(),
            name,
        }
    }

    fn failed(&self, plugin: &str, time: Duration, error: &CallError) {
        let name = plugin.to_owned();
        let labels = CallLabels { plugin: name.clone(), outcome: error.name() };
        self.0.call_time.get_or_create(&labels).observe(time.as_secs_f64());
        if let CallError::Trapped(reason) = error {
            let labels = TrapLabels { plugin: name.clone(), reason: reason.name() };
            self.0.traps.get_or_create(&labels).inc();
            self.0.traps_of.get_or_create(&PluginLabel { plugin: name }).inc();
        }
    }
}

impl CallError {
    /// Its name as an outcome, for metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Trapped(_) => "trapped",
            Self::TimedOut => "timed_out",
            _ => "not_begun",
        }
    }
}

impl TrapReason {
    /// Its name, for metrics.
    fn name(self) -> &'static str {
        match self {
            Self::CpuTime => "cpu_time",
            Self::StackOverflow => "stack_overflow",
            Self::HostCalls => "host_calls",
            Self::OpenTransaction => "open_transaction",
            Self::Other => "other",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
