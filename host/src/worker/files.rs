//! The limit on open files, which connections are to the operating system.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limits::ServerLimits;

/// Files that the process needs for itself: listeners, regions, locks, files and databases of plugins.
const FILES_RESERVED: u64 = 256;

/// Files of the event loop of each thread, of which there is one more than workers.
const FILES_PER_THREAD: u64 = 4;

/// Connections for which there must be room, if as many may be open: a few idle ones keep nobody out then.
const CONNECTIONS_MIN: u64 = 64;

/// Raises the limit as far as it goes, since the customary one is low for a server, and lowers the number of connections in
/// `limits` where it does not suffice. Files for `other_connections`, which are not those of clients, are kept free.
///
/// # Errors
///
/// When the limit is too low all the same.
pub fn fit(
    limits: &ServerLimits,
    workers: usize,
    other_connections: usize,
) -> anyhow::Result<ServerLimits> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("can't raise the limit on open files: {error}");
    }
    let threads = workers as u64 + 1;
    let reserved = FILES_RESERVED + FILES_PER_THREAD * threads + other_connections as u64;
    let min = reserved + CONNECTIONS_MIN.min(limits.connections_max.into());
    let files_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        min <= files_max,
        "the process may have {files_max} files open, and with {workers} workers it needs at least {min}: raise the \
         limit, by \"ulimit -n\" or systemd's LimitNOFILE, or lower --workers"
    );
    let possible = u32::try_from(files_max - reserved).unwrap_or(u32::MAX);
    if possible < limits.connections_max {
        tracing::warn!(
            "at most {possible} connections at a time, because of the limit on open files"
        );
    }
    let connections_max = limits.connections_max.min(possible);
    Ok(ServerLimits { connections_max, ..limits.clone() })
}
