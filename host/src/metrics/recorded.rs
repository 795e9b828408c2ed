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
    registry::Unit,
};

use super::{lock, times::Times};
use crate::{
    capabilities::Unfinished,
    plugin::call::{CallError, TrapReason},
};

/// The longest time that the dashboard's percentiles tell apart from longer ones, in µs.
const WINDOW_TIME_US_MAX: u64 = 600_000_000;

/// Plugins whose calls are told apart; those of more are counted together, under the name of [`OTHERS`].
const PLUGINS_MAX: usize = 64;
const OTHERS: &str = "others";

/// What a call asks of the plugin, as far as it is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To add to a counter.
    Increment,
    /// Anything else.
    Other,
}

/// Requests and calls since the last look.
#[derive(Debug)]
pub struct Window {
    /// Times of the requests, in µs.
    pub requests_us: Hdr<u64>,
    /// Times of the plugin's calls, in µs.
    pub calls_us: Hdr<u64>,
    /// Calls that added to a counter.
    pub increments: u64,
    /// Calls that did not succeed.
    pub errors: u64,
}

impl Default for Window {
    fn default() -> Self {
        // Two digits are more than a chart shows.
        let times = || Hdr::new_with_max(WINDOW_TIME_US_MAX, 2).expect("two digits are allowed");
        Self { requests_us: times(), calls_us: times(), increments: 0, errors: 0 }
    }
}

impl Window {
    fn add(&mut self, other: &Self) {
        self.requests_us.add(&other.requests_us).expect("both have the same bounds");
        self.calls_us.add(&other.calls_us).expect("both have the same bounds");
        self.increments += other.increments;
        self.errors += other.errors;
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
    pub fn answered(&mut self, route: &'static str, status: u16, time: Duration) {
        *self.requests.entry((route, status)).or_default() += 1;
        self.window.requests_us.saturating_record(micros(time));
    }

    pub fn refused(&mut self, status: u16) {
        *self.requests.entry(("other", status)).or_default() += 1;
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

    pub fn called(
        &mut self,
        plugin: &str,
        asked: Asked,
        time: Duration,
        error: Option<&CallError>,
    ) {
        let calls = self.calls_of(plugin);
        calls.times.entry(error.map_or("ok", outcome)).or_default().observe(time);
        if let Some(CallError::Trapped(reason)) = error {
            *calls.traps.entry(trap(*reason)).or_default() += 1;
        }
        self.window.calls_us.saturating_record(micros(time));
        self.window.increments += u64::from(error.is_none() && asked == Asked::Increment);
        self.window.errors += u64::from(error.is_some());
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The name of a failed call's outcome.
fn outcome(error: &CallError) -> &'static str {
    match error {
        CallError::Refused(_) | CallError::InvalidCursor(_) => "refused",
        CallError::Trapped(_) => "trapped",
        CallError::TimedOut => "timed_out",
        CallError::BrokenOff => "broken_off",
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
        TrapReason::Contract => "contract",
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

    /// What happened since this was asked last.
    pub fn take_window(&self) -> Window {
        let mut all = Window::default();
        for worker in lock(&self.0).iter() {
            let taken = std::mem::take(&mut lock(worker).window);
            all.add(&taken);
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
        let help = "Requests of the main listener.";
        let mut family =
            encoder.encode_descriptor("http_requests", help, None, MetricType::Counter)?;
        for ((route, status), count) in requests {
            let labels = [("route", route.to_owned()), ("status", status.to_string())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let help =
            "Time of a call as its caller sees it, waiting for an instance or a swap included.";
        let unit = Some(&Unit::Seconds);
        let mut family =
            encoder.encode_descriptor("plugin_call", help, unit, MetricType::Histogram)?;
        for (plugin, calls) in &plugins {
            for (outcome, times) in &calls.times {
                let labels = [("plugin", plugin.as_str()), ("outcome", outcome)];
                times.encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Calls in which the plugin broke off.";
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
    fn the_window_has_what_all_workers_did_since_the_last_look() {
        let workers = Workers::default();
        let (one, other) = (workers.add(), workers.add());
        let ms = Duration::from_millis;
        lock(&one).called("a", Asked::Increment, ms(1), None);
        lock(&one).called("a", Asked::Other, ms(1), None);
        lock(&other).called("a", Asked::Increment, ms(3), Some(&CallError::TimedOut));
        lock(&other).answered("/inc", 504, ms(5));
        let window = workers.take_window();
        assert_eq!((window.calls_us.len(), window.increments, window.errors), (3, 1, 1));
        let longest = [&window.calls_us, &window.requests_us].map(|us| us.value_at_quantile(1.0));
        assert!((3_000..3_030).contains(&longest[0]), "{} µs", longest[0]);
        assert!((5_000..5_050).contains(&longest[1]), "{} µs", longest[1]);
        let window = workers.take_window();
        assert_eq!((window.calls_us.len(), window.requests_us.len(), window.increments), (0, 0, 0));
        assert_eq!(workers.of_plugin("a"), (3, 0));
    }

    #[test]
    fn calls_of_more_plugins_than_are_told_apart_are_counted_together() {
        let workers = Workers::default();
        let worker = workers.add();
        for number in 0..PLUGINS_MAX + 5 {
            lock(&worker).called(&number.to_string(), Asked::Increment, Duration::ZERO, None);
        }
        lock(&worker).called("0", Asked::Increment, Duration::ZERO, None);
        assert_eq!((workers.of_plugin("0"), workers.of_plugin(OTHERS)), ((2, 0), (5, 0)));
        assert_eq!(lock(&worker).plugins.len(), PLUGINS_MAX + 1);
    }
}
