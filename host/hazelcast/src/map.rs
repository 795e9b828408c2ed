//! Maps (IMap): numbers by key, and locks of keys.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::{
    Client, Error, Number,
    invocation::{Outcome, Repeat},
    protocol::{
        frame::Message,
        requests::{Entry, EntryCall},
        responses,
    },
};

/// Who makes calls without a lock. Locks are given larger numbers, so it never holds any.
const NO_LOCK: i64 = 0;

impl Client {
    /// What is stored under `key`; none where nothing is.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], and [`Error::Refused`] where it is no number.
    pub async fn get(&self, map: &str, key: &str) -> Result<Option<Number>, Error> {
        let entry = Entry::new(map, key);
        self.entry_number(&entry, Repeat::Harmless, EntryCall::Get { thread: NO_LOCK }).await
    }

    /// Stores `value`, once nobody has `key` locked.
    ///
    /// # Errors
    ///
    /// Any but [`Error::LockLost`].
    pub async fn put(&self, map: &str, key: &str, value: i64) -> Result<(), Error> {
        let call = EntryCall::Set { thread: NO_LOCK, value: Number::Long(value) };
        self.entry_call(&Entry::new(map, key), Repeat::Never, call).await?;
        Ok(())
    }

    /// Stores `value` where nothing is, and returns what was stored instead.
    ///
    /// # Errors
    ///
    /// Any but [`Error::LockLost`].
    pub async fn put_if_absent(
        &self,
        map: &str,
        key: &str,
        value: i64,
    ) -> Result<Option<Number>, Error> {
        let call = EntryCall::PutIfAbsent { thread: NO_LOCK, value: Number::Long(value) };
        self.entry_number(&Entry::new(map, key), Repeat::Never, call).await
    }

    /// Stores `value` where `expected` is, which must be of the same kind; returns whether it did.
    ///
    /// # Errors
    ///
    /// Any but [`Error::LockLost`].
    pub async fn replace_if_same(
        &self,
        map: &str,
        key: &str,
        expected: Number,
        value: i64,
    ) -> Result<bool, Error> {
        let value = Number::Long(value);
        let call = EntryCall::ReplaceIfSame { thread: NO_LOCK, expected, value };
        let answer = self.entry_call(&Entry::new(map, key), Repeat::Never, call).await?;
        Repeat::Never.understood(answer.fixed().bool())
    }

    /// Waits for the lock of `key`, at most `wait_max`; none if that was not enough. The lock ends by itself after `lease`.
    ///
    /// If whoever waits here gives up, a lock that is granted afterwards is released.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Refused`].
    pub async fn try_lock(
        &self,
        map: &str,
        key: &str,
        wait_max: Duration,
        lease: Duration,
    ) -> Result<Option<Lock>, Error> {
        let held = Held {
            client: self.clone(),
            entry: Entry::new(map, key),
            thread: self.unique(),
            ends: Instant::now() + lease,
        };
        // Apart from its caller, who may leave while the cluster grants it.
        let locking = tokio::spawn(async move {
            let granted = held.lock(wait_max, lease).await;
            // Dropped below where it is not held for certain, which releases it if it is.
            let lock = Lock(Some(held));
            granted.map(|granted| granted.then_some(lock))
        });
        locking.await.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
    }

    async fn entry_number(
        &self,
        entry: &Entry,
        repeat: Repeat,
        call: EntryCall,
    ) -> Result<Option<Number>, Error> {
        let answer = self.entry_call(entry, repeat, call).await?;
        let data = repeat.understood(responses::data(&answer))?;
        data.map(Number::from_data).transpose()
    }

    async fn entry_call(
        &self,
        entry: &Entry,
        repeat: Repeat,
        call: EntryCall,
    ) -> Result<Message, Error> {
        self.call(Some(entry), repeat, |partition| call.request(entry, partition)).await
    }
}

/// A lock that is held. Dropping it releases it in the background.
pub struct Lock(Option<Held>);

/// A lock that is, or may be, held.
struct Held {
    client: Client,
    entry: Entry,
    /// Who holds it. Each lock has another one, so that no two of them are taken for one.
    thread: i64,
    ends: Instant,
}

impl Lock {
    /// How long it is held for certain; zero when its lease may have ended.
    pub fn remaining(&self) -> Duration {
        self.held().ends.saturating_duration_since(Instant::now())
    }

    /// Stores `value` under the key that is locked.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`], without having changed anything, where the lease would end before the call has to; otherwise
    /// as for [`Client::put`].
    pub async fn put(&self, value: i64) -> Result<(), Error> {
        let Held { client, entry, thread, .. } = self.held();
        if self.remaining() <= client.cluster().settings.invocation_time_max {
            return Err(Error::LockLost("the lease of the lock may end too soon".into()));
        }
        let call = EntryCall::Set { thread: *thread, value: Number::Long(value) };
        client.entry_call(entry, Repeat::Never, call).await?;
        if self.remaining().is_zero() {
            // This process was suspended for so long that the answer says nothing.
            return Err(Error::OutcomeUnknown("the lock may have ended during the call".into()));
        }
        Ok(())
    }

    /// Releases it.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] where it was not held any more, and [`Error::Unavailable`], after which it ends with its lease.
    pub async fn release(mut self) -> Result<(), Error> {
        match self.0.take() {
            Some(held) => held.unlock().await,
            None => Ok(()),
        }
    }

    fn held(&self) -> &Held {
        self.0.as_ref().expect("only the end of a lock takes it away")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Without an event loop there is nobody who could send anything, and the lease ends the lock.
        if let (Some(held), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = held.unlock().await {
                    tracing::debug!("a lock was not released: {error}");
                }
            });
        }
    }
}

impl Held {
    async fn lock(&self, wait_max: Duration, lease: Duration) -> Result<bool, Error> {
        let (thread, reference) = (self.thread, self.client.unique());
        let call = EntryCall::TryLock { thread, lease, wait_max, reference };
        let request = |partition| call.request(&self.entry, partition);
        // Calls with the same reference count as one.
        let repeat = Repeat::Harmless;
        match self.client.invoke(Some(&self.entry), repeat, wait_max, request).await? {
            Outcome::Done(answer) => repeat.understood(answer.fixed().bool()),
            Outcome::NotOwner(why) | Outcome::GroupGone(why) => Err(Error::Refused(why)),
        }
    }

    async fn unlock(&self) -> Result<(), Error> {
        let call = EntryCall::Unlock { thread: self.thread, reference: self.client.unique() };
        let request = |partition| call.request(&self.entry, partition);
        // Whatever the bound on calls: others wait for it.
        match self.client.make(Some(&self.entry), Repeat::Never, Duration::ZERO, request).await {
            Ok(Outcome::NotOwner(why)) => Err(Error::LockLost(why)),
            Ok(_) => Ok(()),
            Err(Error::OutcomeUnknown(why)) => Err(Error::Unavailable(why)),
            Err(error) => Err(error),
        }
    }
}
