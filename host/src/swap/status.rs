//! What the swaps have come to so far, for those who watch.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::broadcast;

use super::{error::SwapError, request::Swapped};
use crate::plugin::generation::{Generation, Trigger};

/// Attempts that are remembered.
pub const ATTEMPTS_MAX: usize = 50;

/// Attempts that one watcher may be behind.
const UNREAD_MAX: usize = 256;

/// An attempt to swap.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it ended.
    pub at: SystemTime,
    /// What asked for it.
    pub trigger: Trigger,
    /// The plugin that served before.
    pub from: String,
    /// The plugin that was asked for.
    pub plugin: String,
    /// How it went.
    pub outcome: Result<Swapped, SwapError>,
}

/// The generations, and the last attempts to swap.
pub struct Status {
    inner: Mutex<Inner>,
    attempts: broadcast::Sender<Arc<Attempt>>,
}

struct Inner {
    active: Arc<Generation>,
    previous: Option<Arc<Generation>>,
    swaps: u64,
    /// Swaps to each plugin.
    swaps_to: BTreeMap<String, u64>,
    failures: u64,
    attempts: VecDeque<Arc<Attempt>>,
}

impl Status {
    /// The host begins with `first`.
    pub fn new(first: Arc<Generation>) -> Self {
        let inner = Inner {
            active: first,
            previous: None,
            swaps: 0,
            swaps_to: BTreeMap::new(),
            failures: 0,
            attempts: VecDeque::new(),
        };
        Self { inner: Mutex::new(inner), attempts: broadcast::Sender::new(UNREAD_MAX) }
    }

    /// The generation that serves.
    pub fn active(&self) -> Arc<Generation> {
        self.lock().active.clone()
    }

    /// The generation to go back to.
    pub fn previous(&self) -> Option<Arc<Generation>> {
        self.lock().previous.clone()
    }

    /// How many swaps were made, and how many attempts failed.
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.swaps, inner.failures)
    }

    /// How many swaps were made to `plugin`.
    pub fn swaps_to(&self, plugin: &str) -> u64 {
        self.lock().swaps_to.get(plugin).copied().unwrap_or_default()
    }

    /// The last attempts, and a receiver of those that follow, with none between them and none twice.
    pub fn watch(&self) -> (Vec<Arc<Attempt>>, broadcast::Receiver<Arc<Attempt>>) {
        let inner = self.lock();
        (inner.attempts.iter().cloned().collect(), self.attempts.subscribe())
    }

    /// The last [`ATTEMPTS_MAX`] attempts, the oldest first.
    pub fn attempts(&self) -> Vec<Arc<Attempt>> {
        self.lock().attempts.iter().cloned().collect()
    }

    /// `next` serves from now on; what served before is what can be gone back to.
    pub(super) fn published(&self, next: Arc<Generation>) {
        let mut inner = self.lock();
        inner.swaps += 1;
        *inner.swaps_to.entry(next.plugin.name().to_owned()).or_default() += 1;
        let before = std::mem::replace(&mut inner.active, next);
        inner.previous = Some(before);
    }

    /// Remembers an attempt and tells those who watch.
    pub(super) fn ended(&self, attempt: Attempt) {
        let attempt = Arc::new(attempt);
        let mut inner = self.lock();
        inner.failures += u64::from(attempt.outcome.is_err());
        inner.attempts.push_back(attempt.clone());
        if ATTEMPTS_MAX < inner.attempts.len() {
            inner.attempts.pop_front();
        }
        // Nobody may be watching.
        let _ = self.attempts.send(attempt);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
