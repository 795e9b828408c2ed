//! What a connection is doing, and how long it may go on.

use std::cell::Cell;

use tokio::time::Instant;

use super::limits::ServerLimits;

/// What a connection is doing, and since when: enough to know when it has taken too long.
pub struct Progress {
    phase: Cell<Phase>,
    since: Cell<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The head of a request is arriving, or the first one is awaited.
    Head,
    /// A request is being answered; its steps have limits of their own.
    Busy,
    /// The last request was answered.
    Idle,
}

impl Progress {
    /// A connection that was just accepted.
    pub fn new() -> Self {
        Self { phase: Cell::new(Phase::Head), since: Cell::new(Instant::now()) }
    }

    /// Begins a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase != Phase::Busy {
            self.since.set(Instant::now());
        }
    }

    /// Bytes came from the client.
    pub fn received(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// When the present phase has taken too long. A busy connection is looked at again later.
    pub fn deadline(&self, limits: &ServerLimits) -> Instant {
        match self.phase.get() {
            Phase::Head => self.since.get() + limits.head_time(),
            Phase::Idle => self.since.get() + limits.idle_time(),
            Phase::Busy => Instant::now() + limits.head_time(),
        }
    }
}
