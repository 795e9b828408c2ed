//! The workers and the acceptor that feeds them, as one thing that starts and drains.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    thread::{self, JoinHandle},
};

use tokio::sync::watch;

use super::{Served, acceptor, limits::ServerLimits, thread::Worker};

/// Files that the process needs for itself: the listener, event loops, regions, locks, plugin files.
const FILES_RESERVED: u64 = 256;

/// A server that is running. Dropping it without [`Self::drain`] stops it without waiting.
pub struct Server {
    address: SocketAddr,
    draining: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a thread for each of `make_served` that serves what connects to `listener`.
    ///
    /// Each is called on its worker's own thread.
    ///
    /// # Errors
    ///
    /// When a thread or an event loop can't be made.
    pub fn start<F>(
        listener: TcpListener,
        limits: &ServerLimits,
        make_served: Vec<F>,
    ) -> io::Result<Self>
    where
        F: FnOnce() -> Served + Send + 'static,
    {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let connections_max = connections_max(limits);
        let (draining, drain) = watch::channel(false);
        let mut threads = Vec::new();
        let mut handles = Vec::new();
        for (idx, make_served) in make_served.into_iter().enumerate() {
            let (worker, thread) = Worker::start(idx, limits.clone(), drain.clone(), make_served)?;
            handles.push(worker);
            threads.push(thread);
        }
        threads.push(acceptor::start(listener, handles, connections_max, drain)?);
        Ok(Self { address, draining, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, answers every request that has been received, and ends all threads.
    ///
    /// Takes at most `drain_time_max` and a little.
    pub fn drain(self) {
        self.draining.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a server thread panicked");
            }
        }
    }
}

/// The number of cores that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// The configured number of connections, or as many as the process may open files for.
fn connections_max(limits: &ServerLimits) -> usize {
    let configured = limits.connections_max as usize;
    let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let possible =
        files_max.map_or(configured, |files| files.saturating_sub(FILES_RESERVED) as usize);
    if possible < configured {
        tracing::warn!(
            "at most {possible} connections at a time, because of the limit on open files"
        );
    }
    configured.min(possible.max(1))
}
