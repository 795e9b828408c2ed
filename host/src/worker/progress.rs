//! What a connection is doing, how long it may go on, and when it is told that its next answer is the last.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use super::limits::ServerLimits;

/// How long an idle connection stays open while the server drains, for a request that is on its way.
pub const DRAIN_LINGER: Duration = Duration::from_millis(250);

/// What a connection is doing, and since when: enough to know when it has taken too long, and what it still has to
/// answer when the server drains.
pub struct Progress {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// Whether bytes are awaited, so that no request lies in the buffer.
    awaits_bytes: Cell<bool>,
    drains_since: Cell<Option<Instant>>,
    /// Bytes that had come when draining began and have not been read; none before the first look.
    due: Cell<Option<usize>>,
    is_last: Cell<bool>,
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
        Self {
            phase: Cell::new(Phase::Head),
            since: Cell::new(Instant::now()),
            awaits_bytes: Cell::new(false),
            drains_since: Cell::new(None),
            due: Cell::new(None),
            is_last: Cell::new(false),
        }
    }

    /// Begins a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase == Phase::Busy {
            self.awaits_bytes.set(false);
        } else {
            self.since.set(Instant::now());
        }
    }

    /// Bytes are about to be read, of which there are `unread`: whatever was read before has been answered, but for
    /// the beginning of a request.
    pub fn reads(&self, unread: impl FnOnce() -> usize) {
        if self.drains_since.get().is_some() {
            let due = self.due.get().unwrap_or_else(unread);
            self.due.set(Some(due));
            self.is_last.set(due == 0);
        }
    }

    /// So many bytes came from the client.
    pub fn received(&self, bytes: usize) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
        self.due.set(self.due.get().map(|due| due.saturating_sub(bytes)));
    }

    /// No bytes have come, and whoever reads is told when there are some.
    pub fn awaits_bytes(&self) {
        self.awaits_bytes.set(true);
    }

    /// Draining begins.
    pub fn drain(&self) {
        self.drains_since.set(Some(Instant::now()));
    }

    /// Whether all has been answered that had come when draining began, but for the present request.
    pub fn is_last(&self) -> bool {
        self.is_last.get()
    }

    /// While draining, until when a request that is on its way is waited for. None while one is being answered, or lies
    /// in the buffer.
    pub fn lingers_until(&self) -> Option<Instant> {
        let is_idle = self.phase.get() != Phase::Busy && self.awaits_bytes.get();
        let drains_since = self.drains_since.get().filter(|_| is_idle)?;
        Some(self.since.get().max(drains_since) + DRAIN_LINGER)
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
