//! Keeps a connection to each member, for as long as the client lives.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use uuid::Uuid;

use crate::{
    cluster::Cluster,
    connection::{Connection, Event},
    protocol::{
        failure::Failure,
        frame::Message,
        requests,
        responses::{self, View},
    },
};

/// Pause after the first failed attempt to connect to an address; it doubles from one to the next.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest pause between two attempts, before jitter.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Reports of connections that wait to be read.
const EVENTS_MAX: usize = 64;

/// How long a member may take to agree to tell about its cluster.
const LISTEN_TIME_MAX: Duration = Duration::from_secs(5);

/// The task that looks after the connections.
pub struct Membership {
    cluster: Arc<Cluster>,
    targets: HashMap<String, Target>,
    connecting: JoinSet<(String, Result<Arc<Connection>, String>)>,
    events: mpsc::Receiver<Event>,
    report: mpsc::Sender<Event>,
    /// The member that tells about the cluster, and the versions of what it told.
    source: Option<Source>,
}

/// An address to connect to.
#[derive(Default)]
struct Target {
    /// Who is there, as far as known.
    member: Option<Uuid>,
    is_seed: bool,
    is_connecting: bool,
    failures: u32,
    not_before: Option<Instant>,
}

struct Source {
    connection: Arc<Connection>,
    members_version: i32,
    partitions_version: i32,
}

impl Membership {
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let seed =
            |address: &String| (address.clone(), Target { is_seed: true, ..Target::default() });
        let targets = cluster.settings.members.iter().map(seed).collect();
        let (report, events) = mpsc::channel(EVENTS_MAX);
        Self { cluster, targets, connecting: JoinSet::new(), events, report, source: None }
    }

    /// Goes on for ever.
    pub async fn run(mut self) {
        loop {
            self.connect_missing();
            self.listen();
            let next = self.next_attempt();
            tokio::select! {
                Some(event) = self.events.recv() => self.handle(event),
                Some(Ok((address, outcome))) = self.connecting.join_next() => {
                    self.connected(&address, outcome);
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// Begins to connect to all members that are not connected, and may be tried.
    fn connect_missing(&mut self) {
        let now = Instant::now();
        for (address, target) in &mut self.targets {
            if target.is_missing(&self.cluster) && target.not_before.is_none_or(|then| then <= now)
            {
                target.is_connecting = true;
                let (address, cluster) = (address.clone(), self.cluster.clone());
                let report = self.report.clone();
                self.connecting.spawn(async move {
                    let name = &cluster.settings.cluster_name;
                    let opened =
                        Connection::open(address.clone(), name, cluster.client, report).await;
                    (address, opened)
                });
            }
        }
    }

    /// When the next address may be tried again.
    fn next_attempt(&self) -> Option<Instant> {
        let missing = self.targets.values().filter(|target| target.is_missing(&self.cluster));
        missing.filter_map(|target| target.not_before).min()
    }

    fn connected(&mut self, address: &str, outcome: Result<Arc<Connection>, String>) {
        let Some(target) = self.targets.get_mut(address) else {
            // It left the cluster in the meantime.
            if let Ok(connection) = outcome {
                connection.close(format!("{address} is no member any more"));
            }
            return;
        };
        target.is_connecting = false;
        let joined = outcome.and_then(|connection| {
            let member = connection.greeting().member;
            target.member = Some(member);
            let joined = self.cluster.joined(connection.clone());
            joined.inspect_err(|why| connection.close(why.clone()))
        });
        match joined {
            Ok(()) => {
                target.reached();
                tracing::debug!("connected to the Hazelcast member at {address}");
            }
            Err(why) => {
                target.failed(self.cluster.client);
                tracing::debug!("can't connect to a Hazelcast member: {why}");
                if self.cluster.any().is_none() && self.connecting.is_empty() {
                    self.cluster.unreachable(why);
                }
            }
        }
    }

    /// Makes sure that one of the members tells about the cluster.
    fn listen(&mut self) {
        if self.source.as_ref().is_some_and(|source| source.connection.is_open()) {
            return;
        }
        self.source = self.cluster.any().map(|connection| {
            let asked = connection.clone();
            tokio::spawn(async move {
                let connection = asked;
                let request = requests::add_cluster_view_listener();
                let answer = timeout(LISTEN_TIME_MAX, connection.call(&request)).await;
                let agreed =
                    matches!(&answer, Ok(Ok(answer)) if matches!(Failure::of(answer), Ok(None)));
                if !agreed {
                    // Another connection will be asked.
                    let address = connection.address();
                    connection.close(format!("{address} does not tell about its cluster"));
                }
            });
            Source { connection, members_version: i32::MIN, partitions_version: i32::MIN }
        });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Closed(member, why) => {
                tracing::debug!("{why}");
                for target in self.targets.values_mut().filter(|it| it.member == Some(member)) {
                    // A member that closes each connection at once is not to be kept busy.
                    target.failed(self.cluster.client);
                }
                self.cluster.left(member, why);
            }
            Event::View(member, message) => self.view(member, &message),
        }
    }

    fn view(&mut self, member: Uuid, message: &Message) {
        let told_by = |source: &&mut Source| source.connection.greeting().member == member;
        let Some(source) = self.source.as_mut().filter(told_by) else { return };
        match responses::view(message) {
            Ok((version, View::Members(members))) if source.members_version < version => {
                source.members_version = version;
                self.set_members(&members);
            }
            Ok((version, View::Partitions(owned))) if source.partitions_version < version => {
                source.partitions_version = version;
                self.cluster.set_owners(&owned);
            }
            Ok(_) => {}
            Err(malformed) => {
                let address = source.connection.address();
                source.connection.close(format!("{address}: {malformed}"));
            }
        }
    }

    fn set_members(&mut self, members: &[(Uuid, String)]) {
        let is_member = |address: &String| members.iter().any(|(_, known)| known == address);
        self.targets.retain(|address, target| target.is_seed || is_member(address));
        for (member, address) in members {
            let target = self.targets.entry(address.clone()).or_default();
            if target.member != Some(*member) {
                // Somebody else than the one that could not be reached.
                target.reached();
                target.member = Some(*member);
            }
        }
        let members: Vec<Uuid> = members.iter().map(|(member, _)| *member).collect();
        self.cluster.set_members(members);
    }
}

impl Target {
    fn is_missing(&self, cluster: &Cluster) -> bool {
        !self.is_connecting && !self.member.is_some_and(|member| cluster.has(member))
    }

    fn reached(&mut self) {
        (self.failures, self.not_before) = (0, None);
    }

    /// Chooses when to try again. Clients that lost a member at the same moment come back at different ones.
    fn failed(&mut self, client: Uuid) {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        let jitter = pause / 4 * u32::from(client.as_bytes()[0]) / 256;
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pause + jitter);
    }
}
