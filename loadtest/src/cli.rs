//! The command line, as typed. What it means is decided in [`crate::options`].

use std::ffi::OsString;

use clap::builder::{BoolishValueParser, FalseyValueParser};
use clap::{Parser, ValueEnum, value_parser};
use tally_host::config::PluginSettings;
use tally_host::plugin::limits::PluginLimits;

use crate::swaps::flags::SwapFlags;

/// Most clients of one run.
pub const CLIENTS_MAX: u64 = 10_000;

/// Most increments of one run, over all clients: each is kept for the check, in 32 bytes, and so this is 3.2 GB.
pub const CALLS_MAX: u64 = 100_000_000;

/// Puts load on a counter, measures it, and proves whether increments were lost.
///
/// It resets the counter, lets N clients make M increments each, one after the other, reads the count back, and judges:
/// is the final count what was acknowledged, and are the answers those of one counter in the order of time
/// (linearizable)? Increments are never retried. Do not let anybody else count on the same counter during the run.
///
/// With --swap-every, the server swaps its plugin again and again meanwhile, and the run passes only if no swap failed and
/// at least one fell inside the traffic.
///
/// With --plugin, or a --counter-type other than web, a plugin is driven in this process, without a server and by one
/// thread for each client. Files and shared memory that no flag or variable names are then scratch: made for the run and
/// removed after it. A database is not: its counter is reset.
///
/// Results go to stdout, progress and errors to stderr.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadtest", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// What kind of counter to drive
    #[arg(long, env = "COUNTER_TYPE", value_enum, default_value = "web")]
    pub counter_type: CounterType,

    /// Clients that run at once, each on a connection of its own [range: 1 to 10000]
    #[arg(long, env = "N_CLIENTS", value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=CLIENTS_MAX))]
    pub n_clients: u64,

    /// Increments that each client makes, one after the other [range: 1 to 100000000; over all clients at most 100000000, each takes 32 bytes of memory]
    #[arg(long, env = "N_CALLS_PER_CLIENT", value_name = "M", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=CALLS_MAX))]
    pub n_calls_per_client: u64,

    /// How the plugin of --counter-type changes its counter [default for postgresql: inplace_update, for hazelcast:
    /// pessimistic]
    #[arg(long, env = "METHOD", value_enum)]
    pub method: Option<Method>,

    /// Whether a method that can conflict tries again: serializable_update, optimistic_concurrency_control and optimistic [default: true]
    #[arg(long, env = "DO_RETRIES", value_name = "true|false", value_parser = BoolishValueParser::new())]
    pub do_retries: Option<bool>,

    /// Host name or address of the server
    #[arg(long, env = "COUNTER_HOST", value_name = "HOST", default_value = "localhost")]
    pub counter_host: String,

    /// TCP port of the server [range: 1 to 65535]
    #[arg(long, env = "COUNTER_PORT", value_name = "PORT", default_value_t = 8080, value_parser = value_parser!(u16).range(1..))]
    pub counter_port: u16,

    /// Drive the counter of this name instead of the default one [range: 1 to 256 bytes]
    #[arg(long, env = "KEY", value_name = "KEY")]
    pub key: Option<String>,

    /// Also write the results to this file, as JSON; it is emptied before the run
    #[arg(long, env = "JSON", value_name = "FILE")]
    pub json: Option<OsString>,

    /// Show no progress during the run
    #[arg(long, env = "NO_PROGRESS", value_parser = FalseyValueParser::new())]
    pub no_progress: bool,

    /// Swaps while the load runs.
    #[command(flatten)]
    pub swaps: SwapFlags,

    /// Which plugin is driven, and on what.
    #[command(flatten)]
    pub plugins: PluginSettings,

    /// What the plugin may use.
    #[command(flatten)]
    pub plugin_limits: PluginLimits,
}

/// What kind of counter is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CounterType {
    /// A counter server over HTTP
    Web,
    /// A PostgreSQL plugin in this process; each client has a connection of its own
    Postgresql,
    /// A Hazelcast plugin in this process; each client has connections of its own
    Hazelcast,
}

/// How a counter is changed: the first five in PostgreSQL, the others in Hazelcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Method {
    /// SELECT, then UPDATE: the warning example
    LostUpdate,
    /// One UPDATE that adds
    InplaceUpdate,
    /// SELECT … FOR UPDATE, then UPDATE
    RowLevelLocking,
    /// SELECT, then UPDATE if the version is still the same
    OptimisticConcurrencyControl,
    /// SELECT, then UPDATE, in a SERIALIZABLE transaction
    SerializableUpdate,
    /// get, then put: the warning example
    NoLock,
    /// lock, get, replace if it is still the same, unlock
    Pessimistic,
    /// get, then replace if it is still the same
    Optimistic,
    /// addAndGet of an IAtomicLong in the CP Subsystem
    Atomic,
}

impl Method {
    /// The kind of counter that has this method.
    pub fn counter_type(self) -> CounterType {
        match self {
            Self::LostUpdate
            | Self::InplaceUpdate
            | Self::RowLevelLocking
            | Self::OptimisticConcurrencyControl
            | Self::SerializableUpdate => CounterType::Postgresql,
            Self::NoLock | Self::Pessimistic | Self::Optimistic | Self::Atomic => {
                CounterType::Hazelcast
            }
        }
    }
}

const AFTER_HELP: &str = "\
Exit status:
  0  the counts are right
  1  the verdict failed: increments lost or doubled, answers out of order, or nothing proven;
     or a swap failed, or none fell inside the traffic
  2  bad usage
  3  the target cannot be reached, or its admin listener where swaps are to be made

A flag wins over its environment variable. Ctrl-C ends the run early: what was done is still judged.";
