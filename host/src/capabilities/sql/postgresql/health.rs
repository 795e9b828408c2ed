//! What is known of the way to the database, shared by all threads.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Pause after a connection could not be opened, in which no other is tried. PostgreSQL starts a process for each attempt,
/// and a server that is recovering from a crash has better things to do.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// When it was found to be bad.
#[derive(Default)]
pub struct Health {
    observed: Mutex<Observed>,
    /// Held while the database is being created.
    pub creating: tokio::sync::Mutex<()>,
    /// Whether the first connection was used to look for a former row.
    pub former_row_told: tokio::sync::Mutex<bool>,
}

#[derive(Default)]
struct Observed {
    broke_last: Option<Instant>,
    refused_last: Option<(Instant, String)>,
}

impl Health {
    /// A connection broke. Others that were opened before may be dead too, without knowing it.
    pub fn broke(&self) {
        self.lock().broke_last = Some(Instant::now());
    }

    /// Whether a connection broke since `then`.
    pub fn broke_since(&self, then: Instant) -> bool {
        self.lock().broke_last.is_some_and(|broke| then <= broke)
    }

    /// No connection could be opened.
    pub fn refused(&self, why: &str) {
        self.lock().refused_last = Some((Instant::now(), why.to_owned()));
    }

    /// A connection was opened.
    pub fn accepted(&self) {
        self.lock().refused_last = None;
    }

    /// Why it is too early to try to open a connection again, if it is.
    pub fn still_refused(&self) -> Option<String> {
        let observed = self.lock();
        let (refused, why) = observed.refused_last.as_ref()?;
        (refused.elapsed() < RECONNECT_PAUSE).then(|| why.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
