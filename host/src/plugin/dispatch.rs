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

use crate::bindings::optional::exports::tally::counter::entries::Page;

use super::{
    call::{CallError, Operation},
    loader::Plugin,
    pool::Pool,
};

/// How much longer than a swap may pause calls one waits for the gate: the swap opens it by itself, and
/// if it can't any more, no call waits for ever.
const GATE_WAIT_EXTRA: Duration = Duration::from_secs(1);

/// What a swap asks of each thread.
#[derive(Clone)]
pub enum Step {
    /// Make a pool of this plugin and an instance in it; nothing is served with it yet.
    Prepare(Arc<Plugin>),
    /// Hold back calls that come from now on, and say when those that came before have ended.
    Close,
    /// Let go of what was prepared, and let calls go on as before.
    Abandon,
    /// Serve with what was prepared, from now on, and say when the calls of the plugin before have
    /// ended. Those that take longer than this are cut off.
    Publish(Duration),
}

/// A step, and where to say how it went.
struct Order {
    step: Step,
    done: oneshot::Sender<Result<(), String>>,
}

/// All threads that call the plugin, as a swap sees them.
pub struct Threads {
    orders: Vec<mpsc::UnboundedSender<Order>>,
}

/// The place of one thread among them, taken by its dispatcher.
pub struct Seat {
    plugin: Arc<Plugin>,
    pause_max: Duration,
    /// Unbounded, but a swap waits for the end of a step before it sends the next, or gives up.
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Threads {
    /// Places for `count` threads that begin with `plugin`. `pause_max` bounds how long they hold calls
    /// back.
    pub fn new(plugin: &Arc<Plugin>, count: usize, pause_max: Duration) -> (Self, Vec<Seat>) {
        let (orders, seats) = (0..count)
            .map(|_| {
                let (sender, orders) = mpsc::unbounded_channel();
                (sender, Seat { plugin: plugin.clone(), pause_max, orders })
            })
            .unzip();
        (Self { orders }, seats)
    }

    /// Has all threads do `step`, and waits until the last one has.
    ///
    /// # Errors
    ///
    /// Why one could not; the others may have done it.
    pub async fn all(&self, step: Step) -> Result<(), String> {
        let mut pending = Vec::new();
        for orders in &self.orders {
            let (done, outcome) = oneshot::channel();
            let order = Order { step: step.clone(), done };
            orders.send(order).map_err(|_| stopping())?;
            pending.push(outcome);
        }
        let mut outcome = Ok(());
        for done in pending {
            outcome = outcome.and(done.await.unwrap_or_else(|_| Err(stopping())));
        }
        outcome
    }
}

fn stopping() -> String {
    "the host is stopping".into()
}

/// The active plugin, as one thread calls it. It belongs to a
/// [`LocalSet`](tokio::task::LocalSet) or a local runtime.
pub struct Dispatcher {
    pool: RefCell<Rc<Pool>>,
    prepared: RefCell<Option<Rc<Pool>>>,
    gate: Gate,
    /// The task that does the steps, which ends with the dispatcher.
    obeys: RefCell<Option<AbortHandle>>,
}

/// Holds calls back while it is closed.
struct Gate {
    closed: Cell<bool>,
    opened: Notify,
    wait_max: Duration,
}

impl Dispatcher {
    /// Takes a place.
    pub fn start(seat: Seat) -> Rc<Self> {
        let this = Rc::new(Self {
            pool: RefCell::new(Pool::new(seat.plugin)),
            prepared: RefCell::default(),
            gate: Gate {
                closed: Cell::new(false),
                opened: Notify::new(),
                wait_max: seat.pause_max + GATE_WAIT_EXTRA,
            },
            obeys: RefCell::default(),
        });
        let obeys = task::spawn_local(obey(Rc::downgrade(&this), seat.orders));
        this.obeys.replace(Some(obeys.abort_handle()));
        this
    }

    /// The instances of the active plugin on this thread.
    pub fn pool(&self) -> Rc<Pool> {
        self.pool.borrow().clone()
    }

    /// Calls the active plugin.
    ///
    /// # Errors
    ///
    /// Any [`CallError`].
    pub async fn call(&self, operation: Operation, key: &str) -> Result<i64, CallError> {
        self.pass().await?;
        self.pool().call(operation, key).await
    }

    /// Lists counters of the active plugin; see [`Pool::list`].
    ///
    /// # Errors
    ///
    /// Any [`CallError`].
    pub async fn list(&self, cursor: Option<String>, entries_max: u32) -> Result<Page, CallError> {
        self.pass().await?;
        self.pool().list(cursor, entries_max).await
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
        timeout(gate.wait_max, opened).await.map_err(|_| CallError::HeldBackTooLong)
    }

    /// Begins a step; the future that is returned ends with it.
    async fn obey(self: Rc<Self>, step: Step) -> Result<(), String> {
        match step {
            Step::Prepare(plugin) => {
                let pool = Pool::after(plugin, &self.pool());
                pool.warm_up().await.map_err(|error| error.to_string())?;
                self.prepared.replace(Some(pool));
            }
            Step::Close => {
                self.gate.closed.set(true);
                self.pool().drained().await;
            }
            Step::Abandon => {
                self.prepared.take();
                self.gate.open();
            }
            Step::Publish(drain_max) => {
                let prepared = self.prepared.take().ok_or("nothing was prepared")?;
                let before = self.pool.replace(prepared);
                self.gate.open();
                if timeout(drain_max, before.drained()).await.is_err() {
                    before.cut_off();
                    before.drained().await;
                }
            }
        }
        Ok(())
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

/// Does the steps that come, each in a task of its own: while one waits for calls to end, the swap may
/// give up and send the next.
async fn obey(dispatcher: Weak<Dispatcher>, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(Order { step, done }) = orders.recv().await {
        let Some(dispatcher) = dispatcher.upgrade() else {
            return;
        };
        task::spawn_local(async move {
            // Nobody waits any more when the swap was given up.
            let _ = done.send(dispatcher.obey(step).await);
        });
    }
}
