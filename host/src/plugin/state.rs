//! What a plugin's store holds beside the guest: what it was lent, and what is left of its allowance.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_io::IoView;

use super::{turns::Turns, usage::Limiter};
use crate::capabilities::{Lent, LentView};

/// The state of a plugin's store.
pub struct State {
    pub(super) lent: Lent,
    pub(super) limiter: Limiter,
    /// How long the present call may compute.
    pub(super) computing_max: Duration,
    /// How long it may still do so.
    pub(super) computing_left: Duration,
    /// Since when it is not known whether it has computed.
    pub(super) computing_since: Instant,
    /// Whether it is in a function of the host.
    pub(super) is_in_host: bool,
    /// Whose turn it is to compute on this thread.
    pub(super) turns: Arc<Turns>,
    /// Whether the present call waits for its own.
    pub(super) takes_turns: bool,
    /// The exported function that is called.
    pub(super) function: &'static str,
    /// Functions of the host that the present call may still call.
    pub(super) host_calls_left: u32,
}

impl State {
    /// Notes for how long the present call has computed, and says whether it must stop.
    pub(super) fn has_computed_enough(&self) -> bool {
        self.turns.note(self.computing_max.saturating_sub(self.computing_left));
        self.computing_left.is_zero()
    }
}

impl IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        self.lent.table()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.lent.wasi()
    }
}

impl LentView for State {
    fn lent(&mut self) -> &mut Lent {
        &mut self.lent
    }
}
