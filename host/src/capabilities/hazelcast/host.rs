//! The interfaces `tally:hazelcast/map` and `tally:hazelcast/atomic-long` on a cluster.

use tally_hazelcast::Number;
use wasmtime::component::Resource;

use super::{AtomicLongs, LockHandle, MapView};
use crate::bindings::tally::hazelcast::{
    atomic_long,
    map::{self, Error, HostLock, Kind, Page, Stored},
};

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl map::Host for MapView<'_> {
    async fn get(&mut self, key: String) -> Answer<Option<Stored>> {
        Ok(self.map.get(&key).await.map(|number| number.map(Stored::from)))
    }

    async fn put(&mut self, key: String, value: i64, kind: Kind) -> Answer<()> {
        let any = match kind {
            Kind::Integer => Number::Integer(0),
            Kind::Long => Number::Long(0),
        };
        Ok(self.map.put(&key, any.with(value)).await)
    }

    async fn put_if_absent(&mut self, key: String, value: i64) -> Answer<Option<Stored>> {
        Ok(self.map.put_if_absent(&key, value).await.map(|number| number.map(Stored::from)))
    }

    async fn replace_if_same(&mut self, key: String, expected: Stored, value: i64) -> Answer<bool> {
        match Number::try_from(expected) {
            Ok(expected) => Ok(self.map.replace_if_same(&key, expected, value).await),
            // Nothing that is stored equals it.
            Err(_) => Ok(Ok(false)),
        }
    }

    async fn list(&mut self, cursor: Option<String>, entries_max: u32) -> Answer<Page> {
        Ok(self.map.list(cursor.as_deref(), entries_max).await)
    }
}

impl HostLock for MapView<'_> {
    async fn acquire(&mut self, key: String) -> Answer<Resource<LockHandle>> {
        match self.map.acquire(&key).await {
            Ok(()) => Ok(Ok(self.table.push(LockHandle)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn release(&mut self, lock: Resource<LockHandle>) -> Answer<()> {
        self.table.delete(lock)?;
        Ok(self.map.release().await)
    }

    fn drop(&mut self, lock: Resource<LockHandle>) -> wasmtime::Result<()> {
        self.table.delete(lock)?;
        self.map.let_go();
        Ok(())
    }
}

impl atomic_long::Host for AtomicLongs {
    async fn add_and_get(&mut self, key: String, delta: i64) -> Answer<i64> {
        Ok(Self::add_and_get(self, &key, delta).await)
    }

    async fn get(&mut self, key: String) -> Answer<i64> {
        Ok(Self::get(self, &key).await)
    }

    async fn compare_and_set(&mut self, key: String, expected: i64, value: i64) -> Answer<bool> {
        Ok(Self::compare_and_set(self, &key, expected, value).await)
    }

    async fn get_and_set(&mut self, key: String, value: i64) -> Answer<i64> {
        Ok(Self::get_and_set(self, &key, value).await)
    }
}

impl From<Number> for Stored {
    fn from(number: Number) -> Self {
        let kind = match number {
            Number::Integer(_) => Kind::Integer,
            Number::Long(_) => Kind::Long,
        };
        Self { value: number.value(), kind }
    }
}

impl TryFrom<Stored> for Number {
    type Error = std::num::TryFromIntError;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        Ok(match stored.kind {
            Kind::Integer => Self::Integer(stored.value.try_into()?),
            Kind::Long => Self::Long(stored.value),
        })
    }
}
