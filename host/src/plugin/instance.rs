//! One instance of a plugin in a store of its own, called within limits.

use std::{fmt, sync::Arc};

use tokio::task;
use wasmtime::{CallHook, Store, StoreLimitsBuilder, Trap, UpdateDeadline};

use super::{
    call::{CallError, Operation, TrapReason},
    engine::TICK,
    loader::Plugin,
    state::State,
};
use crate::bindings::Contract;

/// Elements in a plugin's tables, which hold its function pointers.
const TABLE_ELEMENTS_MAX: usize = 10_000;
/// Core instances, memories and tables in one plugin.
const CORE_INSTANCES_MAX: usize = 64;
const MEMORIES_MAX: usize = 4;
const TABLES_MAX: usize = 64;
/// Bytes of strings and lists that one call of a host function can hand over.
const HOST_CALL_BYTES_MAX: usize = 1024 * 1024;
/// Handles that a plugin can have at a time.
const HANDLES_MAX: usize = 1024;

/// Calls that one instance serves before a fresh one takes its place, so that a plugin that leaks
/// memory slowly does not run into its limit.
const CALLS_PER_INSTANCE_MAX: u32 = 1_000_000;

/// An instance that waits for its next call. Once a call failed it must not be used again.
pub struct Instance {
    plugin: Arc<Plugin>,
    store: Store<State>,
    guest: Contract,
    calls_left: u32,
}

impl Instance {
    /// Makes an instance; its start-up code runs within the limits of one call.
    ///
    /// # Errors
    ///
    /// [`CallError::NoInstance`].
    pub async fn new(plugin: Arc<Plugin>) -> Result<Self, CallError> {
        match Self::try_new(plugin).await {
            Ok(instance) => Ok(instance),
            Err(error) => Err(CallError::NoInstance(format!("{error:#}"))),
        }
    }

    async fn try_new(plugin: Arc<Plugin>) -> anyhow::Result<Self> {
        let memory = StoreLimitsBuilder::new()
            .memory_size(plugin.limits.memory_bytes_max())
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(CORE_INSTANCES_MAX)
            .memories(MEMORIES_MAX)
            .tables(TABLES_MAX)
            .build();
        let state =
            State { lent: plugin.grants.lend()?, memory, ticks_left: 0, host_calls_left: 0 };
        let mut store = Store::new(plugin.pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            if state.ticks_left == 0 {
                return Ok(UpdateDeadline::Interrupt);
            }
            state.ticks_left -= 1;
            // tokio's own yield lets the event loop look for input before this goes on; a plain one
            // only lets other tasks run that are ready already.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(task::yield_now())))
        });
        store.call_hook(|mut store, hook| {
            if matches!(hook, CallHook::CallingHost) {
                let state = store.data_mut();
                state.host_calls_left =
                    state.host_calls_left.checked_sub(1).ok_or(HostCallsExceeded)?;
            }
            Ok(())
        });
        refill(&mut store, &plugin);
        let guest = plugin.pre.instantiate_async(&mut store).await?;
        Ok(Self { plugin, store, guest, calls_left: CALLS_PER_INSTANCE_MAX })
    }

    /// Calls the plugin.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`], after which the instance is as good as new, and
    /// [`CallError::Trapped`], after which it must be dropped.
    pub async fn call(&mut self, operation: Operation, key: &str) -> Result<i64, CallError> {
        self.calls_left = self.calls_left.saturating_sub(1);
        refill(&mut self.store, &self.plugin);
        let (counter, store) = (self.guest.tally_counter_counter(), &mut self.store);
        let answer = match operation {
            Operation::Increment(delta) => counter.call_increment(store, key, delta).await,
            Operation::Get => counter.call_get(store, key).await,
            Operation::Reset => {
                counter.call_reset(store, key).await.map(|answer| answer.map(|()| 0))
            }
        };
        match answer {
            Ok(answer) => answer.map_err(CallError::Refused),
            Err(error) => {
                let reason = reason_of(&error);
                tracing::warn!(plugin = self.plugin.name(), "the plugin broke off: {error:#}");
                Err(CallError::Trapped(reason))
            }
        }
    }

    /// Whether it has served as many calls as an instance may.
    pub fn is_used_up(&self) -> bool {
        self.calls_left == 0
    }
}

/// Gives the next call its whole allowance.
fn refill(store: &mut Store<State>, plugin: &Plugin) {
    let limits = &plugin.limits;
    let state = store.data_mut();
    state.host_calls_left = limits.host_calls_max;
    // The tick that is under way when the call begins counts as none.
    state.ticks_left = (u128::from(limits.call_cpu_max) / TICK.as_millis()) as u32;
    store.set_epoch_deadline(1);
}

#[derive(Debug)]
struct HostCallsExceeded;

impl fmt::Display for HostCallsExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many calls of the host")
    }
}

impl std::error::Error for HostCallsExceeded {}

fn reason_of(error: &wasmtime::Error) -> TrapReason {
    if error.is::<HostCallsExceeded>() {
        return TrapReason::HostCalls;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => TrapReason::CpuTime,
        Some(Trap::StackOverflow) => TrapReason::StackOverflow,
        _ => TrapReason::Other,
    }
}
