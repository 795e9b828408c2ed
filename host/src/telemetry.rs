//! The log: lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// What is logged where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info";

/// Notices of a database are written by the statements of plugins, which have a log of their own, with a limit.
const NO_NOTICES: &str = "sqlx::postgres::notice=off";

/// Starts the log. `RUST_LOG` chooses what is in it, in the usual syntax.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let filter = filter.add_directive(NO_NOTICES.parse().expect("it is a directive"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
