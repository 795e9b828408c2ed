//! Maps (IMap): numbers by key. Their locks are in [`lock`](crate::lock).

use std::time::Duration;

use crate::{
    Client, Error, Number,
    cluster::Recipient,
    invocation::Repeat,
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
    pub async fn put(&self, map: &str, key: &str, value: Number) -> Result<(), Error> {
        let call = EntryCall::Set { thread: NO_LOCK, value };
        self.entry_call(&Entry::new(map, key), Repeat::Never, call).await?;
        Ok(())
    }

    /// Stores `value` as a `Long` where nothing is, and returns what was stored instead.
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

    /// Stores `value` where `expected` is, which must be of the same kind; returns whether it did. It is stored in that kind
    /// too, see [`Number::with`].
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
        let value = expected.with(value);
        let call = EntryCall::ReplaceIfSame { thread: NO_LOCK, expected, value };
        let answer = self.entry_call(&Entry::new(map, key), Repeat::Never, call).await?;
        Repeat::Never.understood(answer.fixed().bool())
    }

    /// The address of the member that owns `key`, for whoever wants to see what its end takes along; none while it is not
    /// known or not connected.
    ///
    /// # Errors
    ///
    /// As for [`Client::get`].
    pub async fn owner(&self, map: &str, key: &str) -> Result<Option<String>, Error> {
        // The first call is what connects.
        self.get(map, key).await?;
        let owner = self.cluster().owner(&Entry::new(map, key));
        Ok(owner.map(|connection| connection.address().to_owned()))
    }

    async fn entry_number(
        &self,
        entry: &Entry,
        repeat: Repeat,
        call: EntryCall,
    ) -> Result<Option<Number>, Error> {
        number(repeat, &self.entry_call(entry, repeat, call).await?)
    }

    /// Makes a call that counts towards the bound on calls, and waits for nothing.
    async fn entry_call(
        &self,
        entry: &Entry,
        repeat: Repeat,
        call: EntryCall,
    ) -> Result<Message, Error> {
        let (_under_way, deadline) = (self.admit()?, self.deadline(Duration::ZERO));
        let request = |partition| call.request(entry, partition);
        self.invoke(Recipient::Entry(entry), repeat, deadline, request).await?.done()
    }
}

/// What an answer says is, or was, stored.
pub(crate) fn number(repeat: Repeat, answer: &Message) -> Result<Option<Number>, Error> {
    repeat.understood(responses::data(answer))?.map(Number::from_data).transpose()
}
