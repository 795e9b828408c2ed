//! A histogram that belongs to one writer.

use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Upper bounds of the buckets for the time of a call, in µs: from a lock-free addition to the longest wait for
/// a database. One more bucket has what is beyond.
const BOUNDS_US: [u64; 22] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
    200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// How many calls took how long.
#[derive(Clone, Debug, Default)]
pub struct Times {
    counts: [u64; BOUNDS_US.len() + 1],
    sum: Duration,
}

impl Times {
    /// Notes one.
    pub fn observe(&mut self, time: Duration) {
        let us = time.as_nanos().div_ceil(1_000);
        let bucket = BOUNDS_US.partition_point(|bound| u128::from(*bound) < us);
        self.counts[bucket] += 1;
        self.sum += time;
    }

    /// Adds those of `other`.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Writes them as a histogram in seconds.
    pub fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts).collect();
        encoder.encode_histogram::<NoLabelSet>(self.sum.as_secs_f64(), self.count(), &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_first_bucket_that_holds_it() {
        for (ns, bucket) in [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (2_000, 1),
            (9_999, 3),
            (10_000, 3),
            (10_001, 4),
            (10_000_000_000, 21),
            (10_000_000_001, 22),
            (u64::MAX, 22),
        ] {
            let mut times = Times::default();
            times.observe(Duration::from_nanos(ns));
            assert_eq!(times.counts.iter().position(|count| *count == 1), Some(bucket), "{ns} ns");
        }
    }
}
