//! The signals by which the process is asked to stop, or to read its settings anew.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks the process to do.
pub enum Asked {
    /// Read the settings anew: SIGHUP.
    ToReload,
    /// Stop: SIGINT or SIGTERM, by name.
    ToStop(&'static str),
}

/// SIGINT, SIGTERM and SIGHUP, from the moment that this is made.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to catch the signals, which no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::ToStop("SIGINT"),
            _ = self.terminate.recv() => Asked::ToStop("SIGTERM"),
            _ = self.hangup.recv() => Asked::ToReload,
        }
    }

    /// Waits for the next one that asks to stop; returns its name. A SIGHUP meanwhile stays for [`Self::next`].
    pub async fn next_to_stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Whether the process was asked to stop. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Stopping(Arc<AtomicBool>);

impl Stopping {
    /// Says so to all who ask from now on.
    pub fn begin(&self) {
        // Nothing else is published by it.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
