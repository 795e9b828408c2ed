//! How long a lock lasts, and how long it is waited for.

use std::time::Duration;

use super::HazelcastSettings;

/// The bounds on locks.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    length: Duration,
    /// Within which a write is answered, or its outcome is unknown.
    invocation_time_max: Duration,
    lock_wait_max: Duration,
}

impl Lease {
    /// The bounds of `settings`, and the longest wait that is allowed anyway.
    pub fn new(settings: &HazelcastSettings, lock_wait_max: Duration) -> Self {
        Self {
            length: settings.lock_lease(),
            invocation_time_max: settings.invocation_time_max(),
            lock_wait_max,
        }
    }

    /// After which a lock ends by itself.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The longest wait for a lock. As a lease may have begun when the lock was asked for, a longer
    /// one could end with a lock under which nothing may be written any more.
    pub fn wait_max(&self) -> Duration {
        self.lock_wait_max.min(self.length.saturating_sub(self.invocation_time_max))
    }
}
