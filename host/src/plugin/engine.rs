//! The one Wasmtime engine of the process, and the clock by which it interrupts guests.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use wasmtime::{Config, Engine};

/// How often guests that compute are interrupted, to let others run and to be counted.
pub const TICK: Duration = Duration::from_millis(5);

/// Ticks of all engines of this process; there is one, except in tests.
static TICKS: AtomicU64 = AtomicU64::new(1);

/// The number of this tick: a clock that costs next to nothing to read.
pub fn ticks() -> u64 {
    TICKS.load(Relaxed)
}

/// Has so many ticks pass.
pub(super) fn advance(ticks: u64) {
    TICKS.fetch_add(ticks, Relaxed);
}

/// What compiled code depends on.
pub fn config() -> Config {
    let mut config = Config::new();
    // A call is one entry into one instance, so the bookkeeping for concurrent ones, which makes
    // each call several times as slow, stays off.
    config.concurrency_support(false);
    config.epoch_interruption(true);
    // Backtraces are for the log only; addresses of single instructions would double the code size.
    config.generate_address_map(false);
    config
}

/// Makes the engine and starts its clock, a thread that ends when the engine is gone.
///
/// # Errors
///
/// When the machine lacks something that Wasmtime needs.
pub fn new() -> anyhow::Result<Engine> {
    let engine = Engine::new(&config())?;
    let weak = engine.weak();
    thread::Builder::new().name("epoch".into()).spawn(move || {
        while let Some(engine) = weak.upgrade() {
            // First, so that whoever is interrupted sees that a tick has passed.
            advance(1);
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    })?;
    Ok(engine)
}
