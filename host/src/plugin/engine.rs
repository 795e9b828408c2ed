//! The one Wasmtime engine of the process, and the clock by which it interrupts guests.

use std::{thread, time::Duration};

use wasmtime::{Config, Engine};

/// How often guests that compute are interrupted, to let others run and to be counted.
pub const TICK: Duration = Duration::from_millis(5);

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
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    })?;
    Ok(engine)
}
