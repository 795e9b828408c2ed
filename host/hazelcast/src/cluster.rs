//! What is known of the cluster, and which connection a call takes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use crate::{
    Error, Settings,
    connection::Connection,
    pace,
    protocol::{
        requests::{Entry, NO_PARTITION, RaftGroup},
        responses::Greeting,
    },
};

/// Whether there is a way to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The first attempts are being made.
    Connecting,
    /// At least one member is connected.
    Up,
    /// No member is connected, and why the last attempt failed.
    Down(String),
}

/// The cluster as one client sees it.
pub struct Cluster {
    /// Where it is.
    pub settings: Settings,
    /// Who this client is, the same on all connections.
    pub client: Uuid,
    state: Mutex<State>,
    reach: watch::Sender<Reach>,
}

#[derive(Default)]
struct State {
    connections: BTreeMap<Uuid, Arc<Connection>>,
    /// None before the first connection.
    known: Option<Known>,
    /// Calls for the leader that have found a way.
    led: u64,
}

/// What is the same for all members, until the whole cluster is started anew.
struct Known {
    cluster: Uuid,
    /// Who belongs to it; none before the first view.
    members: Option<Vec<Uuid>>,
    /// By partition; none where it is not known yet.
    owners: Vec<Option<Uuid>>,
    /// The group of our atomic longs, once it has answered.
    group: Option<RaftGroup>,
}

impl Known {
    fn partitions(&self) -> i32 {
        i32::try_from(self.owners.len()).expect("members say how many there are as an i32")
    }
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub enum Recipient<'a> {
    /// Any member.
    Any,
    /// The leader of the CP members, or whoever passes the call on the fastest.
    Leader,
    /// The owner of a partition.
    Partition(i32),
    /// The owner of an entry.
    Entry(&'a Entry),
}

impl Recipient<'_> {
    /// The partition, among `count`; none where any member will do.
    fn partition(self, count: i32) -> Option<i32> {
        match self {
            Self::Any | Self::Leader => None,
            Self::Partition(partition) => Some(partition),
            Self::Entry(entry) => Some(entry.partition(count)),
        }
    }
}

/// The connection for a call, and the partition that the call is about.
pub struct Route {
    pub connection: Arc<Connection>,
    pub partition: i32,
}

impl Cluster {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            client: Uuid::new_v4(),
            state: Mutex::default(),
            reach: watch::Sender::new(Reach::Connecting),
        }
    }

    /// The way to `recipient`, or to any member, who will pass the call on.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when no member is connected, at once or, if the first attempts are being made, at `deadline`.
    pub async fn route(&self, recipient: Recipient<'_>, deadline: Instant) -> Result<Route, Error> {
        let mut reach = self.reach.subscribe();
        loop {
            if let Some(route) = self.state().route(recipient) {
                return Ok(route);
            }
            let place = self.settings.place();
            let down = |why: &str| Err(Error::Unavailable(format!("can't reach {place}: {why}")));
            if let Reach::Down(why) = &*reach.borrow_and_update() {
                return down(why);
            }
            // The sender lives as long as the cluster.
            if timeout_at(deadline, reach.changed()).await.is_err() {
                return down("no member has answered yet");
            }
        }
    }

    /// The connection to the owner of `entry`, if it is known and connected.
    pub fn owner(&self, entry: &Entry) -> Option<Arc<Connection>> {
        let state = self.state();
        let known = state.known.as_ref()?;
        state.owner(known, entry.partition(known.partitions()))
    }

    /// How many partitions there are; none before the first connection.
    pub fn partitions(&self) -> Option<i32> {
        self.state().known.as_ref().map(Known::partitions)
    }

    /// Takes a connection into use.
    ///
    /// # Errors
    ///
    /// Why it is of no use: there is one to this member, or the member belongs to another cluster.
    pub fn joined(&self, connection: Arc<Connection>) -> Result<(), String> {
        self.state().join(connection)?;
        self.reach.send_replace(Reach::Up);
        Ok(())
    }

    /// Forgets the connection to a member.
    pub fn left(&self, member: Uuid, why: String) {
        let mut state = self.state();
        // Another connection may be in its place.
        if state.connections.get(&member).is_some_and(|connection| !connection.is_open()) {
            state.connections.remove(&member);
        }
        if state.connections.is_empty() {
            drop(state);
            self.unreachable(why);
        }
    }

    /// All attempts to connect have failed for now.
    pub fn unreachable(&self, why: String) {
        self.reach.send_replace(Reach::Down(why));
    }

    /// Whether the member is connected.
    pub fn has(&self, member: Uuid) -> bool {
        self.state().connections.get(&member).is_some_and(|connection| connection.is_open())
    }

    /// Any member that is connected.
    pub fn any(&self) -> Option<Arc<Connection>> {
        self.state().any()
    }

    /// Notes who belongs to the cluster, and closes the connections to all others.
    pub fn set_members(&self, members: Vec<Uuid>) {
        let mut state = self.state();
        for (_, connection) in state.connections.iter().filter(|(id, _)| !members.contains(id)) {
            connection.close(format!("{} is no member any more", connection.address()));
        }
        if let Some(known) = &mut state.known {
            known.members = Some(members);
        }
    }

    /// Closes all connections.
    pub fn close(&self) {
        for connection in self.state().connections.values() {
            connection.close("the client is gone".to_owned());
        }
    }

    /// Notes who owns which partitions. An empty table means that the cluster has not made one yet.
    pub fn set_owners(&self, owned: &[(Uuid, Vec<i32>)]) {
        let mut state = self.state();
        let Some(known) = &mut state.known else { return };
        if owned.is_empty() {
            return;
        }
        known.owners.fill(None);
        for (member, partitions) in owned {
            for partition in partitions {
                let partition = usize::try_from(*partition).unwrap_or(usize::MAX);
                if let Some(owner) = known.owners.get_mut(partition) {
                    *owner = Some(*member);
                }
            }
        }
    }

    /// The group of our atomic longs, if it has answered.
    pub fn group(&self) -> Option<RaftGroup> {
        self.state().known.as_ref()?.group.clone()
    }

    /// Remembers the group that has answered, or that it has to be asked for again.
    pub fn set_group(&self, group: Option<RaftGroup>) {
        if let Some(known) = &mut self.state().known {
            known.group = group;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn any(&self) -> Option<Arc<Connection>> {
        self.connections.values().find(|connection| connection.is_open()).cloned()
    }

    fn route(&mut self, recipient: Recipient<'_>) -> Option<Route> {
        let known = self.known.as_ref()?;
        let partition = recipient.partition(known.partitions());
        let connection = match (recipient, partition) {
            (Recipient::Leader, _) => self.fastest(),
            (_, Some(partition)) => self.owner(known, partition).or_else(|| self.any()),
            _ => self.any(),
        };
        Some(Route { connection: connection?, partition: partition.unwrap_or(NO_PARTITION) })
    }

    fn fastest(&mut self) -> Option<Arc<Connection>> {
        self.led += 1;
        let open = self.connections.values().filter(|connection| connection.is_open());
        pace::choose(open, |connection| connection.pace(), self.led).cloned()
    }

    /// The connection to the owner of `partition`, if there is one.
    fn owner(&self, known: &Known, partition: i32) -> Option<Arc<Connection>> {
        let owner = known.owners.get(usize::try_from(partition).ok()?)?.as_ref()?;
        self.connections.get(owner).filter(|connection| connection.is_open()).cloned()
    }

    fn join(&mut self, connection: Arc<Connection>) -> Result<(), String> {
        let greeting: Greeting = *connection.greeting();
        self.connections.retain(|_, connection| connection.is_open());
        if self.connections.contains_key(&greeting.member) {
            return Err(format!("{} is connected already", connection.address()));
        }
        let partitions = usize::try_from(greeting.partitions).map_err(|error| error.to_string())?;
        let is_stranger = |known: &Known| {
            known.members.as_ref().is_some_and(|members| !members.contains(&greeting.member))
        };
        if self.connections.is_empty() {
            // After an outage the first member may be any.
            self.known.iter_mut().for_each(|known| known.members = None);
        } else if self.known.as_ref().is_some_and(is_stranger) {
            // Of two parts of a cluster that has split, one is enough.
            return Err(format!("{} is no member that the others know", connection.address()));
        }
        let is_known =
            |known: &Known| known.cluster == greeting.cluster && known.owners.len() == partitions;
        if !self.known.as_ref().is_some_and(is_known) {
            if !self.connections.is_empty() {
                return Err(format!("{} belongs to another cluster", connection.address()));
            }
            // The first one, or the cluster was started anew.
            let owners = vec![None; partitions];
            self.known =
                Some(Known { cluster: greeting.cluster, members: None, owners, group: None });
        }
        self.connections.insert(greeting.member, connection);
        Ok(())
    }
}
