//! Plugins: finding them, loading them, and calling them within limits.

pub mod cache;
pub mod call;
pub mod catalog;
mod compiled;
pub mod compiler;
pub mod dispatch;
pub mod engine;
pub mod entries;
mod exports;
pub mod generation;
pub mod grants;
pub mod instance;
pub mod limits;
pub mod loader;
mod look;
mod names;
mod outline;
pub mod pool;
#[cfg(test)]
mod properties;
pub mod registry;
pub mod setup;
mod source;
pub mod state;
pub mod storage;
mod turns;
pub mod usage;
