//! Worker threads: each has an event loop, connections and plugin instances of its own, and shares
//! nothing with the others while it serves.

mod acceptor;
mod connection;
pub mod counter;
mod drain;
pub mod files;
mod io;
pub mod limits;
mod progress;
pub mod server;
mod thread;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod strict;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use axum::Router;

use crate::metrics::WorkerMetrics;

/// What one worker serves.
pub struct Served {
    /// Answers requests.
    pub router: Router,
    /// Notes how they were answered.
    pub metrics: Rc<WorkerMetrics>,
}
