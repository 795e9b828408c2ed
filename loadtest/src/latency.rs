//! How long acknowledged increments took.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::history::Operation;

/// Longest latency that is told apart, in nanoseconds; anything longer counts as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Significant digits of a percentile.
const DIGITS: u8 = 3;

/// Percentiles of the latency of acknowledged increments, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencyUs {
    /// Half of the increments were at least this fast.
    pub p50: f64,
    /// 90 of 100 were at least this fast.
    pub p90: f64,
    /// 99 of 100 were at least this fast.
    pub p99: f64,
    /// 999 of 1,000 were at least this fast.
    pub p99_9: f64,
    /// The slowest one.
    pub max: f64,
}

impl LatencyUs {
    /// Summarises the acknowledged increments in `operations`; `None` when there is none.
    ///
    /// This runs after the load, over the kept histories, so that measuring costs the clients nothing.
    pub fn of<'a>(operations: impl Iterator<Item = &'a Operation>) -> Option<LatencyUs> {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).ok()?;
        let mut max_ns = 0;
        for operation in operations.filter(|it| it.acknowledged()) {
            histogram.saturating_record(operation.latency_ns());
            max_ns = max_ns.max(operation.latency_ns());
        }
        if histogram.is_empty() {
            return None;
        }
        // A bucket's upper end can lie above every recorded value, and a percentile above the maximum looks absurd.
        let at = |quantile| microseconds(histogram.value_at_quantile(quantile).min(max_ns));
        Some(LatencyUs {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: microseconds(max_ns),
        })
    }
}

fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;

    fn took(us: u64, kind: Kind) -> Operation {
        Operation { invoked_ns: 5_000, returned_ns: 5_000 + us * 1_000, value: 0, client: 0, kind }
    }

    #[test]
    fn percentiles_are_within_three_digits_and_ignore_what_was_not_acknowledged() {
        let mut operations: Vec<_> = (1..=10_000).map(|us| took(us, Kind::Increment)).collect();
        operations.extend((0..10_000).map(|_| took(1_000_000, Kind::IncrementUnknown)));
        let latency = LatencyUs::of(operations.iter()).expect("increments were acknowledged");
        let cases = [
            (latency.p50, 5_000.0),
            (latency.p90, 9_000.0),
            (latency.p99, 9_900.0),
            (latency.p99_9, 9_990.0),
        ];
        for (got, want) in cases {
            assert!((got - want).abs() <= want / 1_000.0, "{got} is not {want}");
        }
        assert_eq!(latency.max, 10_000.0);
    }

    #[test]
    fn nothing_acknowledged_has_no_latency() {
        assert_eq!(LatencyUs::of([took(3, Kind::IncrementFailed)].iter()), None);
    }
}
