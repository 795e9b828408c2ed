//! Swaps of the server's plugin while the load runs.
//!
//! * `flags`: what was typed, and what it means.
//! * `swapper`: asks for one swap after the other, on the run's own clock.
//! * [`windows`]: how slow calls were near a swap, and far from any.
//! * [`report`]: what is known of the swaps after the run.

use std::time::Duration;

use tally_host::client::Endpoint;
pub use tally_host::client::Token;

pub(crate) mod flags;
pub mod report;
pub(crate) mod swapper;
pub mod windows;

/// Which swaps to make while a load runs.
///
/// The first one is due one interval after the clients were released, and there is only one at a time: where one takes
/// longer than the interval, the next one follows at once and is counted as late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swaps {
    /// The server's admin listener.
    pub admin: Endpoint,
    /// What the admin listener wants to see before it obeys.
    pub token: Option<Token>,
    /// From the begin of one swap to the begin of the next.
    pub every: Duration,
    /// The plugins that are swapped in, in turn and over and over: names or paths as the server knows them.
    pub between: Vec<String>,
}
