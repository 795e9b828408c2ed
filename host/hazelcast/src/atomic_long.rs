//! Atomic longs (IAtomicLong) of the CP Subsystem.

use std::time::Duration;

use crate::{
    Client, Error,
    cluster::Recipient,
    group::find_cp_members,
    invocation::{Outcome, Repeat},
    protocol::{frame::Message, requests::AtomicLongCall},
};

/// How often the group of an object is asked for within one call, since it can be destroyed in between.
const GROUPS_MAX: usize = 2;

impl Client {
    /// Adds `delta` and returns the value after the addition, which wraps around.
    ///
    /// # Errors
    ///
    /// Any but [`Error::LockLost`].
    pub async fn add_and_get(&self, name: &str, delta: i64) -> Result<i64, Error> {
        self.atomic_number(name, Repeat::Never, AtomicLongCall::AddAndGet { delta }).await
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Refused`].
    pub async fn get_atomic(&self, name: &str) -> Result<i64, Error> {
        self.atomic_number(name, Repeat::Harmless, AtomicLongCall::Get).await
    }

    /// Stores `value` and returns the value before.
    ///
    /// # Errors
    ///
    /// Any but [`Error::LockLost`].
    pub async fn get_and_set(&self, name: &str, value: i64) -> Result<i64, Error> {
        self.atomic_number(name, Repeat::Never, AtomicLongCall::GetAndSet { value }).await
    }

    /// Stores `value` where the value is `expected`; returns whether it did.
    ///
    /// # Errors
    ///
    /// Any but [`Error::LockLost`].
    pub async fn compare_and_set(
        &self,
        name: &str,
        expected: i64,
        value: i64,
    ) -> Result<bool, Error> {
        let call = AtomicLongCall::CompareAndSet { expected, value };
        let answer = self.atomic_call(name, Repeat::Never, call).await?;
        Repeat::Never.understood(answer.fixed().bool())
    }

    /// Whether the cluster agrees on atomic longs by a majority.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where its CP Subsystem is off, with the setting that turns it on: it would answer such calls all
    /// the same, from memory that a member's end can lose. [`Error::Unavailable`] where the cluster can't be reached, or
    /// its CP members have not found each other yet.
    pub async fn check_cp(&self) -> Result<(), Error> {
        let _under_way = self.admit()?;
        find_cp_members(self.connect(), self.deadline(Duration::ZERO)).await
    }

    async fn atomic_number(
        &self,
        name: &str,
        repeat: Repeat,
        call: AtomicLongCall,
    ) -> Result<i64, Error> {
        let answer = self.atomic_call(name, repeat, call).await?;
        repeat.understood(answer.fixed().i64())
    }

    async fn atomic_call(
        &self,
        name: &str,
        repeat: Repeat,
        call: AtomicLongCall,
    ) -> Result<Message, Error> {
        let _under_way = self.admit()?;
        let mut gone = String::new();
        for _ in 0..GROUPS_MAX {
            let group = self.group(name).await?;
            // From now on: a write in what a wait has left of the time might not be answered within it.
            let deadline = self.deadline(Duration::ZERO);
            let request = |_| call.request(&group, name);
            match self.invoke(Recipient::Leader, repeat, deadline, request).await? {
                Outcome::GroupGone(why) => {
                    self.cluster().set_group(None);
                    gone = why;
                }
                outcome => return outcome.done(),
            }
        }
        Err(Error::Unavailable(gone))
    }
}
