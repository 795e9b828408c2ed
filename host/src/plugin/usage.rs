//! How much of its limits a plugin uses.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use wasmtime::{ResourceLimiter, StoreLimits};

/// What all instances of one plugin use together, on all threads. For people to look at.
#[derive(Default)]
pub struct Usage {
    instances: AtomicUsize,
    memory_bytes_max: AtomicUsize,
    storage_answered: AtomicBool,
}

impl Usage {
    /// Instances that exist.
    pub fn instances(&self) -> usize {
        self.instances.load(Relaxed)
    }

    /// Whether its storage has ever answered a call of it.
    pub fn storage_has_answered(&self) -> bool {
        self.storage_answered.load(Relaxed)
    }

    /// Notes that it has. Calls of clients don't: they would all write to one place.
    pub fn note_storage_answered(&self) {
        self.storage_answered.store(true, Relaxed);
    }

    /// The most linear memory that one instance has ever had, in bytes.
    pub fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max.load(Relaxed)
    }
}

/// Keeps one instance within its limits and notes what it uses.
pub(super) struct Limiter {
    limits: StoreLimits,
    memory_bytes_max: usize,
    /// The memory that the present call has asked for last of what it may not have, in bytes.
    pub refused_bytes: Option<usize>,
    usage: Arc<Usage>,
}

impl Limiter {
    /// Within `limits`, of which `memory_bytes_max` is one.
    pub fn new(limits: StoreLimits, memory_bytes_max: usize, usage: Arc<Usage>) -> Self {
        usage.instances.fetch_add(1, Relaxed);
        Self { limits, memory_bytes_max, refused_bytes: None, usage }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.usage.instances.fetch_sub(1, Relaxed);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grows = self.limits.memory_growing(current, desired, maximum)?;
        if grows {
            self.usage.memory_bytes_max.fetch_max(desired, Relaxed);
        } else if self.memory_bytes_max < desired {
            self.refused_bytes = Some(desired);
        }
        Ok(grows)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}
