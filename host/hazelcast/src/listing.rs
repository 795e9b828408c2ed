//! What a map holds, partition by partition.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use futures_util::future::try_join_all;

use crate::{
    Client, Error, Number,
    cluster::Recipient,
    invocation::Repeat,
    protocol::{
        data,
        frame::{Message, Request},
        requests::{self, Pointer},
        responses,
    },
};

/// Entries that are asked for at a time. The answer has some more where keys collide.
const BATCH_ENTRIES: i32 = 1_000;

/// How often one partition is asked for more; a cluster has hundreds of partitions.
const BATCHES_MAX: i32 = 100;

/// The numbers of one partition, by key.
pub type Partition = BTreeMap<String, Number>;

impl Client {
    /// The numbers of `map` in some partitions, from 0, which are asked for at once; there are fewer where the cluster has no
    /// more. Together they are one call for the bound on calls.
    ///
    /// What is there for the whole of the call is found. Keys that are no texts are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], and [`Error::Refused`] where what is stored under a text is no number, or a partition holds
    /// more than 100,000 keys.
    pub async fn partitions(&self, map: &str, wanted: Range<i32>) -> Result<Vec<Partition>, Error> {
        let _under_way = self.admit()?;
        let end = self.partitions_in_all().await?.min(wanted.end);
        try_join_all((wanted.start..end).map(|partition| self.partition(map, partition))).await
    }

    async fn partition(&self, map: &str, partition: i32) -> Result<Partition, Error> {
        let mut found = Partition::new();
        let mut pointers = vec![Pointer::BEGIN];
        for _ in 0..BATCHES_MAX {
            let request = |partition| requests::fetch(map, partition, &pointers, BATCH_ENTRIES);
            let answer = self.read(Recipient::Partition(partition), request).await?;
            let fetched = Repeat::Harmless.understood(responses::fetched(&answer))?;
            for (key, value) in fetched.entries {
                let Some(key) = data::text(key) else { continue };
                let number = Number::from_data(value).map_err(|error| of_key(&key, error))?;
                found.insert(key, number);
            }
            if fetched.pointers.last().is_some_and(|last| last.is_end()) {
                return Ok(found);
            }
            pointers = fetched.pointers;
        }
        Err(Error::Refused(format!(
            "partition {partition} of the map {map} holds more than {} keys, too many to be listed",
            BATCHES_MAX * BATCH_ENTRIES
        )))
    }

    async fn partitions_in_all(&self) -> Result<i32, Error> {
        if let Some(partitions) = self.cluster().partitions() {
            return Ok(partitions);
        }
        // The first call is what connects.
        self.read(Recipient::Any, |_| requests::ping()).await?;
        let unknown =
            || Error::Unavailable("no member has said how many partitions there are".into());
        self.cluster().partitions().ok_or_else(unknown)
    }

    async fn read(
        &self,
        recipient: Recipient<'_>,
        request: impl Fn(i32) -> Request,
    ) -> Result<Message, Error> {
        let deadline = self.deadline(Duration::ZERO);
        self.invoke(recipient, Repeat::Harmless, deadline, request).await?.done()
    }
}

fn of_key(key: &str, error: Error) -> Error {
    match error {
        Error::Refused(why) => Error::Refused(format!("\"{key}\": {why}")),
        error => error,
    }
}
