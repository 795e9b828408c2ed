//! The workers and the acceptor that feeds them, as one thing that starts and drains.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    thread::{self, JoinHandle},
};

use tokio::sync::watch;

use super::{Served, acceptor, limits::ServerLimits, thread::Worker};

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
        let connections_max = limits.connections_max as usize;
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
