//! The instances of one plugin on one thread, and the calls that wait for them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
    time::timeout,
};

use super::{
    call::{CallError, Operation, TrapReason},
    instance::Instance,
    loader::Plugin,
};
use crate::capabilities::OnThread;

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
}

impl Pool {
    /// An empty pool.
    pub fn new(plugin: Arc<Plugin>) -> Rc<Self> {
        let slots = Arc::new(Semaphore::new(plugin.limits.instances_per_worker_max as usize));
        let shared = plugin.grants.on_thread();
        Rc::new(Self { plugin, shared, idle: RefCell::default(), slots, queued: Cell::new(0) })
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
        let slot = self.slot().await?;
        // A call that waits is a task of its own and runs to its end even when its caller has left:
        // cut off between two steps, it would let go of a lock while a write is still on its way.
        let (this, key) = (self.clone(), key.to_owned());
        let call_time = self.plugin.limits.call_time();
        let call = task::spawn_local(async move {
            let run = this.run(slot, operation, key);
            match timeout(call_time * UNHEARD_CALL_TIME_FACTOR, run).await {
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

    async fn run(
        &self,
        _slot: OwnedSemaphorePermit,
        operation: Operation,
        key: String,
    ) -> Result<i64, CallError> {
        let mut instance = match self.take_idle() {
            Some(instance) => instance,
            None => Instance::new(self.plugin.clone(), &self.shared).await?,
        };
        let answer = instance.call(operation, key).await;
        self.put_back(instance, &answer);
        answer
    }

    fn take_idle(&self) -> Option<Instance> {
        self.idle.borrow_mut().pop()
    }

    /// Keeps an instance for the next call. One that broke off is dropped, and all that it held.
    fn put_back(&self, instance: Instance, answer: &Result<i64, CallError>) {
        if matches!(answer, Ok(_) | Err(CallError::Refused(_))) && !instance.is_used_up() {
            self.idle.borrow_mut().push(instance);
        }
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
