//! Calls the active plugin from one thread, and exchanges it when the swap says so.
//!
//! Each thread that calls has a [`Dispatcher`], which belongs to it alone: a call looks at nothing that
//! other threads write to. A swap sends each of them a [`Step`] and waits until all have done it.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{self, AbortHandle},
    time::timeout,
};

use crate::panics::essential;

use super::{
    call::CallError,
    loader::Plugin,
    pool::{BrokenOff, Pool},
};

/// How much longer than a swap may pause calls one waits for the gate: the swap opens it by itself, and
/// if it can't any more, no call waits for ever.
const GATE_WAIT_EXTRA: Duration = Duration::from_secs(1);

/// What a swap asks of each thread.
#[derive(Clone)]
pub enum Step {
    /// Make a pool of this plugin and an instance in it; nothing is served with it yet.
    Prepare(Arc<Plugin>),
    /// Hold back calls that come from now on, for this long if the swap says nothing any more, and say when
    /// those that came before have ended.
    Close(Duration),
    /// Break off the calls under way, and say how many there were.
    BreakOff,
    /// Let go of what was prepared, and let calls go on as before.
    Abandon,
    /// Serve with what was prepared, from now on, and say when the calls of the plugin before have
    /// ended, or go on for longer than this. Then they are broken off, if they may be.
    Publish {
        /// How long they are waited for.
        drain_max: Duration,
        /// Whether they may be broken off.
        force: bool,
    },
}

/// A step, and where to say how it went.
struct Order {
    step: Step,
    done: oneshot::Sender<BrokenOff>,
}

/// All threads that call the plugin, as a swap sees them.
pub struct Threads {
    orders: Vec<mpsc::UnboundedSender<Order>>,
}

/// The place of one thread among them, taken by its dispatcher.
pub struct Seat {
    plugin: Arc<Plugin>,
    /// Unbounded, but a swap waits for the end of a step before it sends the next, or gives up.
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Threads {
    /// Places for `count` threads that begin with `plugin`.
    pub fn new(plugin: &Arc<Plugin>, count: usize) -> (Self, Vec<Seat>) {
        let (orders, seats) = (0..count)
            .map(|_| {
                let (sender, orders) = mpsc::unbounded_channel();
                (sender, Seat { plugin: plugin.clone(), orders })
            })
            .unzip();
        (Self { orders }, seats)
    }

    /// Has all threads do `step`, waits until the last one has, and says how many calls were broken off, and why one could
    /// not do the step; the others may have done it.
    pub async fn all(&self, step: Step) -> BrokenOff {
        let mut pending = Vec::new();
        for orders in &self.orders {
            let (done, outcome) = oneshot::channel();
            // A thread that has ended drops the order, which is told below; the others still need it.
            let _ = orders.send(Order { step: step.clone(), done });
            pending.push(outcome);
        }
        let mut all = (0, Ok(()));
        for done in pending {
            let stopping = || (0, Err("the host is stopping".into()));
            add(&mut all, done.await.unwrap_or_else(|_| stopping()));
        }
        all
    }
}

/// Adds up what was broken off, whether or not all of it was.
fn add(all: &mut BrokenOff, (calls, outcome): BrokenOff) {
    all.0 += calls;
    if all.1.is_ok() {
        all.1 = outcome;
    }
}

/// The active plugin, as one thread calls it. It belongs to a
/// [`LocalSet`](tokio::task::LocalSet) or a local runtime.
pub struct Dispatcher {
    pool: RefCell<Rc<Pool>>,
    prepared: RefCell<Option<Rc<Pool>>>,
    /// Pools of earlier plugins whose calls may not have ended yet.
    retired: RefCell<Vec<Rc<Pool>>>,
    gate: Gate,
    /// The task that does the steps, which ends with the dispatcher.
    obeys: RefCell<Option<AbortHandle>>,
}

/// Holds calls back while it is closed.
struct Gate {
    closed: Cell<bool>,
    opened: Notify,
    wait_max: Cell<Duration>,
}

impl Dispatcher {
    /// Takes a place.
    pub fn start(seat: Seat) -> Rc<Self> {
        let this = Rc::new(Self {
            pool: RefCell::new(Pool::new(seat.plugin)),
            prepared: RefCell::default(),
            retired: RefCell::default(),
            gate: Gate {
                closed: Cell::new(false),
                opened: Notify::new(),
                wait_max: Cell::default(),
            },
            obeys: RefCell::default(),
        });
        let obeys = task::spawn_local(essential(obey(Rc::downgrade(&this), seat.orders)));
        this.obeys.replace(Some(obeys.abort_handle()));
        this
    }

    /// The instances of the active plugin on this thread.
    pub fn pool(&self) -> Rc<Pool> {
        self.pool.borrow().clone()
    }

    /// Waits while the gate is closed.
    ///
    /// # Errors
    ///
    /// [`CallError::HeldBackTooLong`].
    pub async fn pass(&self) -> Result<(), CallError> {
        let gate = &self.gate;
        if !gate.closed.get() {
            return Ok(());
        }
        let opened = async {
            while gate.closed.get() {
                gate.opened.notified().await;
            }
        };
        timeout(gate.wait_max.get(), opened).await.map_err(|_| CallError::HeldBackTooLong)
    }

    /// Whether calls are held back.
    pub fn holds_back(&self) -> bool {
        self.gate.closed.get()
    }

    /// Waits until no call is under way on this thread, earlier plugins included.
    pub async fn drained(&self) {
        self.retired_drained().await;
        self.pool().drained().await;
    }

    /// Does what a step does at once; the future that is returned ends with the rest of it.
    fn begin(self: &Rc<Self>, step: Step) -> impl Future<Output = BrokenOff> + 'static {
        let this = self.clone();
        match step {
            Step::Close(pause_max) => {
                self.gate.wait_max.set(pause_max + GATE_WAIT_EXTRA);
                self.gate.closed.set(true);
            }
            Step::Abandon => {
                self.prepared.take();
                self.gate.open();
            }
            Step::Publish { .. } => {
                if let Some(prepared) = self.prepared.take() {
                    let before = self.pool.replace(prepared);
                    self.retired.borrow_mut().push(before);
                }
                self.gate.open();
            }
            Step::Prepare(_) | Step::BreakOff => {}
        }
        async move {
            match step {
                Step::Prepare(plugin) => {
                    let pool = Pool::after(plugin, &this.pool());
                    if let Err(error) = pool.warm_up().await {
                        return (0, Err(error.to_string()));
                    }
                    this.prepared.replace(Some(pool));
                }
                Step::Close(_) => this.drained().await,
                Step::BreakOff => return this.break_off(Some(this.pool())).await,
                Step::Abandon => {}
                Step::Publish { drain_max, force } => {
                    if timeout(drain_max, this.retired_drained()).await.is_err() {
                        let broken_off = if force {
                            this.break_off(None).await
                        } else {
                            let plugin = this.pool().plugin().name().to_owned();
                            tracing::warn!(
                                plugin,
                                "calls of the plugin before go on for longer than --swap-drain-max"
                            );
                            (0, Ok(()))
                        };
                        // What it was lent goes when they have ended, whether or not there is another swap.
                        task::spawn_local(async move { this.retired_drained().await });
                        return broken_off;
                    }
                }
            }
            (0, Ok(()))
        }
    }

    /// Breaks off the calls of earlier plugins, and of this pool, and says how many there were.
    async fn break_off(&self, pool: Option<Rc<Pool>>) -> BrokenOff {
        let mut all = (0, Ok(()));
        let retired = self.retired.borrow().clone();
        for pool in retired.into_iter().chain(pool) {
            add(&mut all, pool.break_off().await);
        }
        if all.1.is_ok() {
            self.retired_drained().await;
        }
        all
    }

    /// Waits for the calls of all earlier plugins, and lets go of what these were lent.
    async fn retired_drained(&self) {
        loop {
            let Some(pool) = self.retired.borrow().first().cloned() else { return };
            pool.drained().await;
            self.retired.borrow_mut().retain(|retired| !Rc::ptr_eq(retired, &pool));
        }
    }
}

impl Gate {
    fn open(&self) {
        self.closed.set(false);
        self.opened.notify_waiters();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if let Some(obeys) = self.obeys.take() {
            obeys.abort();
        }
    }
}

/// Does the steps that come, one after the other. What a step waits for is given up when the next one comes: a swap
/// sends that only when it has got its answer, or does not want it any more.
async fn obey(dispatcher: Weak<Dispatcher>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut waiting: Option<AbortHandle> = None;
    while let Some(Order { step, done }) = orders.recv().await {
        let Some(dispatcher) = dispatcher.upgrade() else {
            return;
        };
        if let Some(waiting) = waiting.take() {
            waiting.abort();
        }
        let rest = dispatcher.begin(step);
        let rest = task::spawn_local(async move {
            // Nobody listens any more when the swap was given up.
            let _ = done.send(rest.await);
        });
        waiting = Some(rest.abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_broken_off_is_told_also_where_a_thread_could_not_do_its_step() {
        let failed = |why: &str| Err(why.to_owned());
        let mut all = (0, Ok(()));
        for thread in [(2, Ok(())), (1, failed("first")), (3, Ok(())), (4, failed("second"))] {
            add(&mut all, thread);
        }
        assert_eq!(all, (10, failed("first")));
    }
}
