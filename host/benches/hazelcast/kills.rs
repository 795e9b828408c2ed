//! What is lost, and for how long nothing is counted, when members are killed under load.

use std::{
    env,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tally_hazelcast::Client;
use tally_host::config::Cli;
use tally_loadtest::{
    Client as _, Load, Outcome, Progress, Report, Start, Stop, Target, WebTarget, run,
};
use tokio::{
    runtime::Builder,
    task::LocalSet,
    time::{sleep, timeout},
};

use crate::{statistics::Sample, tally::Server};

const KILLS: usize = 20;
const MEMBERS: usize = 3;
const CLIENTS: usize = 10;
/// More than can be made in any of the runs, which end after the last kill.
const CALLS_MAX: u64 = 5_000_000;

/// How the members to be killed are chosen, for each method: of atomic numbers all members have copies, of a map's entry
/// the owner has the one that counts.
const RUNS: [(&str, Choice); 3] = [
    ("hazelcast-atomic", Choice::Next),
    ("hazelcast-pessimistic", Choice::Owner),
    ("hazelcast-optimistic", Choice::Owner),
];

/// How long it may take until the cluster has said who owns what, and until a load is under way.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
enum Choice {
    /// One after the other.
    Next,
    /// The one that owns the default counter of the map.
    Owner,
}

pub fn run_all() {
    println!(
        "{KILLS} times kill -9 of a member under {CLIENTS} clients, each started again and made a member of the CP group \
         again: with hazelcast-atomic one after the other, with the methods on maps always the counter's owner. The pause is \
         the longest time without an acknowledged increment after a kill, median (lowest to highest):\n"
    );
    println!("| method | acknowledged | lost | doubled | unknown | refused | pause in s |");
    println!("|---|---|---|---|---|---|---|");
    for (plugin, choice) in RUNS {
        let server = Server::start(plugin);
        let (report, pauses) = kill_members(server.port, choice);
        let verdict = &report.verdict;
        let shown =
            |count: Option<u64>| count.map_or("not known".into(), |count| count.to_string());
        println!(
            "| `{plugin}` | {} | {} | {} | {} | {} | {} |",
            verdict.acknowledged,
            shown(verdict.lost),
            shown(verdict.doubled),
            verdict.unknown,
            report.failed.total(),
            Sample::new(pauses),
        );
    }
}

fn kill_members(port: u16, choice: Choice) -> (Report, Vec<f64>) {
    let target = WebTarget::resolve("127.0.0.1", port, None).expect("loopback");
    let beside = WebTarget::resolve("127.0.0.1", port, Some("beside")).expect("loopback");
    let load = Load {
        clients: CLIENTS,
        calls_per_client: CALLS_MAX,
        start: Start::Keep,
        sole_writer: true,
    };
    let stop = Stop::default();
    with_client(&target, async |mut client| client.reset().await).expect("all members live");
    thread::scope(|scope| {
        let running = scope.spawn(|| run(&target, &load, &Progress::silent(), &stop));
        // So that no member is killed while the load is prepared.
        with_client(&target, wait_until_counted);
        let pauses = (0..KILLS).map(|kill| longest_pause(&beside, choice.member(kill))).collect();
        stop.request();
        let report = running.join().expect("the load client does not panic").expect("it answers");
        (report, pauses)
    })
}

type WebClient = <WebTarget as Target>::Client;

/// What `act` does with a client.
fn with_client<T>(target: &WebTarget, act: impl AsyncFnOnce(WebClient) -> T) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("an event loop");
    LocalSet::new().block_on(&runtime, async {
        act(target.connect(0).await.expect("the program serves")).await
    })
}

async fn wait_until_counted(mut client: WebClient) {
    let counted = async {
        while client.read().await.expect("all members live") == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SETTLE_TIME_MAX, counted).await.expect("the load is under way");
}

impl Choice {
    /// The member to kill as number `kill`, from 0; members are numbered from 1.
    fn member(self, kill: usize) -> usize {
        match self {
            Self::Next => kill % MEMBERS + 1,
            Self::Owner => owner(),
        }
    }
}

fn owner() -> usize {
    let config = Cli::load(&["tally".into()]).unwrap_or_else(|error| panic!("{error:?}")).config;
    let settings = &config.plugins.hazelcast;
    let cluster = settings.cluster();
    let owner = async {
        let client = Client::new(cluster.clone());
        loop {
            let owner = client.owner(&settings.hz_map_name, &settings.hz_counter_key).await;
            if let Some(owner) = owner.expect("the cluster answers") {
                break owner;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build().expect("an event loop");
    let owner =
        runtime.block_on(async { timeout(SETTLE_TIME_MAX, owner).await }).expect("it has one");
    cluster.members.iter().position(|member| *member == owner).expect("it is a member") + 1
}

/// Kills a member and brings it back. Meanwhile one client counts on a counter of its own.
fn longest_pause(target: &WebTarget, member: usize) -> f64 {
    let whole = AtomicBool::new(false);
    thread::scope(|scope| {
        let counting =
            scope.spawn(|| with_client(target, async |client| count(client, &whole).await));
        let member = member.to_string();
        for command in [&["kill", member.as_str()][..], &["start", &member], &["restore"]] {
            control(command);
        }
        whole.store(true, Ordering::Relaxed);
        counting.join().expect("it does not panic").as_secs_f64()
    })
}

async fn count(mut client: WebClient, whole: &AtomicBool) -> Duration {
    let (mut longest, mut counted_last) = (Duration::ZERO, Instant::now());
    while !whole.load(Ordering::Relaxed) {
        if let Outcome::Acknowledged { .. } = client.increment().await {
            longest = longest.max(counted_last.elapsed());
            counted_last = Instant::now();
        } else {
            // As a client does that heeds Retry-After, only sooner.
            sleep(Duration::from_millis(10)).await;
        }
    }
    longest
}

fn control(args: &[&str]) {
    let control = env::var_os("HAZELCAST_CTL").expect("compose/with-hazelcast sets it");
    let status = Command::new(control).args(args).status().expect("it is a script");
    assert!(status.success(), "{args:?}");
}
