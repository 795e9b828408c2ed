//! The word that draining has begun, as one worker passes it on to its connections.

use std::cell::Cell;

use tokio::sync::Notify;

/// Belongs to one thread, so that looking at it for each request shares nothing with other workers.
#[derive(Default)]
pub struct Drain {
    begun: Cell<bool>,
    beginning: Notify,
}

impl Drain {
    /// Tells all who wait, and all who ask from now on.
    pub fn begin(&self) {
        self.begun.set(true);
        self.beginning.notify_waiters();
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Waits until it begins.
    pub async fn wait(&self) {
        if !self.has_begun() {
            self.beginning.notified().await;
        }
    }
}
