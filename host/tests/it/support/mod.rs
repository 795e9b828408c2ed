//! Starts hosts as processes, in directories of their own, and speaks HTTP to them.

mod client;
mod guests;
mod process;

pub use client::{Answer, Connection, ask, send};
pub use guests::guest;
pub use process::{Sandbox, Tally};

use std::ffi::OsString;

use tally_host::config::Cli;
use tally_loadtest::{Load, PluginTarget, Progress, Report, Start, Stop, WebTarget, run};

/// Puts `clients` × `calls` increments on a host's default counter, beginning with a reset.
pub fn load(tally: &Tally, clients: usize, calls: u64) -> Report {
    try_load(tally, &from_zero(clients, calls)).unwrap()
}

/// As [`load`], on a plugin in this process and on scratch storage.
pub fn load_in_process(plugin: &str, clients: usize, calls: u64) -> Report {
    let args = ["tally", "--plugin", plugin, "--compile-cache", env!("CARGO_TARGET_TMPDIR")];
    let config = Cli::load(&args.map(OsString::from)).unwrap().config;
    let target = PluginTarget::load(&config.plugins, &config.plugin_limits, None).unwrap();
    run(&target, &from_zero(clients, calls), &Progress::silent(), &Stop::default()).unwrap()
}

fn from_zero(clients: usize, calls_per_client: u64) -> Load {
    Load { clients, calls_per_client, start: Start::Reset, sole_writer: true }
}

/// As [`load`], from where the counter is and beside other writers.
pub fn load_beside_others(tally: &Tally, clients: usize, calls: u64) -> Report {
    let load = Load { clients, calls_per_client: calls, start: Start::Keep, sole_writer: false };
    try_load(tally, &load).unwrap()
}

fn try_load(tally: &Tally, load: &Load) -> anyhow::Result<Report> {
    let address = tally.address();
    let target = WebTarget::resolve(&address.ip().to_string(), address.port(), None)?;
    Ok(run(&target, load, &Progress::silent(), &Stop::default())?)
}
