//! One worker thread.

use std::{
    io,
    net::TcpStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use tokio::{
    runtime,
    sync::{OwnedSemaphorePermit, mpsc, watch},
    task::{self, JoinSet, LocalSet},
    time::timeout,
};

use super::{Served, connection, limits::ServerLimits};
use crate::panics::essential;

/// Threads of one worker that wait for files and locks in the kernel.
const BLOCKING_THREADS_MAX: usize = 64;

/// A connection on its way to a worker.
struct Accepted {
    stream: TcpStream,
    places: Places,
}

/// A connection's place among those of its worker, and among all that may be open. Free when this is dropped, however the
/// connection ends.
struct Places {
    of_worker: Arc<AtomicUsize>,
    _slot: OwnedSemaphorePermit,
}

impl Places {
    fn take(of_worker: &Arc<AtomicUsize>, slot: OwnedSemaphorePermit) -> Self {
        of_worker.fetch_add(1, Ordering::Relaxed);
        Self { of_worker: of_worker.clone(), _slot: slot }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A worker, as the acceptor sees it.
pub struct Worker {
    /// Unbounded, but never longer than the number of slots for connections.
    inbox: mpsc::UnboundedSender<Accepted>,
    connections: Arc<AtomicUsize>,
}

impl Worker {
    /// Starts worker number `idx`. Its thread ends when the handle is gone and its connections are
    /// closed, or when draining them takes too long.
    pub fn start<F>(
        idx: usize,
        limits: ServerLimits,
        drain: watch::Receiver<bool>,
        make_served: F,
    ) -> io::Result<(Self, JoinHandle<()>)>
    where
        F: FnOnce() -> Served + Send + 'static,
    {
        let (inbox, incoming) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let thread = thread::Builder::new().name(format!("worker-{idx}")).spawn(move || {
            runtime.block_on(async move {
                let tasks = LocalSet::new();
                let drain_time = limits.drain_time();
                let serve = essential(async move {
                    let shared = Rc::new(connection::Shared::new(make_served(), limits));
                    task::spawn_local(essential(pass_on(drain, shared.clone())));
                    serve_all(incoming, &shared).await;
                });
                tasks.run_until(serve).await;
                // Calls whose clients have left: cut off now, they could lose a write.
                if timeout(drain_time, tasks).await.is_err() {
                    tracing::warn!("calls that took longer than --drain-time-max to end were cut");
                }
            });
            // Threads that still wait for a lock must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok((Self { inbox, connections }, thread))
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Gives it one more, with its place among all that may be open.
    pub fn serve(&self, stream: TcpStream, slot: OwnedSemaphorePermit) {
        let places = Places::take(&self.connections, slot);
        if self.inbox.send(Accepted { stream, places }).is_err() {
            tracing::error!("a worker is gone; the connection is closed");
        }
    }
}

/// Tells this worker's connections when the server drains, or is gone, which is a reason to end too.
async fn pass_on(mut drain: watch::Receiver<bool>, shared: Rc<connection::Shared>) {
    let _ = drain.wait_for(|draining| *draining).await;
    shared.drain().begin();
}

async fn serve_all(
    mut incoming: mpsc::UnboundedReceiver<Accepted>,
    shared: &Rc<connection::Shared>,
) {
    let mut connections = JoinSet::new();
    while let Some(Accepted { stream, places }) = incoming.recv().await {
        let shared = shared.clone();
        connections.spawn_local(async move {
            let _places = places;
            connection::serve(stream, &shared).await;
        });
        // Forgets those that have ended.
        while connections.try_join_next().is_some() {}
    }
    let drain = async { while connections.join_next().await.is_some() {} };
    if timeout(shared.limits().drain_time(), drain).await.is_err() {
        tracing::warn!("connections that took longer than --drain-time-max to end were cut");
    }
}
