//! The interface `tally:file-lock/locks` on lock files.

use std::time::{Duration, Instant};

use wasmtime::component::Resource;

use super::{FileLockCtxView, Guard, Lock, LockError, Mode};
use crate::bindings::tally::file_lock::locks::{self, Error, Host, HostGuard, HostLock};

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for FileLockCtxView<'_> {}

impl HostLock for FileLockCtxView<'_> {
    fn open(&mut self, name: String) -> Answer<Resource<Lock>> {
        match self.ctx.scope.open(&name) {
            Ok(lock) => Ok(Ok(self.table.push(lock)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    fn try_acquire(
        &mut self,
        lock: Resource<Lock>,
        mode: locks::Mode,
    ) -> Answer<Option<Resource<Guard>>> {
        let began = Instant::now();
        match self.table.get(&lock)?.try_acquire(mode.into()) {
            Ok(Some(guard)) => Ok(Ok(Some(self.table.push(self.ctx.got(guard, began))?))),
            Ok(None) => Ok(Ok(None)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn acquire(
        &mut self,
        lock: Resource<Lock>,
        mode: locks::Mode,
        wait_ms: u32,
    ) -> Answer<Resource<Guard>> {
        let wait = Duration::from_millis(wait_ms.into()).min(self.ctx.wait_max);
        let began = Instant::now();
        match self.table.get(&lock)?.acquire(mode.into(), wait).await {
            Ok(guard) => Ok(Ok(self.table.push(self.ctx.got(guard, began))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    fn drop(&mut self, lock: Resource<Lock>) -> wasmtime::Result<()> {
        self.table.delete(lock)?;
        Ok(())
    }
}

impl HostGuard for FileLockCtxView<'_> {
    fn drop(&mut self, guard: Resource<Guard>) -> wasmtime::Result<()> {
        self.table.delete(guard)?;
        self.ctx.held -= 1;
        Ok(())
    }
}

impl From<locks::Mode> for Mode {
    fn from(mode: locks::Mode) -> Self {
        match mode {
            locks::Mode::Shared => Mode::Shared,
            locks::Mode::Exclusive => Mode::Exclusive,
        }
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::TimedOut => Error::TimedOut,
            LockError::InvalidName => Error::InvalidName,
            LockError::NotFound => Error::NotFound,
            LockError::Unavailable(why) => Error::Unavailable(why),
        }
    }
}
