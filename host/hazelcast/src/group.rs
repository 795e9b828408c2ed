//! The CP group of our atomic longs: asked for, and known to answer before anything is written to it.
//!
//! A cluster makes the group when it is named for the first time, and then its members elect a leader, which takes seconds.
//! A write that came meanwhile would not be answered in time, and might still be made afterwards. So the group is waited for
//! with calls that change no number and may be repeated, once for all callers of a client.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Client, Error,
    cluster::{Cluster, Recipient},
    invocation::{Deadline, Outcome, Repeat, invoke},
    protocol::{
        requests::{self, AtomicLongCall, RaftGroup},
        responses,
    },
};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The search of one client for its group, if there was one.
#[derive(Default)]
pub struct GroupSearch(Mutex<Option<Search>>);

#[derive(Clone)]
struct Search {
    began: Instant,
    progress: watch::Receiver<Progress>,
}

enum Progress {
    /// It goes on, and why there is no answer yet.
    Waiting(String),
    Ended(Result<RaftGroup, Error>),
}

impl Client {
    /// Waits until the group of `name`, an atomic long, answers; at most
    /// [`Settings::cp_group_wait_max`](crate::Settings::cp_group_wait_max). Calls wait for that by themselves, but no longer
    /// than a call may take.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Refused`].
    pub async fn wait_for_group(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        if self.cluster().group().is_some() {
            return Ok(());
        }
        let mut search = self.search(name);
        search.end().await;
        search.outcome().map(drop)
    }

    /// The group of all atomic longs whose names name none.
    ///
    /// # Errors
    ///
    /// As for [`Client::wait_for_group`]. Once the search has gone on for as long as a call may take, callers are refused at
    /// once.
    pub(crate) async fn group(&self, name: &str) -> Result<RaftGroup, Error> {
        check_name(name)?;
        if let Some(group) = self.cluster().group() {
            return Ok(group);
        }
        let mut search = self.search(name);
        let patience = search.began + self.cluster().settings.invocation_time_max;
        let _ = timeout_at(patience, search.end()).await;
        search.outcome()
    }

    /// The search that goes on, or a new one.
    fn search(&self, name: &str) -> Search {
        let mut search = self.group_search().0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*search {
            Some(search) if search.goes_on() => search.clone(),
            _ => search.insert(Search::begin(self, name)).clone(),
        }
    }
}

impl Search {
    fn begin(client: &Client, name: &str) -> Self {
        let (cluster, name) = (client.connect().clone(), name.to_owned());
        let (told, progress) = watch::channel(Progress::Waiting("it was not asked yet".into()));
        let began = Instant::now();
        // Apart from the caller, who may leave. It ends soon after its client, whose connections it needs.
        tokio::spawn(async move {
            let found = seek(&cluster, &name, began, &told).await;
            if let Ok(group) = &found {
                cluster.set_group(Some(group.clone()));
            }
            told.send_replace(Progress::Ended(found));
        });
        Self { began, progress }
    }

    fn goes_on(&self) -> bool {
        // Where the event loop has ended, nobody tells any more.
        matches!(*self.progress.borrow(), Progress::Waiting(_))
            && self.progress.has_changed().is_ok()
    }

    async fn end(&mut self) {
        // Without anybody who tells there is nothing to wait for either.
        let _ = self.progress.wait_for(|progress| matches!(progress, Progress::Ended(_))).await;
    }

    /// What it has come to.
    fn outcome(&self) -> Result<RaftGroup, Error> {
        match &*self.progress.borrow() {
            Progress::Waiting(why) => Err(unanswered(self.began.elapsed(), why)),
            Progress::Ended(found) => found.clone(),
        }
    }
}

/// Tries until the group answers, for as long as any member is connected.
async fn seek(
    cluster: &Cluster,
    name: &str,
    began: Instant,
    told: &watch::Sender<Progress>,
) -> Result<RaftGroup, Error> {
    let wait_max = cluster.settings.cp_group_wait_max;
    loop {
        let left = wait_max.saturating_sub(began.elapsed());
        let deadline = Deadline::after(cluster.settings.invocation_time_max.min(left));
        let why = match find(cluster, name, deadline).await {
            Err(Error::Unavailable(why)) if cluster.any().is_some() => why,
            found => return found,
        };
        tracing::debug!("the CP group does not answer: {why}");
        if wait_max < began.elapsed() + PAUSE {
            return Err(unanswered(wait_max, &why));
        }
        told.send_replace(Progress::Waiting(why));
        sleep(PAUSE).await;
    }
}

/// Asks for the group, which makes it if there is none, and reads what it holds.
async fn find(cluster: &Cluster, name: &str, deadline: Deadline) -> Result<RaftGroup, Error> {
    let repeat = Repeat::Harmless;
    find_cp_members(cluster, deadline).await?;
    let create = |_| requests::create_cp_group(name);
    let outcome = invoke(cluster, Recipient::Any, repeat, deadline, create).await?;
    let group = repeat.understood(responses::raft_group(&outcome.done()?))?;
    let read = |_| AtomicLongCall::Get.request(&group, name);
    match invoke(cluster, Recipient::Leader, repeat, deadline, read).await? {
        // Another client has destroyed it in between.
        Outcome::GroupGone(why) => Err(Error::Unavailable(why)),
        outcome => outcome.done().map(|_| group),
    }
}

/// Asks whether the CP Subsystem is on, and its members have found each other.
///
/// # Errors
///
/// [`Error::Refused`] where it is off; [`Error::Unavailable`].
pub async fn find_cp_members(cluster: &Cluster, deadline: Deadline) -> Result<(), Error> {
    let repeat = Repeat::Harmless;
    let request = |_| requests::cp_members();
    let outcome = invoke(cluster, Recipient::Any, repeat, deadline, request).await?;
    if repeat.understood(responses::cp_members(&outcome.done()?))? == 0 {
        let why = "the members of the CP Subsystem have not found each other yet";
        return Err(Error::Unavailable(why.into()));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.contains('@') {
        let why = format!(
            "\"{name}\" names a CP group behind its \"@\", and only the default group is used"
        );
        return Err(Error::Refused(why));
    }
    Ok(())
}

fn unanswered(waited: Duration, why: &str) -> Error {
    let waited = waited.as_millis();
    Error::Unavailable(format!(
        "the CP group has not answered for {waited} ms, so nothing is sent to it: {why}"
    ))
}
