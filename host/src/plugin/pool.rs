//! The instances of one plugin on one thread, and the calls that wait for them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task,
    time::timeout,
};

use super::{
    call::{CallError, Operation, TrapReason},
    instance::Instance,
    loader::Plugin,
};
use crate::capabilities::{OnThread, directory::LazyDirectory};

/// How many times the longest call a call may go on whose caller has stopped waiting. By then it is
/// not a slow step that is waited for but one that never ends, such as a plugin that sleeps.
const UNHEARD_CALL_TIME_FACTOR: u32 = 10;

/// Instances that are made when they are needed and kept for the next call.
///
/// A pool belongs to one thread and needs no lock. The thread runs a
/// [`LocalSet`](tokio::task::LocalSet) or a local runtime.
pub struct Pool {
    plugin: Arc<Plugin>,
    shared: OnThread,
    idle: RefCell<Vec<Instance>>,
    /// A permit for each instance that may exist.
    slots: Arc<Semaphore>,
    queued: Cell<u32>,
    /// For one tick at a time: two could overwrite each other's work.
    tick_turn: Arc<Semaphore>,
    /// Calls that were begun, or wait for a slot, and have not ended; those that never wait aside.
    under_way: Rc<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    calls: Cell<usize>,
    ended: Notify,
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
            idle: RefCell::default(),
            slots,
            queued: Cell::new(0),
            tick_turn: Arc::new(Semaphore::new(1)),
            under_way: Rc::default(),
        })
    }

    /// Makes an instance, so that the first call need not.
    ///
    /// # Errors
    ///
    /// [`CallError::NoInstance`].
    pub async fn warm_up(&self) -> Result<(), CallError> {
        let instance = self.instance().await?;
        self.idle.borrow_mut().push(instance);
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
        if !self.plugin.waits() {
            return self.call_prompt(operation, key.to_owned());
        }
        let key = key.to_owned();
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
        let this = self.clone();
        let call_time = self.plugin.limits.call_time();
        let call = task::spawn_local(async move {
            let _held = (under_way, slot);
            let done = this.on_instance(work);
            match timeout(call_time * UNHEARD_CALL_TIME_FACTOR, done).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    tracing::warn!(
                        plugin = this.plugin.name(),
                        "a call that did not end was cut off"
                    );
                    Err(CallError::TimedOut)
                }
            }
        });
        match timeout(call_time, call).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(CallError::Trapped(TrapReason::Other)),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// The right to tick; none where the tick before goes on for longer than a call may.
    pub(super) async fn tick_turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = self.tick_turn.clone().acquire_owned();
        timeout(self.plugin.limits.call_time(), turn).await.ok()?.ok()
    }

    /// Such calls never overlap on one thread, so one instance serves them all.
    fn call_prompt(&self, operation: Operation, key: String) -> Result<i64, CallError> {
        let mut instance = match self.take_idle() {
            Some(instance) => instance,
            None => Instance::new_prompt(self.plugin.clone(), &self.shared)?,
        };
        let answer = instance.call_prompt(operation, key);
        self.put_back(instance, &answer);
        answer
    }

    async fn on_instance<T>(
        &self,
        work: impl AsyncFnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut instance = self.instance().await?;
        let answer = work(&mut instance).await;
        self.put_back(instance, &answer);
        match answer {
            Err(error) if error.is_of_storage() => Err(self.explain(error).await),
            answer => answer,
        }
    }

    /// Says why files can't be written, where the plugin has some and that is so.
    async fn explain(&self, error: CallError) -> CallError {
        match self.of_directory(LazyDirectory::look_for_room).await {
            Some(Err(errno)) => error.because(errno),
            _ => error,
        }
    }

    /// Whether there is room for new files, for a plugin that has some.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn check_room(&self) -> Result<(), String> {
        self.of_directory(LazyDirectory::check_room).await.unwrap_or(Ok(()))
    }

    /// Looks at the directory that the plugin is lent, if it is, on a thread that serves nobody.
    async fn of_directory<T: Send + 'static>(
        &self,
        look: impl FnOnce(&LazyDirectory) -> T + Send + 'static,
    ) -> Option<T> {
        self.plugin.grants.directory.as_ref()?;
        let plugin = self.plugin.clone();
        let looking = task::spawn_blocking(move || plugin.grants.directory.as_ref().map(look));
        looking.await.ok().flatten()
    }

    /// An idle instance, or a new one.
    async fn instance(&self) -> Result<Instance, CallError> {
        match self.take_idle() {
            Some(instance) => Ok(instance),
            None if self.plugin.waits() => Instance::new(self.plugin.clone(), &self.shared).await,
            None => Instance::new_prompt(self.plugin.clone(), &self.shared),
        }
    }

    fn take_idle(&self) -> Option<Instance> {
        self.idle.borrow_mut().pop()
    }

    /// Keeps an instance for the next call. One that broke off is dropped, and all that it held.
    fn put_back<T>(&self, instance: Instance, answer: &Result<T, CallError>) {
        let is_sound =
            matches!(answer, Ok(_) | Err(CallError::Refused(_) | CallError::InvalidCursor(_)));
        if is_sound && !instance.is_used_up() {
            self.idle.borrow_mut().push(instance);
        }
    }

    fn begin(&self) -> CallUnderWay {
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
        match timeout(self.plugin.limits.call_time(), self.slots.clone().acquire_owned()).await {
            Ok(slot) => Ok(slot.expect("the semaphore is never closed")),
            Err(_) => Err(CallError::QueuedTooLong),
        }
    }
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
struct CallUnderWay(Rc<UnderWay>);

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        let calls = self.0.calls.get() - 1;
        self.0.calls.set(calls);
        if calls == 0 {
            self.0.ended.notify_waiters();
        }
    }
}
