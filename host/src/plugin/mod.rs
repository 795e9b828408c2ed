//! Plugins: finding them, loading them, and calling them within limits.

pub mod cache;
pub mod call;
pub mod catalog;
pub mod dispatch;
pub mod engine;
pub mod entries;
mod exports;
pub mod generation;
pub mod grants;
pub mod instance;
pub mod limits;
pub mod loader;
mod outline;
pub mod pool;
pub mod registry;
pub mod setup;
mod source;
pub mod state;
pub mod storage;
pub mod usage;

pub use crate::bindings::DEFAULT_KEY;

/// The key of the counter that a plugin is tried on before it serves. It is listed and carried nowhere.
pub const SCRATCH_KEY: &str = "tally-probe";
