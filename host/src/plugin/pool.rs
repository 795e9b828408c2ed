//! The instances of one plugin on one thread, and the calls that wait for them.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    select,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::{self, JoinError, JoinHandle},
    time::{Instant, timeout},
};

use super::{
    call::{CallError, Operation, TrapReason},
    instance::Instance,
    loader::Plugin,
    turns::Turns,
};
use crate::capabilities::OnThread;

/// How many times the longest call a call may go on whose caller has stopped waiting. By then it is
/// not a slow step that is waited for but one that never ends, such as a plugin that sleeps.
const UNHEARD_CALL_TIME_FACTOR: u32 = 10;

/// How long a call may be allowed to compute that can't be suspended, and so holds its thread.
const PROMPT_CALL_CPU_MAX: Duration = Duration::from_millis(50);

/// Whether a call waits for its turn at computing, as all do but the look at the storage.
pub(super) const TAKES_TURNS: bool = true;

/// How long a call waits before it is begun, while calls compute for long. Those that wait for longer are shed.
const OVERLOAD_WAIT_MAX: Duration = Duration::from_secs(1);

/// How many calls were broken off, and why not all of them.
pub type BrokenOff = (usize, Result<(), String>);

/// How long calls that are broken off may take to end, which they do when their thread comes to it.
pub const BREAK_OFF_TIME_MAX: Duration = Duration::from_secs(5);

/// Instances that are made when they are needed and kept for the next call.
///
/// A pool belongs to one thread and needs no lock. The thread runs a
/// [`LocalSet`](tokio::task::LocalSet) or a local runtime.
pub struct Pool {
    plugin: Arc<Plugin>,
    shared: OnThread,
    turns: Arc<Turns>,
    /// For the calls that can't be suspended, which never overlap.
    prompt: RefCell<Option<Instance>>,
    /// For all others.
    idle: RefCell<Vec<Instance>>,
    /// A permit for each instance that may exist.
    slots: Arc<Semaphore>,
    queued: Cell<u32>,
    /// For one tick at a time: two could overwrite each other's work.
    tick_turn: Arc<Semaphore>,
    /// Calls that were begun, or wait for a slot, and have not ended; those that never wait aside.
    under_way: Rc<UnderWay>,
    /// The look at the storage that has not ended.
    pub(super) looking: RefCell<Option<Look>>,
}

#[derive(Default)]
struct UnderWay {
    calls: Cell<usize>,
    ended: Notify,
    /// Tells those that are under way to break off.
    breaking_off: Arc<Notify>,
    /// How many have.
    broken_off: Cell<usize>,
}

/// A look at the storage, and what came of it.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) began: Instant,
    pub(super) outcome: watch::Receiver<Option<Result<i64, String>>>,
}

impl Pool {
    /// An empty pool.
    pub fn new(plugin: Arc<Plugin>) -> Rc<Self> {
        Self::beside(plugin, None)
    }

    /// An empty pool of a plugin that follows the one in `before` on this thread, with whose
    /// connections it goes on if they lead to the same place.
    pub fn after(plugin: Arc<Plugin>, before: &Self) -> Rc<Self> {
        Self::beside(plugin, Some(&before.shared))
    }

    fn beside(plugin: Arc<Plugin>, before: Option<&OnThread>) -> Rc<Self> {
        let slots = Arc::new(Semaphore::new(plugin.limits.instances_per_worker_max as usize));
        let shared = plugin.grants.on_thread(before);
        Rc::new(Self {
            plugin,
            shared,
            turns: Arc::default(),
            prompt: RefCell::default(),
            idle: RefCell::default(),
            slots,
            queued: Cell::new(0),
            tick_turn: Arc::new(Semaphore::new(1)),
            under_way: Rc::default(),
            looking: RefCell::default(),
        })
    }

    /// Makes an instance, so that the first call need not.
    ///
    /// # Errors
    ///
    /// [`CallError::NoInstance`].
    pub async fn warm_up(&self) -> Result<(), CallError> {
        if self.is_prompt() {
            let instance = self.prompt_instance()?;
            self.prompt.replace(Some(instance));
        } else {
            let instance = self.instance(TAKES_TURNS).await?;
            self.idle.borrow_mut().push(instance);
        }
        Ok(())
    }

    /// Waits until the storage can be written to, where that takes its time at first, within a bound of
    /// the storage's own. Calls made before are refused where it does not come in time.
    ///
    /// # Errors
    ///
    /// Why it can't be.
    pub async fn wait_for_storage(&self) -> anyhow::Result<()> {
        self.plugin.grants.wait_for_storage(&self.shared).await
    }

    /// Waits until no call is under way, those included whose callers have left.
    pub async fn drained(&self) {
        while self.under_way.calls.get() > 0 {
            self.under_way.ended.notified().await;
        }
    }

    /// Breaks off the calls under way, refuses those that wait for an instance, and says how many of the
    /// former there were. What they held is let go; work that a thread does for them already, such as a
    /// write to a file, may still be done afterwards.
    ///
    /// It fails where some have not ended within [`BREAK_OFF_TIME_MAX`].
    pub async fn break_off(&self) -> BrokenOff {
        let before = self.under_way.broken_off.get();
        self.under_way.breaking_off.notify_waiters();
        let ended = timeout(BREAK_OFF_TIME_MAX, self.drained()).await.map_err(|_| {
            let name = self.plugin.name();
            format!("calls of {name} did not end within {BREAK_OFF_TIME_MAX:?} of being broken off")
        });
        (self.under_way.broken_off.get() - before, ended)
    }

    /// The plugin that is called.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Calls the plugin with an instance of its own.
    ///
    /// # Errors
    ///
    /// Any [`CallError`].
    pub async fn call(self: &Rc<Self>, operation: Operation, key: &str) -> Result<i64, CallError> {
        let key = key.to_owned();
        let mut _waits = None;
        if self.is_prompt() && !self.turns.is_free() {
            // A swap waits for it.
            _waits = Some(self.begin());
            self.in_time(self.turns.take()).await?;
        }
        if self.is_prompt() {
            return self.call_prompt(operation, key);
        }
        self.with_instance(async move |instance| instance.call(operation, key).await).await
    }

    /// Has an instance do something that may wait, in a task that runs to its end even when the caller
    /// has left or is told that it took too long: cut off between two steps, it would let go of a lock
    /// while a write is still on its way.
    ///
    /// # Errors
    ///
    /// Those of `work`, and those of getting an instance.
    pub(super) async fn with_instance<T: 'static>(
        self: &Rc<Self>,
        work: impl AsyncFnOnce(&mut Instance) -> Result<T, CallError> + 'static,
    ) -> Result<T, CallError> {
        let under_way = self.begin();
        let slot = self.slot().await?;
        let call = self.run((under_way, slot), TAKES_TURNS, work);
        match timeout(self.plugin.limits.call_time(), call).await {
            Ok(outcome) => ended(outcome),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Has an instance do `work` in a task that keeps what is `held`, until it ends, or has to break off.
    pub(super) fn run<T: 'static>(
        self: &Rc<Self>,
        held: impl Sized + 'static,
        takes_turns: bool,
        work: impl AsyncFnOnce(&mut Instance) -> Result<T, CallError> + 'static,
    ) -> JoinHandle<Result<T, CallError>> {
        let this = self.clone();
        // It hears of what is said from now on.
        let told_to_break_off = self.under_way.breaking_off.clone().notified_owned();
        task::spawn_local(async move {
            let _held = held;
            let time_max = this.plugin.limits.call_time() * UNHEARD_CALL_TIME_FACTOR;
            select! {
                biased;
                outcome = timeout(time_max, this.on_instance(takes_turns, work)) => outcome.unwrap_or_else(|_| {
                    let why = format!("it did not end within {time_max:?}, and was cut off");
                    this.plugin.log_break("", &why);
                    Err(CallError::TimedOut)
                }),
                () = told_to_break_off => {
                    this.under_way.broken_off.update(|calls| calls + 1);
                    Err(CallError::BrokenOff)
                }
            }
        })
    }

    /// The right to tick, which a swap waits for; none where the tick before goes on for longer than a call may.
    ///
    /// # Errors
    ///
    /// [`CallError::HeldBackTooLong`] where it is broken off.
    pub(super) async fn tick_turn(&self) -> Result<Option<OwnedSemaphorePermit>, CallError> {
        let _under_way = self.begin();
        match self.in_time(self.tick_turn.clone().acquire_owned()).await {
            Err(CallError::QueuedTooLong) => Ok(None),
            turn => Ok(turn?.ok()),
        }
    }

    /// Whether calls are made straight away: they never wait, are not allowed to compute for longer than a
    /// thread may be held, and did not do so of late. Those that did are suspended at each tick.
    pub(super) fn is_prompt(&self) -> bool {
        !self.plugin.waits()
            && self.plugin.limits.call_cpu() <= PROMPT_CALL_CPU_MAX
            && !self.turns.expect_long_calls()
    }

    /// Such calls never overlap on one thread, so one instance serves them all.
    pub(super) fn call_prompt(&self, operation: Operation, key: String) -> Result<i64, CallError> {
        let idle = self.prompt.take();
        let mut instance = idle.map_or_else(|| self.prompt_instance(), Ok)?;
        let answer = instance.call_prompt(operation, key);
        if is_sound(&instance, &answer) {
            self.prompt.replace(Some(instance));
        }
        answer
    }

    fn prompt_instance(&self) -> Result<Instance, CallError> {
        Instance::new_prompt(self.plugin.clone(), &self.shared, &self.turns)
    }

    async fn on_instance<T>(
        &self,
        takes_turns: bool,
        work: impl AsyncFnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        if takes_turns {
            self.turns.take().await;
        }
        let mut instance = self.instance(takes_turns).await?;
        let answer = work(&mut instance).await;
        // One that broke off is dropped, and all that it held.
        if is_sound(&instance, &answer) {
            self.idle.borrow_mut().push(instance);
        }
        match answer {
            Err(error) if error.is_of_storage() => Err(self.explain(error).await),
            answer => answer,
        }
    }

    /// An idle instance, or a new one.
    async fn instance(&self, takes_turns: bool) -> Result<Instance, CallError> {
        match self.take_idle() {
            Some(instance) => Ok(instance),
            None => {
                let plugin = self.plugin.clone();
                Instance::new(plugin, &self.shared, &self.turns, takes_turns).await
            }
        }
    }

    fn take_idle(&self) -> Option<Instance> {
        self.idle.borrow_mut().pop()
    }

    pub(super) fn begin(&self) -> CallUnderWay {
        self.under_way.calls.set(self.under_way.calls.get() + 1);
        CallUnderWay(self.under_way.clone())
    }

    /// The right to use an instance, waited for in a queue of limited length.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, CallError> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        if self.queued.get() >= self.plugin.limits.queued_calls_per_worker_max {
            return Err(CallError::QueueFull);
        }
        let _queued = Queued::new(&self.queued);
        let slot = self.in_time(self.slots.clone().acquire_owned()).await?;
        Ok(slot.expect("the semaphore is never closed"))
    }

    /// Waits for what a call needs before it can begin, for no longer than it may.
    async fn in_time<T>(&self, what: impl Future<Output = T>) -> Result<T, CallError> {
        let mut time_left = self.plugin.limits.call_time();
        let mut what = pin!(what);
        let waiting = async {
            loop {
                let some_time = time_left.min(OVERLOAD_WAIT_MAX);
                if let Ok(got) = timeout(some_time, &mut what).await {
                    return Ok(got);
                }
                time_left -= some_time;
                if time_left.is_zero() || self.turns.expect_long_calls() {
                    return Err(CallError::QueuedTooLong);
                }
            }
        };
        select! {
            biased;
            () = self.under_way.breaking_off.notified() => Err(CallError::HeldBackTooLong),
            got = waiting => got,
        }
    }
}

/// Whether an instance is as good as new.
fn is_sound<T>(instance: &Instance, answer: &Result<T, CallError>) -> bool {
    matches!(answer, Ok(_) | Err(CallError::Refused(_) | CallError::InvalidCursor(_)))
        && !instance.is_used_up()
}

/// What the task of a call has brought.
pub(super) fn ended<T>(outcome: Result<Result<T, CallError>, JoinError>) -> Result<T, CallError> {
    outcome.unwrap_or(Err(CallError::Trapped(TrapReason::Other)))
}

/// Counts one waiting call, for as long as it lives.
struct Queued<'a>(&'a Cell<u32>);

impl<'a> Queued<'a> {
    fn new(queued: &'a Cell<u32>) -> Self {
        queued.set(queued.get() + 1);
        Self(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One call that is under way, for as long as it lives.
pub(super) struct CallUnderWay(Rc<UnderWay>);

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        let calls = self.0.calls.get() - 1;
        self.0.calls.set(calls);
        if calls == 0 {
            self.0.ended.notify_waiters();
        }
    }
}
