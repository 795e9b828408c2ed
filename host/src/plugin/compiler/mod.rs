//! Has plugins compiled where a hostile one costs no more than was set.
//!
//! The compiler is no sandbox: a small component can keep it busy for hours, fill the memory, or overflow its stack. So the
//! programs compile in a process of their own, which is killed when it takes too long or too much, and whose memory goes
//! with it.

mod child;
mod process;

pub use child::compile_if_asked;

use wasmtime::Engine;

use super::{compiled, limits::PluginLimits};

/// Where plugins are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// In a child process within limits, which is this program again: its `main` begins with [`compile_if_asked`].
    Child,
    /// In this process and without limits, for trusted plugins in programs that have another `main`, such as tests.
    InThisProcess,
}

impl Compiler {
    /// `wasm`, compiled for `engine` under `name`, as `compiled::load` takes it.
    ///
    /// # Errors
    ///
    /// Why it does not compile, or which limit it passed and which setting raises that.
    pub fn compile(
        self,
        engine: &Engine,
        wasm: &[u8],
        limits: &PluginLimits,
    ) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Child => process::compile(wasm, limits),
            Self::InThisProcess => compiled::compile(engine, wasm),
        }
    }
}
