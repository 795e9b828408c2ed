//! The client: one for each event loop.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::AbortHandle,
};

use crate::{
    Error, Settings,
    cluster::Cluster,
    invocation::{self, Outcome, Repeat},
    membership::Membership,
    protocol::{
        frame::{Message, Request},
        requests::Entry,
    },
};

/// A client of one cluster. Cloning it shares it.
///
/// It connects at its first call, and belongs to the event loop on which that is made. Its connections end with the last
/// clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    cluster: Arc<Cluster>,
    membership: OnceLock<AbortHandle>,
    calls: Semaphore,
    /// The last number given out, see [`Client::unique`].
    last: AtomicI64,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            calls: Semaphore::new(settings.calls_max),
            cluster: Arc::new(Cluster::new(settings)),
            membership: OnceLock::new(),
            last: AtomicI64::new(0),
        }))
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    /// A number that was never given out before, from 1.
    pub(crate) fn unique(&self) -> i64 {
        self.0.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Makes a call that counts towards the bound on calls, as [`Self::make`] does.
    pub(crate) async fn invoke(
        &self,
        entry: Option<&Entry>,
        repeat: Repeat,
        wait_max: Duration,
        request: impl Fn(i32) -> Request,
    ) -> Result<Outcome, Error> {
        let _under_way = self.admit()?;
        self.make(entry, repeat, wait_max, request).await
    }

    /// Makes a call, see [`invocation::invoke`]; `wait_max` is what it may wait in the cluster beside the time of a call.
    pub(crate) async fn make(
        &self,
        entry: Option<&Entry>,
        repeat: Repeat,
        wait_max: Duration,
        request: impl Fn(i32) -> Request,
    ) -> Result<Outcome, Error> {
        let cluster = &self.0.cluster;
        self.0
            .membership
            .get_or_init(|| tokio::spawn(Membership::new(cluster.clone()).run()).abort_handle());
        let time_max = cluster.settings.invocation_time_max + wait_max;
        invocation::invoke(cluster, entry, repeat, time_max, request).await
    }

    /// As [`Self::invoke`], for calls that wait for nothing.
    pub(crate) async fn call(
        &self,
        entry: Option<&Entry>,
        repeat: Repeat,
        request: impl Fn(i32) -> Request,
    ) -> Result<Message, Error> {
        self.invoke(entry, repeat, Duration::ZERO, request).await?.done()
    }

    fn admit(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.0.calls.try_acquire().map_err(|_| {
            let calls_max = self.0.cluster.settings.calls_max;
            Error::Unavailable(format!("{calls_max} calls to Hazelcast are under way already"))
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(membership) = self.membership.get() {
            membership.abort();
        }
        self.cluster.close();
    }
}
