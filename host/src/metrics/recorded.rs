//! What the workers recorded, each for itself, and how it is added up.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use hdrhistogram::Histogram as Hdr;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use super::{lock, times::Times};
use crate::{
    capabilities::Unfinished,
    plugin::call::{CallError, TrapReason},
};

/// The longest call that the dashboard's percentiles tell apart from longer ones, in µs.
const WINDOW_TIME_US_MAX: u64 = 600_000_000;

/// Plugins whose calls are told apart; those of more are counted together, under the name of [`OTHERS`].
const PLUGINS_MAX: usize = 64;
const OTHERS: &str = "others";

/// Calls since the last look.
#[derive(Debug)]
pub struct Window {
    /// Their times, in µs.
    pub times_us: Hdr<u64>,
    /// Those that did not succeed.
    pub errors: u64,
}

impl Default for Window {
    fn default() -> Self {
        // Two digits are more than a chart shows.
        let times_us = Hdr::new_with_max(WINDOW_TIME_US_MAX, 2).expect("two digits are allowed");
        Self { times_us, errors: 0 }
    }
}

/// Requests by route and status.
type Requests = BTreeMap<(&'static str, u16), u64>;

/// What one worker recorded.
#[derive(Debug, Default)]
pub struct Recorded {
    requests: Requests,
    /// Few, and the one that serves is called again and again, so looking through them is quick.
    plugins: Vec<(String, Calls)>,
    window: Window,
}

/// The calls of one plugin.
#[derive(Clone, Debug, Default)]
struct Calls {
    times: BTreeMap<&'static str, Times>,
    traps: BTreeMap<&'static str, u64>,
}

impl Recorded {
    pub fn answered(&mut self, route: &'static str, status: u16) {
        *self.requests.entry((route, status)).or_default() += 1;
    }

    fn calls_of(&mut self, plugin: &str) -> &mut Calls {
        let known = self
            .idx_of(plugin)
            .or_else(|| (PLUGINS_MAX <= self.plugins.len()).then(|| self.idx_of(OTHERS)).flatten());
        let idx = known.unwrap_or_else(|| {
            let name = if self.plugins.len() < PLUGINS_MAX { plugin } else { OTHERS };
            self.plugins.push((name.to_owned(), Calls::default()));
            self.plugins.len() - 1
        });
        &mut self.plugins[idx].1
    }

    fn idx_of(&self, plugin: &str) -> Option<usize> {
        self.plugins.iter().position(|(name, _)| name == plugin)
    }

    pub fn called(&mut self, plugin: &str, time: Duration, error: Option<&CallError>) {
        let calls = self.calls_of(plugin);
        calls.times.entry(error.map_or("ok", outcome)).or_default().observe(time);
        if let Some(CallError::Trapped(reason)) = error {
            *calls.traps.entry(trap(*reason)).or_default() += 1;
        }
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.window.times_us.saturating_record(us);
        self.window.errors += u64::from(error.is_some());
    }
}

/// The name of a failed call's outcome.
fn outcome(error: &CallError) -> &'static str {
    match error {
        CallError::Refused(_) | CallError::InvalidCursor(_) => "refused",
        CallError::Trapped(_) => "trapped",
        CallError::TimedOut => "timed_out",
        _ => "not_begun",
    }
}

fn trap(reason: TrapReason) -> &'static str {
    match reason {
        TrapReason::CpuTime => "cpu_time",
        TrapReason::StackOverflow => "stack_overflow",
        TrapReason::HostCalls => "host_calls",
        TrapReason::Memory { .. } => "memory",
        TrapReason::Panic => "panic",
        TrapReason::Unfinished(Unfinished::Transaction) => "open_transaction",
        TrapReason::Unfinished(Unfinished::Lock) => "held_lock",
        TrapReason::Other => "other",
    }
}

/// What all workers recorded. Cloning it shares it.
#[derive(Clone, Debug, Default)]
pub struct Workers(Arc<Mutex<Vec<Arc<Mutex<Recorded>>>>>);

impl Workers {
    /// One more worker.
    pub fn add(&self) -> Arc<Mutex<Recorded>> {
        let recorded = Arc::default();
        lock(&self.0).push(Arc::clone(&recorded));
        recorded
    }

    /// The calls since this was asked last.
    pub fn take_window(&self) -> Window {
        let mut all = Window::default();
        for worker in lock(&self.0).iter() {
            let taken = std::mem::take(&mut lock(worker).window);
            all.times_us.add(&taken.times_us).expect("both have the same bounds");
            all.errors += taken.errors;
        }
        all
    }

    /// Calls of `plugin`, and how many of them trapped.
    pub fn of_plugin(&self, plugin: &str) -> (u64, u64) {
        let mut sum = (0, 0);
        for worker in lock(&self.0).iter() {
            let recorded = lock(worker);
            if let Some(idx) = recorded.idx_of(plugin) {
                let calls = &recorded.plugins[idx].1;
                sum.0 += calls.times.values().map(Times::count).sum::<u64>();
                sum.1 += calls.traps.values().sum::<u64>();
            }
        }
        sum
    }

    fn sums(&self) -> (Requests, BTreeMap<String, Calls>) {
        let mut requests = Requests::new();
        let mut plugins: BTreeMap<String, Calls> = BTreeMap::new();
        for worker in lock(&self.0).iter() {
            let recorded = lock(worker);
            for (key, count) in &recorded.requests {
                *requests.entry(*key).or_default() += count;
            }
            for (plugin, calls) in &recorded.plugins {
                let sum = plugins.entry(plugin.clone()).or_default();
                for (outcome, times) in &calls.times {
                    sum.times.entry(outcome).or_default().add(times);
                }
                for (reason, count) in &calls.traps {
                    *sum.traps.entry(reason).or_default() += count;
                }
            }
        }
        (requests, plugins)
    }
}

impl Collector for Workers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (requests, plugins) = self.sums();
        let help = "Requests of the main listener";
        let mut family =
            encoder.encode_descriptor("http_requests", help, None, MetricType::Counter)?;
        for ((route, status), count) in requests {
            let labels = [("route", route.to_owned()), ("status", status.to_string())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let help =
            "Time of a call as its caller sees it, waiting for an instance or a swap included";
        let mut family =
            encoder.encode_descriptor("plugin_call_seconds", help, None, MetricType::Histogram)?;
        for (plugin, calls) in &plugins {
            for (outcome, times) in &calls.times {
                let labels = [("plugin", plugin.as_str()), ("outcome", outcome)];
                times.encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Calls in which the plugin broke off";
        let mut family =
            encoder.encode_descriptor("plugin_traps", help, None, MetricType::Counter)?;
        for (plugin, calls) in &plugins {
            for (reason, count) in &calls.traps {
                let labels = [("plugin", plugin.as_str()), ("reason", reason)];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_has_the_calls_of_all_workers_since_the_last_look() {
        let workers = Workers::default();
        let (one, other) = (workers.add(), workers.add());
        lock(&one).called("a", Duration::from_micros(100), None);
        lock(&other).called("a", Duration::from_millis(3), Some(&CallError::TimedOut));
        let window = workers.take_window();
        assert_eq!((window.times_us.len(), window.errors), (2, 1));
        let longest = window.times_us.value_at_quantile(1.0);
        assert!((3_000..3_030).contains(&longest), "{longest} µs");
        assert_eq!(workers.take_window().times_us.len(), 0);
        assert_eq!(workers.of_plugin("a"), (2, 0));
    }

    #[test]
    fn calls_of_more_plugins_than_are_told_apart_are_counted_together() {
        let workers = Workers::default();
        let worker = workers.add();
        for number in 0..PLUGINS_MAX + 5 {
            lock(&worker).called(&number.to_string(), Duration::ZERO, None);
        }
        lock(&worker).called("0", Duration::ZERO, None);
        assert_eq!((workers.of_plugin("0"), workers.of_plugin(OTHERS)), ((2, 0), (5, 0)));
        assert_eq!(lock(&worker).plugins.len(), PLUGINS_MAX + 1);
    }
}
