//! The word that draining has begun, as one worker passes it on to its connections.

use std::cell::Cell;

use tokio::sync::Notify;

/// Belongs to one thread, so that its connections share nothing with those of other workers.
#[derive(Default)]
pub struct Drain {
    begun: Cell<bool>,
    beginning: Notify,
}

impl Drain {
    /// Tells all who wait, and all who will.
    pub fn begin(&self) {
        self.begun.set(true);
        self.beginning.notify_waiters();
    }

    /// Waits until it begins.
    pub async fn wait(&self) {
        if !self.begun.get() {
            self.beginning.notified().await;
        }
    }
}
