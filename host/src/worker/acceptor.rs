//! Accepts connections and hands each to the worker that has the fewest.
//!
//! One acceptor spreads few connections evenly, which the kernel's own spreading over several
//! listeners (`SO_REUSEPORT`, a hash of the port numbers) does not.

use std::{
    io,
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net, runtime,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};

use super::thread::Worker;
use crate::panics::essential;

/// Wait after a failed accept, which is mostly for want of files, until others have been closed.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Starts the thread; it ends when `drain` says so.
pub fn start(
    listener: TcpListener,
    workers: Vec<Worker>,
    connections_max: usize,
    mut drain: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _guard = runtime.enter();
        net::TcpListener::from_std(listener)?
    };
    let slots = Arc::new(Semaphore::new(connections_max));
    thread::Builder::new().name("acceptor".into()).spawn(move || {
        runtime.block_on(essential(async move {
            tokio::select! {
                () = accept_all(&listener, &workers, &slots) => {}
                // An error means that the server is gone, which is a reason to end too.
                _ = drain.wait_for(|draining| *draining) => {}
            }
            match listener.into_std() {
                Ok(listener) => accept_pending(&listener, &workers, &slots),
                Err(error) => tracing::warn!("can't accept the last connections: {error}"),
            }
        }));
    })
}

async fn accept_all(listener: &net::TcpListener, workers: &[Worker], slots: &Arc<Semaphore>) {
    loop {
        // Beyond the limit connections wait in the kernel until others are closed.
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                // It fails for none that tokio has made.
                if let Ok(stream) = stream.into_std() {
                    hand_over(stream, slot, workers);
                }
            }
            Err(error) => {
                tracing::warn!("can't accept a connection: {error}");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Takes what the kernel has accepted already, whose requests may be on their way. The kernel itself is asked: the event
/// loop may not have heard of them yet.
fn accept_pending(listener: &TcpListener, workers: &[Worker], slots: &Arc<Semaphore>) {
    while let Ok(slot) = slots.clone().try_acquire_owned()
        && let Ok((stream, _)) = listener.accept()
    {
        hand_over(stream, slot, workers);
    }
}

fn hand_over(stream: TcpStream, slot: OwnedSemaphorePermit, workers: &[Worker]) {
    let worker = workers
        .iter()
        .min_by_key(|worker| worker.connections())
        .expect("there is at least one worker");
    // A stream that fails here has been closed by its client.
    if stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).is_ok() {
        worker.serve(stream, slot);
    }
}
