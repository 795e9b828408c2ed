//! The granted atomic numbers, as one instance sees them.

use tally_hazelcast::Client;

use super::{fault::harmless, names::Names};
use crate::bindings::tally::hazelcast::types::Error;

/// The atomic numbers of one instance.
pub struct AtomicLongs {
    client: Client,
    names: Names,
}

impl AtomicLongs {
    /// Those that have one of `names`.
    pub fn new(client: Client, names: Names) -> Self {
        Self { client, names }
    }

    /// Adds `delta`, wrapping around, and returns the value after the addition.
    ///
    /// # Errors
    ///
    /// `unavailable`, `refused`, `invalid-key` and `outcome-unknown`.
    pub async fn add_and_get(&self, key: &str, delta: i64) -> Result<i64, Error> {
        Ok(self.client.add_and_get(&self.names.atomic_long(key)?, delta).await?)
    }

    /// Returns the value.
    ///
    /// # Errors
    ///
    /// `unavailable`, `refused` and `invalid-key`.
    pub async fn get(&self, key: &str) -> Result<i64, Error> {
        self.client.get_atomic(&self.names.atomic_long(key)?).await.map_err(harmless)
    }

    /// Stores `value` if the value is `expected`, and returns whether it did.
    ///
    /// # Errors
    ///
    /// `unavailable`, `refused`, `invalid-key` and `outcome-unknown`.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: i64,
        value: i64,
    ) -> Result<bool, Error> {
        Ok(self.client.compare_and_set(&self.names.atomic_long(key)?, expected, value).await?)
    }

    /// Stores `value` and returns the value before.
    ///
    /// # Errors
    ///
    /// `unavailable`, `refused`, `invalid-key` and `outcome-unknown`.
    pub async fn get_and_set(&self, key: &str, value: i64) -> Result<i64, Error> {
        Ok(self.client.get_and_set(&self.names.atomic_long(key)?, value).await?)
    }
}
