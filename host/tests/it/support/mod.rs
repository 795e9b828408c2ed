//! Starts hosts as processes, in directories of their own, and speaks HTTP to them.

mod client;
mod guests;
mod process;

pub use client::{Answer, Connection, ask, send};
pub use guests::guest;
pub use process::{Sandbox, Tally};

use tally_loadtest::{Load, Progress, Report, Start, Stop, WebTarget, run};

/// Puts `clients` × `calls` increments on a host's default counter, beginning with a reset.
pub fn load(tally: &Tally, clients: usize, calls: u64) -> Report {
    let load = Load { clients, calls_per_client: calls, start: Start::Reset, sole_writer: true };
    try_load(tally, &load).unwrap()
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
