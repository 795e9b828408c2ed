//! Capability `file-lock`: advisory locks on files, across calls and processes.

mod flock;
mod host;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::component::{HasData, Linker, ResourceTable};

pub use flock::{FILE_LOCK, Lock, LockError, LockScope, Mode};

use super::lock_times::LockTimes;

/// What one plugin instance needs of this capability.
pub struct FileLockCtx {
    scope: Arc<LockScope>,
    /// The longest wait that a plugin can ask for.
    wait_max: Duration,
    times: LockTimes,
    /// Locks that the instance holds.
    held: u32,
}

impl FileLockCtx {
    /// Lends the locks of `scope`, and notes waits in `times`.
    pub fn new(scope: Arc<LockScope>, wait_max: Duration, times: LockTimes) -> Self {
        Self { scope, wait_max, times, held: 0 }
    }

    /// Whether the instance holds a lock.
    pub fn holds_lock(&self) -> bool {
        0 < self.held
    }

    /// A lock that was got after a wait.
    fn got(&mut self, guard: flock::Guard, waited_since: Instant) -> Guard {
        self.held += 1;
        self.times.waited(waited_since);
        Guard { _held: guard, since: Instant::now(), times: self.times.clone() }
    }
}

/// A lock that a plugin holds.
pub struct Guard {
    _held: flock::Guard,
    since: Instant,
    times: LockTimes,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.times.held(self.since);
    }
}

/// The context together with the table that owns the plugin's locks and guards.
pub struct FileLockCtxView<'a> {
    pub(crate) ctx: &'a mut FileLockCtx,
    pub(crate) table: &'a mut ResourceTable,
}

struct FileLock;

impl HasData for FileLock {
    type Data<'a> = FileLockCtxView<'a>;
}

/// Links the interface; `get` finds the context in the store's state.
///
/// # Errors
///
/// When the interface is linked already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> FileLockCtxView<'_>,
) -> wasmtime::Result<()> {
    crate::bindings::tally::file_lock::locks::add_to_linker::<T, FileLock>(linker, get)
}
