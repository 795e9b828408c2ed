//! The granted map, as one instance sees it, and the lock that it may hold.

use std::time::{Duration, Instant};

use tally_hazelcast::{Client, Lock, Number};

use super::{fault::harmless, lease::Lease, listing, names::Names};
use crate::{
    bindings::tally::hazelcast::{
        map::Page,
        types::{Error, Fault},
    },
    capabilities::lock_times::LockTimes,
};

/// The map of one instance.
pub struct Map {
    client: Client,
    names: Names,
    lease: Lease,
    times: LockTimes,
    held: Option<Held>,
}

impl Map {
    /// The map of `names`. Its locks end after `lease`, and `times` has how long they were waited for
    /// and held.
    pub fn new(client: Client, names: Names, lease: Lease, times: LockTimes) -> Self {
        Self { client, names, lease, times, held: None }
    }

    /// What is stored; none where nothing is.
    ///
    /// # Errors
    ///
    /// `unavailable`, `refused` and `invalid-key`.
    pub async fn get(&self, key: &str) -> Result<Option<Number>, Error> {
        let key = self.names.map_key(key)?;
        self.client.get(self.names.map(), key).await.map_err(harmless)
    }

    /// Stores `value`, once the key is locked by nobody else.
    ///
    /// # Errors
    ///
    /// Any fault but `conflict` and `lock-lost`.
    pub async fn put(&mut self, key: &str, value: Number) -> Result<(), Error> {
        let key = self.names.map_key(key)?;
        match lock_of(&mut self.held, key) {
            Some(lock) => lock.put(value).await.map_err(not_written),
            None => Ok(self.client.put(self.names.map(), key, value).await?),
        }
    }

    /// Stores `value` as a `Long` where nothing is stored, and returns what was stored instead.
    ///
    /// # Errors
    ///
    /// As for [`Map::put`].
    pub async fn put_if_absent(&mut self, key: &str, value: i64) -> Result<Option<Number>, Error> {
        let key = self.names.map_key(key)?;
        match lock_of(&mut self.held, key) {
            Some(lock) => lock.put_if_absent(value).await.map_err(not_written),
            None => Ok(self.client.put_if_absent(self.names.map(), key, value).await?),
        }
    }

    /// Stores `value` if what is stored is `expected`, and returns whether it did. It keeps the kind while it fits.
    ///
    /// # Errors
    ///
    /// As for [`Map::put`].
    pub async fn replace_if_same(
        &mut self,
        key: &str,
        expected: Number,
        value: i64,
    ) -> Result<bool, Error> {
        let key = self.names.map_key(key)?;
        match lock_of(&mut self.held, key) {
            Some(lock) => lock.replace_if_same(expected, value).await.map_err(not_written),
            None => Ok(self.client.replace_if_same(self.names.map(), key, expected, value).await?),
        }
    }

    /// Some of the counters, beginning at `cursor`.
    ///
    /// # Errors
    ///
    /// `unavailable` and `refused`.
    pub async fn list(&self, cursor: Option<&str>, entries_max: u32) -> Result<Page, Error> {
        listing::page(&self.client, &self.names, cursor, entries_max).await
    }

    /// Takes the lock of `key`, and waits for it if others hold it.
    ///
    /// # Errors
    ///
    /// `conflict`, `unavailable`, `invalid-key`, and `refused` while a lock is held: instances that
    /// hold one and wait for another could wait for each other.
    pub async fn acquire(&mut self, key: &str) -> Result<(), Error> {
        if self.holds_lock() {
            return Err(Error::new(
                Fault::Refused,
                "a lock of this instance is held: release it before another one is taken",
            ));
        }
        let key = self.names.map_key(key)?;
        let (began, wait_max) = (Instant::now(), self.lease.wait_max());
        let locking = self.client.try_lock(self.names.map(), key, wait_max, self.lease.length());
        let Some(lock) = locking.await.map_err(harmless)? else {
            return Err(conflict(wait_max));
        };
        self.times.waited(began);
        let hold = Hold { since: Instant::now(), times: self.times.clone() };
        self.held = Some(Held { key: key.to_owned(), lock, _hold: hold });
        Ok(())
    }

    /// Releases the lock. One that can't be released lasts until its lease ends.
    ///
    /// # Errors
    ///
    /// `lock-lost`.
    pub async fn release(&mut self) -> Result<(), Error> {
        let Some(held) = self.held.take() else { return Ok(()) };
        match held.lock.release().await {
            Err(error @ tally_hazelcast::Error::LockLost(_)) => Err(error.into()),
            Err(error) => {
                tracing::debug!("a lock is left to its lease: {error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Releases the lock without waiting for it.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// Whether a lock is held.
    pub fn holds_lock(&self) -> bool {
        self.held.is_some()
    }
}

/// The lock under which `key` of the map is written, if it is held.
fn lock_of<'a>(held: &'a mut Option<Held>, key: &str) -> Option<&'a mut Lock> {
    held.as_mut().filter(|held| held.key == key).map(|held| &mut held.lock)
}

/// What the failure of a write under a lock means: before it, a lock that is lost is no harm.
fn not_written(error: tally_hazelcast::Error) -> Error {
    match error.into() {
        Error { fault: Fault::LockLost, message } => Error::new(
            Fault::Unavailable,
            format!("{message} (--hz-lock-lease, --hz-invocation-time-max)"),
        ),
        error => error,
    }
}

fn conflict(wait_max: Duration) -> Error {
    let waited = wait_max.as_millis();
    Error::new(
        Fault::Conflict,
        format!("others held the lock for {waited} ms (--lock-wait-max, --hz-lock-lease)"),
    )
}

/// A lock that is held, until its handle is given back. Dropping it releases it in the background.
struct Held {
    /// In the map.
    key: String,
    lock: Lock,
    _hold: Hold,
}

/// Notes for how long a lock was held, when it is dropped.
struct Hold {
    since: Instant,
    times: LockTimes,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.times.held(self.since);
    }
}
