//! The Hazelcast cluster that `compose/with-hazelcast` starts, and others of a test's own.

use std::{
    collections::HashMap,
    env,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tally_hazelcast::{Client, Number, Settings};
use tokio::runtime::{Builder, Runtime};

use super::{SETTLE_TIME_MAX, Sandbox, Tally, ask, service::Service, wait_until};

/// The variables by which a cluster is found.
const VARIABLES: [&str; 2] = ["HZ_CLUSTER_MEMBERS", "HZ_CLUSTER_NAME"];

/// How long the cluster may take to answer, and how long a lock lasts, where a test says nothing else: the machine is busy
/// with other tests.
pub const PATIENT: [(&str, &str); 2] =
    [("HZ_INVOCATION_TIME_MAX", "8000"), ("HZ_LOCK_LEASE", "60000")];

/// The program that kills and starts members.
const CONTROL: &str = "HAZELCAST_CTL";

/// A cluster, with a map and atomic longs of one test's own.
pub struct Hazelcast {
    variables: HashMap<String, String>,
    /// None where others use the cluster too.
    service: Option<Service>,
    names: String,
}

impl Hazelcast {
    /// The cluster that the environment names.
    pub fn shared() -> Self {
        let variables = VARIABLES.map(|name| {
            let value = env::var(name).unwrap_or_else(|_| {
                panic!("this test needs Hazelcast: run it by compose/with-hazelcast cargo test")
            });
            (name.to_owned(), value)
        });
        Self::with(variables.into(), None)
    }

    /// A cluster that the test can break. With the option `HAZELCAST_CP_MEMBERS=0` it has no CP Subsystem, and with
    /// `HAZELCAST_STARTED=0` no member of it runs at first.
    pub fn start_new(options: &[(&str, &str)]) -> Self {
        let wanted = VARIABLES.into_iter().chain([CONTROL]).collect::<Vec<_>>();
        let service = Service::start("with-hazelcast", options, &wanted);
        Self::with(service.variables.clone(), Some(service))
    }

    fn with(variables: HashMap<String, String>, service: Option<Service>) -> Self {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        Self { variables, service, names: format!("test_{}_{number}", std::process::id()) }
    }

    /// Starts a host on this cluster and waits until it is ready.
    pub fn start(&self, sandbox: &Sandbox, args: &[&str]) -> Tally {
        let tally = self.start_unready(sandbox, args);
        wait_until("the host is ready", || ask(tally.address(), "GET /readyz").status == 200);
        tally
    }

    /// Starts a host on this cluster.
    pub fn start_unready(&self, sandbox: &Sandbox, args: &[&str]) -> Tally {
        let flags = self.flags();
        let flags: Vec<&str> =
            flags.iter().map(String::as_str).chain(args.iter().copied()).collect();
        let mut command = sandbox.command(&flags);
        command.envs(PATIENT);
        sandbox.start_command(command)
    }

    /// The flags by which it is found.
    pub fn flags(&self) -> Vec<String> {
        let (members, name) =
            (&self.variables["HZ_CLUSTER_MEMBERS"], &self.variables["HZ_CLUSTER_NAME"]);
        vec![
            format!("--hz-cluster-members={members}"),
            format!("--hz-cluster-name={name}"),
            format!("--hz-map-name={}", self.names),
            format!("--hz-atomic-long-name={}", self.names),
        ]
    }

    /// The name of the map.
    pub fn map(&self) -> &str {
        &self.names
    }

    /// Stores the default counter of the map, as another client would.
    pub fn put(&self, number: Number) {
        let (runtime, client) = self.client();
        runtime.block_on(client.put(&self.names, "count", number)).unwrap();
    }

    /// What is stored as the default counter of the map.
    pub fn stored(&self) -> Option<Number> {
        let (runtime, client) = self.client();
        runtime.block_on(client.get(&self.names, "count")).unwrap()
    }

    /// The number of the member that owns the default counter of the map.
    pub fn owner(&self) -> String {
        let (runtime, client) = self.client();
        let mut number = None;
        wait_until("the owner of the counter is known", || {
            let owner = runtime.block_on(client.owner(&self.names, "count")).unwrap();
            number = owner.and_then(|owner| self.members().position(|member| member == owner));
            number.is_some()
        });
        (number.unwrap() + 1).to_string()
    }

    /// Takes the lock of the default counter of the map, and leaves it to its lease as a host does that dies.
    pub fn leave_lock(&self, lease: Duration) {
        let (runtime, client) = self.client();
        let lock = runtime.block_on(client.try_lock(&self.names, "count", SETTLE_TIME_MAX, lease));
        drop(runtime);
        // Now there is nothing that could release it.
        assert!(lock.unwrap().is_some());
    }

    /// Waits until the cluster takes writes to the counter `key` of the map, or to its atomic number. It must be there, and
    /// nobody may count on it meanwhile: it stays what it is.
    pub fn wait_until_written(&self, key: &str, is_atomic: bool) {
        let (runtime, client) = self.client();
        let number = format!("{}:{key}", self.names);
        let write = async || match is_atomic {
            true => client.add_and_get(&number, 0).await.is_ok(),
            false => match client.get(&self.names, key).await {
                Ok(Some(count)) => {
                    let same = client.replace_if_same(&self.names, key, count, count.value());
                    same.await.is_ok()
                }
                _ => false,
            },
        };
        wait_until("the cluster takes a write", || runtime.block_on(write()));
    }

    /// A client beside the hosts', and the event loop on which it is.
    fn client(&self) -> (Runtime, Client) {
        let client = Client::new(Settings {
            members: self.members().map(str::to_owned).collect(),
            cluster_name: self.variables["HZ_CLUSTER_NAME"].clone(),
            invocation_time_max: Duration::from_secs(8),
            cp_group_wait_max: Duration::from_secs(30),
            calls_max: 1,
        });
        (Builder::new_current_thread().enable_all().build().unwrap(), client)
    }

    fn members(&self) -> impl Iterator<Item = &str> {
        self.variables["HZ_CLUSTER_MEMBERS"].split(',')
    }

    /// Kills a member, or starts it again, or whatever else `args` mean to compose/hazelcast-control.
    pub fn control(&self, args: &[&str]) {
        let service = self.service.as_ref().expect("only a cluster of the test's own is broken");
        service.control(CONTROL, args);
    }
}
