//! Worker threads: each has an event loop, connections and plugin instances of its own, and shares
//! nothing with the others while it serves.

mod acceptor;
mod connection;
pub mod counter;
mod drain;
mod io;
pub mod limits;
mod progress;
pub mod server;
mod thread;
