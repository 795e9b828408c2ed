//! The thread beside the workers: it makes swaps, watches the storage and the plugin directory, lets
//! plugins do their work at an interval, and serves the admin listener.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime,
    sync::watch,
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    admin::{Admin, listener::AdminListener},
    panics::essential,
    plugin::dispatch::{Dispatcher, Seat},
    readiness, supervisor,
    swap::{self, Swapper, directory, request::SwapHandle, status::Status},
};

/// How long the last work of a plugin may take when the host stops, and calls that are still under way.
const LAST_WORK_TIME_MAX: Duration = Duration::from_secs(10);

/// Threads that read files, compile, and wait for locks.
const BLOCKING_THREADS_MAX: usize = 8;

/// What the thread works on.
pub struct Work<F> {
    /// Its place among the threads that call the plugin.
    pub seat: Seat,
    /// Makes the swaps, by a dispatcher of this thread.
    pub make_swapper: F,
    /// Where swaps are asked for, and the other end.
    pub swaps: (SwapHandle, swap::request::Requests),
    /// Which plugin serves, and with which settings.
    pub status: Arc<Status>,
    /// Time between two calls of `tick`.
    pub tick_interval: Duration,
    /// What is shown on the admin listener, if there is one.
    pub admin: Option<(AdminListener, Admin)>,
    /// Where the value of the default counter, or the reason why there is none, is told each second.
    pub looked: watch::Sender<Result<i64, String>>,
}

/// The running thread.
pub struct Control {
    thread: JoinHandle<()>,
    /// Nothing is sent: that it is gone means that the thread has to end.
    stop: watch::Sender<()>,
}

impl Control {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the thread or its event loop can't be made.
    pub fn start<F>(work: Work<F>) -> io::Result<Self>
    where
        F: FnOnce(Rc<Dispatcher>) -> Swapper + Send + 'static,
    {
        let (stop, stopped) = watch::channel(());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .build()?;
        let thread = thread::Builder::new().name("control".into()).spawn(move || {
            LocalSet::new().block_on(&runtime, essential(work.go_on(stopped)));
            // A compiler that is still busy must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { thread, stop })
    }

    /// Answers what the admin listener has received, lets the plugin do its last work, and ends the
    /// thread.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the control thread panicked");
        }
    }
}

impl<F> Work<F>
where
    F: FnOnce(Rc<Dispatcher>) -> Swapper,
{
    async fn go_on(self, mut stopped: watch::Receiver<()>) {
        let dispatcher = Dispatcher::start(self.seat);
        let (swaps, requests) = self.swaps;
        spawn_local(essential((self.make_swapper)(dispatcher.clone()).run(requests)));
        let looking =
            spawn_local(essential(readiness::report_changes(dispatcher.clone(), self.looked)));
        // Here, so that a thread that hangs is noticed.
        spawn_local(essential(supervisor::stay_alive()));
        let ticking = spawn_local(essential(tick_each(dispatcher.clone(), self.tick_interval)));
        spawn_local(essential(directory::watch(self.status, swaps.clone())));
        match self.admin {
            Some((listener, admin)) => {
                let router = admin.router(dispatcher.clone(), stopped.clone());
                listener.serve(router, stopped).await;
            }
            // It only ever fails: nothing is sent.
            None => drop(stopped.changed().await),
        }
        // No call is begun beside the last.
        looking.abort();
        ticking.abort();
        let last = async {
            if let Err(why) = swap::tick(&dispatcher.pool()).await {
                tracing::error!("{why}; it was the last before the end");
            }
            // Also calls for which nobody waits any more: cut off now, they could lose a write.
            dispatcher.drained().await;
        };
        if timeout(LAST_WORK_TIME_MAX, last).await.is_err() {
            tracing::error!(
                "the plugin's last work took longer than {LAST_WORK_TIME_MAX:?} and was cut off"
            );
        }
    }
}

async fn tick_each(dispatcher: Rc<Dispatcher>, period: Duration) {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is due at once.
    interval.tick().await;
    loop {
        interval.tick().await;
        if dispatcher.pass().await.is_ok()
            && let Err(why) = swap::tick(&dispatcher.pool()).await
        {
            dispatcher.pool().plugin().log_failure(&why);
        }
    }
}
