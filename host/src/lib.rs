//! Tally: a counter server whose storage backend and locking method are WebAssembly plugins.
//!
//! # Layout
//!
//! * [`capabilities`]: what the host can lend to a plugin.
//! * [`plugin`]: finding, loading and calling plugins.
//! * [`worker`]: threads, connections, and the pools of plugin instances.
//! * [`http`]: requests and answers.
//! * [`readiness`]: says when the storage stops and starts answering.
//! * [`serve`]: all of it put together. [`list`]: the command `tally plugins`.
//! * [`client`]: one request to the admin listener of a running host.
//! * [`config`]: everything that can be set.
//! * [`panics`]: what a panic costs.
//! * [`keys`]: what counters are called. [`text`]: what plugins say, bounded.
//! * [`regular_file`]: opens configuration, plugins, records and the like.
//! * [`telemetry`]: the log, and traces.

pub mod admin;
pub mod bindings;
pub mod capabilities;
pub mod client;
pub mod commands;
pub mod config;
pub mod control;
mod directories;
pub mod error;
pub mod http;
pub mod keys;
pub mod list;
pub mod metrics;
pub mod panics;
pub mod plugin;
pub mod readiness;
pub mod regular_file;
pub mod reload;
pub mod serve;
pub mod shutdown;
pub mod supervisor;
pub mod swap;
pub mod telemetry;
pub mod text;
mod utc;
mod whole_file;
pub mod worker;
