//! Capability `file-lock`: advisory locks on files, across calls and processes.

mod flock;
mod host;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use wasmtime::component::{HasData, Linker, ResourceTable};

pub use flock::{Guard, Lock, LockError, LockScope, Mode};

/// What one plugin instance needs of this capability.
pub struct FileLockCtx {
    scope: Arc<LockScope>,
    /// The longest wait that a plugin can ask for.
    wait_max: Duration,
}

impl FileLockCtx {
    /// Lends the locks of `scope`.
    pub fn new(scope: Arc<LockScope>, wait_max: Duration) -> Self {
        Self { scope, wait_max }
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
