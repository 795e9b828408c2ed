//! Capability `shared-memory`: named 64-bit cells in memory that processes share.

mod faults;
mod host;
#[cfg(test)]
mod hostile_tests;
mod mapped;
#[cfg(test)]
mod properties;
mod region;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime::component::{HasData, Linker};

pub use region::{CAPACITY_RANGE, CellError, Region};

/// A region that is opened, or made, when the first instance needs it.
pub struct LazyRegion {
    path: PathBuf,
    capacity: u32,
    opened: Mutex<Option<Arc<Region>>>,
}

impl LazyRegion {
    /// The region in the file at `path`; if it must be made, with room for `capacity` keys.
    pub fn new(path: PathBuf, capacity: u32) -> Self {
        Self { path, capacity, opened: Mutex::default() }
    }

    /// Where its file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The one mapping of this process.
    ///
    /// # Errors
    ///
    /// As for [`Region::open`].
    pub fn get(&self) -> anyhow::Result<Arc<Region>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = &*opened {
            return Ok(region.clone());
        }
        let region = Arc::new(Region::open(&self.path, self.capacity)?);
        if region.capacity() != self.capacity {
            let (path, capacity) = (self.path.display(), region.capacity());
            tracing::warn!(
                "the shared-memory region {path} keeps the capacity that it was made with, {capacity} keys"
            );
        }
        *opened = Some(region.clone());
        Ok(region)
    }
}

/// What one plugin instance needs of this capability.
pub struct SharedMemoryCtx {
    pub(super) region: Arc<Region>,
}

impl SharedMemoryCtx {
    /// Lends `region`.
    pub fn new(region: Arc<Region>) -> Self {
        Self { region }
    }
}

struct SharedMemory;

impl HasData for SharedMemory {
    type Data<'a> = &'a mut SharedMemoryCtx;
}

/// Links the interface; `get` finds the context in the store's state.
///
/// # Errors
///
/// When the interface is linked already.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> &mut SharedMemoryCtx,
) -> wasmtime::Result<()> {
    crate::bindings::tally::shared_memory::cells::add_to_linker::<T, SharedMemory>(linker, get)
}
