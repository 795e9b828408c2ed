//! The limit on open files, which connections are to the operating system.

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::limits::ServerLimits;
use crate::admin::places::CONNECTIONS_MAX;

/// Files that the process needs for itself: listeners, regions, locks, files and databases of plugins; and the connections to
/// the admin listener.
const FILES_RESERVED: u64 = 256 + CONNECTIONS_MAX as u64;

/// Files of the event loop of each thread, of which there is one more than workers.
const FILES_PER_THREAD: u64 = 4;

/// Connections for which there must be room, if as many may be open: a few idle ones keep nobody out then.
const CONNECTIONS_MIN: u64 = 64;

/// Raises the limit as far as it goes: the customary one is low for a server.
///
/// # Errors
///
/// When it is too low all the same.
pub fn raise_limit(limits: &ServerLimits, workers: usize) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("can't raise the limit on open files: {error}");
    }
    let min = reserved(workers) + CONNECTIONS_MIN.min(limits.connections_max.into());
    let files_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        min <= files_max,
        "the process may have {files_max} files open, and with {workers} workers it needs at least {min}: raise the \
         limit, by \"ulimit -n\" or systemd's LimitNOFILE, or lower --workers"
    );
    Ok(())
}

/// The configured number of connections, or as many as the process may open files for.
pub fn connections_max(limits: &ServerLimits, workers: usize) -> usize {
    let configured = limits.connections_max as usize;
    let files_max = getrlimit(Resource::Nofile).current;
    let possible = files_max.map_or(configured, |files| {
        usize::try_from(files.saturating_sub(reserved(workers))).unwrap_or(configured)
    });
    if possible < configured {
        tracing::warn!(
            "at most {possible} connections at a time, because of the limit on open files"
        );
    }
    configured.min(possible.max(1))
}

fn reserved(workers: usize) -> u64 {
    FILES_RESERVED + FILES_PER_THREAD * (workers as u64 + 1)
}
