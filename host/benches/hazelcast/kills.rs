//! What is lost, and for how long nothing is counted, when members are killed under load.

use std::{
    env,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tally_loadtest::{
    Client, Load, Outcome, Progress, Report, Start, Stop, Target, WebTarget, run,
};

use crate::{statistics::Sample, tally::Server};

const KILLS: usize = 20;
const MEMBERS: usize = 3;
const CLIENTS: usize = 10;
/// More than can be made in any of the runs, which end after the last kill.
const CALLS_MAX: u64 = 5_000_000;
const PLUGINS: [&str; 3] = ["hazelcast-atomic", "hazelcast-pessimistic", "hazelcast-optimistic"];

pub fn run_all() {
    println!(
        "{KILLS} times kill -9 of one member after the other under {CLIENTS} clients, each started again and made a member \
         of the CP group again; the pause is the longest time without an acknowledged increment after a kill, median \
         (lowest to highest):\n"
    );
    println!("| method | acknowledged | lost | doubled | unknown | refused | pause in s |");
    println!("|---|---|---|---|---|---|---|");
    for plugin in PLUGINS {
        let server = Server::start(plugin);
        let (report, pauses) = kill_members(server.port);
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

fn kill_members(port: u16) -> (Report, Vec<f64>) {
    let target = WebTarget::resolve("127.0.0.1", port, None).expect("loopback");
    let beside = WebTarget::resolve("127.0.0.1", port, Some("beside")).expect("loopback");
    let load = Load {
        clients: CLIENTS,
        calls_per_client: CALLS_MAX,
        start: Start::Reset,
        sole_writer: true,
    };
    let stop = Stop::default();
    thread::scope(|scope| {
        let running = scope.spawn(|| run(&target, &load, &Progress::silent(), &stop));
        let pauses = (0..KILLS).map(|kill| longest_pause(&beside, kill % MEMBERS + 1)).collect();
        stop.request();
        let report = running.join().expect("the load client does not panic").expect("it answers");
        (report, pauses)
    })
}

/// Kills a member and brings it back. Meanwhile one client counts on a counter of its own.
fn longest_pause(target: &WebTarget, member: usize) -> f64 {
    let whole = AtomicBool::new(false);
    thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let counting = count(target, &whole);
            tokio::task::LocalSet::new().block_on(&runtime, counting)
        });
        let member = member.to_string();
        for command in [&["kill", member.as_str()][..], &["start", &member], &["restore"]] {
            control(command);
        }
        whole.store(true, Ordering::Relaxed);
        counting.join().expect("it does not panic").as_secs_f64()
    })
}

async fn count(target: &WebTarget, whole: &AtomicBool) -> Duration {
    let mut client = target.connect(0).await.expect("the program serves");
    let (mut longest, mut counted_last) = (Duration::ZERO, Instant::now());
    while !whole.load(Ordering::Relaxed) {
        if let Outcome::Acknowledged { .. } = client.increment().await {
            longest = longest.max(counted_last.elapsed());
            counted_last = Instant::now();
        } else {
            // As a client does that heeds Retry-After, only sooner.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    longest
}

fn control(args: &[&str]) {
    let control = env::var_os("HAZELCAST_CTL").expect("compose/with-hazelcast sets it");
    let status = Command::new(control).args(args).status().expect("it is a script");
    assert!(status.success(), "{args:?}");
}
