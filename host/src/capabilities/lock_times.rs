//! How long plugins wait for locks and hold them.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
};

/// Upper bounds of the buckets, in seconds: from a lock that is free to the longest wait.
const BUCKETS_S: [f64; 15] =
    [1e-6, 5e-6, 2e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.5, 1.0, 5.0];

/// Whose lock it is.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Holder {
    plugin: String,
}

type Times = LazyLock<Family<Holder, Histogram, fn() -> Histogram>>;

fn histogram() -> Histogram {
    Histogram::new(BUCKETS_S)
}

/// Waits, of all plugins.
pub static WAIT: Times = LazyLock::new(|| Family::new_with_constructor(histogram));
/// Times for which locks were held, of all plugins.
pub static HOLD: Times = LazyLock::new(|| Family::new_with_constructor(histogram));

/// The times of one plugin.
#[derive(Clone)]
pub struct LockTimes {
    wait: Histogram,
    hold: Histogram,
}

impl LockTimes {
    /// Those of the holder called `plugin`.
    pub fn of(plugin: &str) -> Self {
        let holder = Holder { plugin: plugin.to_owned() };
        Self {
            wait: WAIT.get_or_create(&holder).clone(),
            hold: HOLD.get_or_create(&holder).clone(),
        }
    }

    /// Notes a wait that began at `since` and ended with the lock.
    pub fn waited(&self, since: Instant) {
        observe(&self.wait, since.elapsed());
    }

    /// Notes that a lock was held since `since`.
    pub fn held(&self, since: Instant) {
        observe(&self.hold, since.elapsed());
    }
}

fn observe(times: &Histogram, time: Duration) {
    times.observe(time.as_secs_f64());
}
