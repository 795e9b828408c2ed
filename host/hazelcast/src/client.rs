//! The client: one for each event loop.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};

use crate::{
    Error, Settings,
    cluster::{Cluster, Recipient},
    group::GroupSearch,
    invocation::{self, Deadline, Outcome, Repeat},
    membership::Membership,
    protocol::frame::Request,
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
    group_search: GroupSearch,
    calls: Arc<Semaphore>,
    /// The last number given out, see [`Client::unique`].
    last: AtomicI64,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            calls: Arc::new(Semaphore::new(settings.calls_max)),
            cluster: Arc::new(Cluster::new(settings)),
            membership: OnceLock::new(),
            group_search: GroupSearch::default(),
            last: AtomicI64::new(0),
        }))
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    pub(crate) fn group_search(&self) -> &GroupSearch {
        &self.0.group_search
    }

    /// A number that was never given out before, from 1.
    pub(crate) fn unique(&self) -> i64 {
        self.0.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// When a call has to be over that begins now, and may wait in the cluster for `wait_max`.
    pub(crate) fn deadline(&self, wait_max: Duration) -> Deadline {
        Deadline::after(self.cluster().settings.invocation_time_max + wait_max)
    }

    /// Makes a call, see [`invocation::invoke`]. Whether there may be one more is for the caller to ask.
    pub(crate) async fn invoke(
        &self,
        recipient: Recipient<'_>,
        repeat: Repeat,
        deadline: Deadline,
        request: impl Fn(i32) -> Request,
    ) -> Result<Outcome, Error> {
        invocation::invoke(self.connect(), recipient, repeat, deadline, request).await
    }

    /// The cluster, to whose members connections are made from now on.
    pub(crate) fn connect(&self) -> &Arc<Cluster> {
        let cluster = &self.0.cluster;
        self.0
            .membership
            .get_or_init(|| tokio::spawn(Membership::new(cluster.clone()).run()).abort_handle());
        cluster
    }

    /// Room for one more call, for as long as the permit is kept.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where there is none.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.0.calls.clone().try_acquire_owned().map_err(|_| {
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
