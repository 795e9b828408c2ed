//! Locks of a map's keys, which end with a lease.

use std::time::{Duration, Instant};

use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

use crate::{
    Client, Error, Number,
    cluster::Recipient,
    invocation::{Outcome, Repeat},
    map::number,
    protocol::{
        frame::Message,
        requests::{Entry, EntryCall},
    },
};

impl Client {
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
            _under_way: self.admit()?,
            client: self.clone(),
            entry: Entry::new(map, key),
            thread: self.unique(),
            ends: Instant::now() + lease,
            in_doubt: false,
        };
        // Apart from its caller, who may leave while the cluster grants it.
        let locking = tokio::spawn(async move {
            match held.lock(wait_max, lease).await {
                Ok(false) => Ok(None),
                Ok(true) => Ok(Some(Lock(Some(held)))),
                Err(error) => {
                    // It may be held all the same, and is released then.
                    drop(Lock(Some(held)));
                    Err(error)
                }
            }
        });
        locking.await.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
    }
}

/// A lock that is held. Dropping it releases it in the background, unless a [`Lock::put`] may still be on its way: then it
/// lasts until its lease ends, so that nobody else holds it when the write arrives.
///
/// No lease is a guarantee. Hazelcast 5.3.8 takes a lock from its holder, unasked, when the member that owned the key has
/// died and the lease of an earlier holder ends: the owner's copy and its backup both release what has expired, and the
/// second one meets the next holder's lock. Writes that compare are right all the same.
pub struct Lock(Option<Held>);

/// Why the `expect`s hold.
const HELD: &str = "only the end of a lock takes it away";

/// A lock that is, or may be, held.
struct Held {
    client: Client,
    entry: Entry,
    /// Who holds it. Each lock has another one, so that no two of them are taken for one.
    thread: i64,
    ends: Instant,
    /// Whether there was a write under it that may still arrive, and would overwrite what others wrote.
    in_doubt: bool,
    /// It counts as one call, together with those that are made under it, until it is released.
    _under_way: OwnedSemaphorePermit,
}

impl Lock {
    /// How long it is held for certain; zero when its lease may have ended.
    pub fn remaining(&self) -> Duration {
        self.0.as_ref().expect(HELD).ends.saturating_duration_since(Instant::now())
    }

    /// Stores `value` under the key that is locked.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`], without having changed anything, where the lease would end before the call has to;
    /// [`Error::Refused`] after a write whose outcome is unknown; otherwise as for [`Client::put`].
    pub async fn put(&mut self, value: Number) -> Result<(), Error> {
        let held = self.writable()?;
        // Until there is an answer, also where nobody waits for it any more.
        held.in_doubt = true;
        let outcome = held.write(|thread| EntryCall::Set { thread, value }).await;
        held.in_doubt = matches!(outcome, Err(Error::OutcomeUnknown(_)));
        outcome?;
        if self.remaining().is_zero() {
            // This process was suspended for so long that the answer says nothing.
            return Err(Error::OutcomeUnknown("the lock may have ended during the call".into()));
        }
        Ok(())
    }

    /// As [`Client::put_if_absent`], under the key that is locked.
    ///
    /// # Errors
    ///
    /// As for [`Lock::put`].
    pub async fn put_if_absent(&mut self, value: i64) -> Result<Option<Number>, Error> {
        let value = Number::Long(value);
        let held = self.writable()?;
        let answer = held.write(|thread| EntryCall::PutIfAbsent { thread, value }).await?;
        number(Repeat::Never, &answer)
    }

    /// As [`Client::replace_if_same`], under the key that is locked.
    ///
    /// # Errors
    ///
    /// As for [`Lock::put`].
    pub async fn replace_if_same(&mut self, expected: Number, value: i64) -> Result<bool, Error> {
        let value = expected.with(value);
        let held = self.writable()?;
        let answer =
            held.write(|thread| EntryCall::ReplaceIfSame { thread, expected, value }).await?;
        Repeat::Never.understood(answer.fixed().bool())
    }

    fn writable(&mut self) -> Result<&mut Held, Error> {
        let remaining = self.remaining();
        let held = self.0.as_mut().expect(HELD);
        if held.in_doubt {
            let why = "the write before this one, under the same lock, may still be on its way";
            return Err(Error::Refused(why.into()));
        }
        if remaining <= held.client.cluster().settings.invocation_time_max {
            let why = "the lease of the lock may end before a write under it does";
            return Err(Error::LockLost(why.into()));
        }
        Ok(held)
    }

    /// Releases it.
    ///
    /// # Errors
    ///
    /// [`Error::LockLost`] where it was not held any more, as far as is known: it is also said when the answer to the first
    /// try was lost with its connection. [`Error::Unavailable`], after which it ends with its lease.
    pub async fn release(mut self) -> Result<(), Error> {
        let held = self.0.take().expect(HELD);
        if held.in_doubt {
            let why =
                "the lock lasts until its lease ends, because a write under it may be on its way";
            return Err(Error::Unavailable(why.into()));
        }
        held.unlock().await
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Without an event loop there is nobody who could send anything, and the lease ends the lock.
        if let (Some(held), Ok(runtime)) = (self.0.take(), Handle::try_current())
            && !held.in_doubt
        {
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
        let (repeat, deadline) = (Repeat::Harmless, self.client.deadline(wait_max));
        let outcome =
            self.client.invoke(Recipient::Entry(&self.entry), repeat, deadline, request).await?;
        repeat.understood(outcome.done()?.fixed().bool())
    }

    async fn write(&self, call: impl FnOnce(i64) -> EntryCall) -> Result<Message, Error> {
        let call = call(self.thread);
        let request = |partition| call.request(&self.entry, partition);
        let deadline = self.client.deadline(Duration::ZERO);
        self.client
            .invoke(Recipient::Entry(&self.entry), Repeat::Never, deadline, request)
            .await?
            .done()
    }

    async fn unlock(&self) -> Result<(), Error> {
        let call = EntryCall::Unlock { thread: self.thread, reference: self.client.unique() };
        let request = |partition| call.request(&self.entry, partition);
        // Nobody else ever holds a lock with this thread's number, so a second try releases nobody else's.
        let (repeat, deadline) = (Repeat::Harmless, self.client.deadline(Duration::ZERO));
        match self.client.invoke(Recipient::Entry(&self.entry), repeat, deadline, request).await? {
            Outcome::NotOwner(why) => Err(Error::LockLost(why)),
            outcome => outcome.done().map(drop),
        }
    }
}
