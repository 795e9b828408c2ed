//! One instance of a plugin in a store of its own, called within limits.

use std::{
    fmt, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task;
use wasmtime::{
    CallHook, Store, StoreLimitsBuilder, Trap, UpdateDeadline,
    component::{self, ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc},
};

use super::{
    call::{CallError, Operation, TrapReason},
    engine::TICK,
    loader::Plugin,
    state::State,
    turns::Turns,
    usage::Limiter,
};
use crate::{bindings::exports::tally::counter::counter::Error, capabilities::OnThread};

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

/// How many times the allowance of a call one has that lists or writes many counters.
const BULK_FACTOR: u32 = 100;

/// Calls that one instance serves before a fresh one takes its place, so that a plugin that leaks
/// memory slowly does not run into its limit.
const CALLS_PER_INSTANCE_MAX: u32 = 1_000_000;

/// An instance that waits for its next call. Once a call failed it must not be used again.
pub struct Instance {
    plugin: Arc<Plugin>,
    store: Store<State>,
    instance: component::Instance,
    increment: TypedFunc<(String, i64), (Result<i64, Error>,)>,
    get: TypedFunc<(String,), (Result<i64, Error>,)>,
    reset: TypedFunc<(String,), (Result<(), Error>,)>,
    calls_left: u32,
}

impl Instance {
    /// Makes an instance whose calls can be suspended.
    /// Its start-up code runs within the limits of one call.
    ///
    /// # Errors
    ///
    /// [`CallError::NoInstance`].
    pub async fn new(
        plugin: Arc<Plugin>,
        shared: &OnThread,
        turns: &Arc<Turns>,
        takes_turns: bool,
    ) -> Result<Self, CallError> {
        let made = async {
            let mut store = store(&plugin, shared, turns)?;
            store.data_mut().takes_turns = takes_turns;
            yield_while_computing(&mut store);
            account_for_host_calls(&mut store, plugin.waits());
            let instance = plugin.pre.instance_pre().instantiate_async(&mut store).await?;
            Self::with_exports(plugin, store, &instance)
        };
        made.await.map_err(|error| CallError::no_instance(&error))
    }

    /// Makes an instance whose calls can't be suspended, of a plugin that never waits.
    ///
    /// # Errors
    ///
    /// [`CallError::NoInstance`].
    pub fn new_prompt(
        plugin: Arc<Plugin>,
        shared: &OnThread,
        turns: &Arc<Turns>,
    ) -> Result<Self, CallError> {
        let made = || {
            let mut store = store(&plugin, shared, turns)?;
            stop_when_allowance_is_used_up(&mut store);
            let instance = plugin.pre.instance_pre().instantiate(&mut store)?;
            Self::with_exports(plugin, store, &instance)
        };
        made().map_err(|error| CallError::no_instance(&error))
    }

    fn with_exports(
        plugin: Arc<Plugin>,
        mut store: Store<State>,
        instance: &component::Instance,
    ) -> anyhow::Result<Self> {
        if let Some(unfinished) = store.data().lent.unfinished() {
            let why = TrapReason::Unfinished(unfinished);
            anyhow::bail!("its start-up code broke off: {why}");
        }
        let [increment, get, reset] = plugin.exports.counter;
        Ok(Self {
            increment: instance.get_typed_func(&mut store, increment)?,
            get: instance.get_typed_func(&mut store, get)?,
            reset: instance.get_typed_func(&mut store, reset)?,
            instance: *instance,
            plugin,
            store,
            calls_left: CALLS_PER_INSTANCE_MAX,
        })
    }

    /// Calls an instance of [`Self::new`].
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`], after which the instance is as good as new, and
    /// [`CallError::Trapped`], after which it must be dropped.
    pub async fn call(&mut self, operation: Operation, key: String) -> Result<i64, CallError> {
        self.begin_call(operation.function());
        let store = &mut self.store;
        let answer = match operation {
            Operation::Increment(delta) => self.increment.call_async(store, (key, delta)).await,
            Operation::Get => self.get.call_async(store, (key,)).await,
            Operation::Reset => self.reset.call_async(store, (key,)).await.map(as_zero),
        };
        self.end_call(answer)
    }

    /// Reads a counter without waiting for a turn at computing, which only one call at a time may do.
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub async fn look(&mut self, key: String) -> Result<i64, CallError> {
        self.begin_call("get");
        self.store.data_mut().takes_turns = false;
        let answer = self.get.call_async(&mut self.store, (key,)).await;
        self.end_call(answer)
    }

    /// Calls an instance of [`Self::new_prompt`].
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn call_prompt(&mut self, operation: Operation, key: String) -> Result<i64, CallError> {
        self.begin_call(operation.function());
        let store = &mut self.store;
        let answer = match operation {
            Operation::Increment(delta) => self.increment.call(store, (key, delta)),
            Operation::Get => self.get.call(store, (key,)),
            Operation::Reset => self.reset.call(store, (key,)).map(as_zero),
        };
        self.end_call(answer)
    }

    /// Calls a function that is called so rarely that it is looked up each time.
    ///
    /// It handles many counters at a time, and so is given a larger allowance.
    pub(super) async fn invoke<P, R>(
        &mut self,
        (name, function): (&'static str, ComponentExportIndex),
        params: P,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower + 'static,
        R: Lift + component::ComponentType + Send + Sync + 'static,
        (R,): ComponentNamedList + Lift,
    {
        let found = self.instance.get_typed_func::<P, (R,)>(&mut self.store, function);
        let function = found.map_err(|error| {
            CallError::no_instance(&error.context("its exports are not what Tally calls").into())
        })?;
        self.begin_call(name);
        let state = self.store.data_mut();
        state.host_calls_left = state.host_calls_left.saturating_mul(BULK_FACTOR);
        state.computing_max *= BULK_FACTOR;
        state.computing_left = state.computing_max;
        let answer = function.call_async(&mut self.store, params).await;
        self.judge(answer.map(|(answer,)| answer))
    }

    /// Whether it has served as many calls as an instance may.
    pub fn is_used_up(&self) -> bool {
        self.calls_left == 0
    }

    fn begin_call(&mut self, function: &'static str) {
        self.calls_left = self.calls_left.saturating_sub(1);
        refill(&mut self.store, &self.plugin);
        self.store.data_mut().function = function;
    }

    fn end_call(
        &mut self,
        answer: wasmtime::Result<(Result<i64, Error>,)>,
    ) -> Result<i64, CallError> {
        self.judge(answer)?.0.map_err(CallError::refused)
    }

    /// That the plugin broke the contract with its answer, in which way `why` says.
    pub(super) fn break_of_contract(&self, why: &str) -> CallError {
        self.plugin.log_break(self.store.data().function, why);
        CallError::Trapped(TrapReason::Contract)
    }

    /// Whether the guest returned in good order, whatever its answer.
    fn judge<T>(&mut self, answer: wasmtime::Result<T>) -> Result<T, CallError> {
        let state = self.store.data_mut();
        let (reason, why) = match answer {
            Ok(answer) => match state.lent.unfinished() {
                None => return Ok(answer),
                // Whatever it says: what it did in a transaction is undone with the instance.
                Some(unfinished) => {
                    let reason = TrapReason::Unfinished(unfinished);
                    (reason, reason.to_string())
                }
            },
            Err(error) => {
                let said = state.lent.last_words.take();
                let panicked = said.map(|said| format!("it panicked: {said}"));
                let reason = self.reason_of(&error, panicked.is_some());
                let why = match (reason, panicked) {
                    (TrapReason::Panic, Some(panicked)) => panicked,
                    (TrapReason::Memory { .. }, Some(panicked)) => format!("{reason}; {panicked}"),
                    (TrapReason::Memory { .. }, None) => reason.to_string(),
                    _ => format!("{error:#}"),
                };
                (reason, why)
            }
        };
        self.plugin.log_break(self.store.data().function, &why);
        Err(CallError::Trapped(reason))
    }

    fn reason_of(&self, error: &wasmtime::Error, panicked: bool) -> TrapReason {
        if error.is::<HostCallsExceeded>() {
            return TrapReason::HostCalls;
        }
        match (error.downcast_ref::<Trap>(), self.store.data().limiter.refused_bytes) {
            (Some(Trap::Interrupt), _) => TrapReason::CpuTime,
            (Some(Trap::StackOverflow), _) => TrapReason::StackOverflow,
            // A guest that gets no memory gives up by itself, each language in its own way.
            (Some(Trap::UnreachableCodeReached), Some(asked)) => {
                TrapReason::Memory { asked, allowed: self.plugin.limits.memory_bytes_max() }
            }
            _ if panicked => TrapReason::Panic,
            _ => TrapReason::Other,
        }
    }
}

fn as_zero((answer,): (Result<(), Error>,)) -> (Result<i64, Error>,) {
    (answer.map(|()| 0),)
}

/// A store with what the plugin is lent, and its limits.
fn store(plugin: &Plugin, shared: &OnThread, turns: &Arc<Turns>) -> anyhow::Result<Store<State>> {
    let memory_bytes_max = plugin.limits.memory_bytes_max();
    let limits = StoreLimitsBuilder::new()
        .memory_size(memory_bytes_max)
        .table_elements(TABLE_ELEMENTS_MAX)
        .instances(CORE_INSTANCES_MAX)
        .memories(MEMORIES_MAX)
        .tables(TABLES_MAX)
        .build();
    let state = State {
        lent: plugin.grants.lend(shared)?,
        limiter: Limiter::new(limits, memory_bytes_max, plugin.usage.clone()),
        computing_max: Duration::ZERO,
        computing_left: Duration::ZERO,
        computing_since: Instant::now(),
        is_in_host: false,
        turns: turns.clone(),
        takes_turns: true,
        function: "",
        host_calls_left: 0,
    };
    let mut store = Store::new(plugin.pre.engine(), state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    store.set_max_component_handles(HANDLES_MAX);
    refill(&mut store, plugin);
    Ok(store)
}

/// Lets the event loop run at each tick of the engine's clock, until the call's allowance is used up.
fn yield_while_computing(store: &mut Store<State>) {
    store.epoch_deadline_callback(|store| {
        let state = store.data();
        if state.has_computed_enough() {
            return Ok(UpdateDeadline::Interrupt);
        }
        let (turns, takes_turns) = (state.turns.clone(), state.takes_turns);
        let turn =
            async move { if takes_turns { turns.take().await } else { task::yield_now().await } };
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(turn)))
    });
}

/// As [`yield_while_computing`], for calls that can't be suspended: each tick is one of computing.
fn stop_when_allowance_is_used_up(store: &mut Store<State>) {
    store.epoch_deadline_callback(|mut store| {
        let state = store.data_mut();
        if state.has_computed_enough() {
            return Ok(UpdateDeadline::Interrupt);
        }
        state.computing_left = state.computing_left.saturating_sub(TICK);
        Ok(UpdateDeadline::Continue(1))
    });
}

/// Bounds the calls of the host, and counts the time between them as computing; waiting inside one,
/// or for the event loop at a tick, is not. Where none of them `waits`, what they take is computing too.
fn account_for_host_calls(store: &mut Store<State>, waits: bool) {
    store.call_hook(move |mut store, hook| {
        let state = store.data_mut();
        let now = Instant::now();
        let since = mem::replace(&mut state.computing_since, now);
        let is_computing = match hook {
            // A function of the host enters the guest again where it needs room for what it returns.
            CallHook::CallingWasm => state.is_in_host && !waits,
            CallHook::ReturningFromHost => !waits,
            CallHook::CallingHost | CallHook::ReturningFromWasm => true,
        };
        match hook {
            CallHook::CallingHost => state.is_in_host = true,
            CallHook::ReturningFromHost => state.is_in_host = false,
            CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
        }
        if is_computing {
            // More than a tick at a time means that this thread was not running.
            let computed = now.duration_since(since).min(TICK);
            state.computing_left = state.computing_left.saturating_sub(computed);
        }
        if matches!(hook, CallHook::CallingHost) {
            state.host_calls_left =
                state.host_calls_left.checked_sub(1).ok_or(HostCallsExceeded)?;
        }
        Ok(())
    });
}

/// Gives the next call its whole allowance.
fn refill(store: &mut Store<State>, plugin: &Plugin) {
    let limits = &plugin.limits;
    let state = store.data_mut();
    state.limiter.refused_bytes = None;
    state.lent.last_words.take();
    // Where none of them waits, the time that a call may compute bounds their number.
    state.host_calls_left = if plugin.waits() { limits.host_calls_max } else { u32::MAX };
    state.computing_max = limits.call_cpu();
    state.computing_left = state.computing_max;
    state.is_in_host = false;
    state.takes_turns = true;
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
