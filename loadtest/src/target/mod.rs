//! What a load can be driven against.

use std::future::Future;
use std::thread::available_parallelism;

pub mod plugin;
pub mod web;

/// A counter that clients can connect to.
///
/// One target serves all threads of a run. Its clients stay on the thread that connected them, so neither they nor their
/// futures need to be `Send`.
pub trait Target: Sync {
    /// One connection to the counter.
    type Client: Client + 'static;

    /// What is driven, as people would name it: an address, or the name of a plugin.
    fn name(&self) -> String;

    /// Over how many threads `clients` clients are spread.
    ///
    /// Clients on one thread take turns at await points, so as many threads as there are cores are right where a call
    /// waits. Where a call computes instead, give each client a thread of its own.
    fn threads(&self, clients: usize) -> usize {
        let cores = available_parallelism().map_or(1, |it| it.get());
        clients.min(cores)
    }

    /// Connects one client; called on the thread, and inside the runtime, in which the client will live.
    ///
    /// `client` is its index from 0. The connection that resets and reads the counter is made here too, and has the first
    /// index after those of the clients. It may be connected more than once.
    ///
    /// # Errors
    ///
    /// A sentence that says what does not answer, why, and what to do. It ends the run as "unreachable".
    fn connect(&self, client: usize) -> impl Future<Output = anyhow::Result<Self::Client>>;
}

/// One connection, on which one call is made after the other.
pub trait Client {
    /// Adds one. Every way it can end is an [`Outcome`], and nothing is ever tried twice:
    /// a repeated increment whose first try was applied would count twice.
    ///
    /// The call must end within a bound of the client's own.
    fn increment(&mut self) -> impl Future<Output = Outcome>;

    /// Reads the count.
    ///
    /// # Errors
    ///
    /// A sentence that says why there is no count.
    fn read(&mut self) -> impl Future<Output = anyhow::Result<i64>>;

    /// Sets the count to 0.
    ///
    /// # Errors
    ///
    /// A sentence that says why the reset was not acknowledged.
    fn reset(&mut self) -> impl Future<Output = anyhow::Result<()>>;

    /// The name of the plugin that counts at the moment.
    ///
    /// # Errors
    ///
    /// Why it is not known, which is no reason not to count.
    fn plugin(&mut self) -> impl Future<Output = Result<String, String>>;
}

/// How one increment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with success, and with the value after the addition if the counter says it.
    Acknowledged {
        /// The value after the addition.
        value: Option<i64>,
    },
    /// It surely was not applied.
    Failed {
        /// Why, in words that are the same for each failure of one kind, because they are counted by it.
        reason: String,
    },
    /// No connection could be made, so nothing was sent. The next call tries to connect again; after too many such
    /// outcomes in a row the run stops this client.
    Disconnected {
        /// Why, as for `Failed`.
        reason: String,
    },
    /// Nobody knows whether it was applied, will be applied, or never is.
    Unknown {
        /// Why, as for `Failed`.
        reason: String,
    },
}
