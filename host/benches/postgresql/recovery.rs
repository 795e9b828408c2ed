//! How soon the throughput is back after the server was stopped as by a crash and started again.

use std::{
    env,
    process::Command,
    sync::atomic::{AtomicI64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tally_loadtest::{Client, Outcome, Target, WebTarget};

use crate::{METHODS, statistics::Sample, tally::Server};

const RESTARTS: usize = 7;
const CLIENTS: usize = 10;
/// Over which a throughput is averaged.
const WINDOW: Duration = Duration::from_millis(250);
/// How much of the throughput before the crash counts as back.
const BACK: f64 = 0.9;
/// When the measurement is given up.
const BACK_TIME_MAX: Duration = Duration::from_secs(60);

pub fn run() {
    println!(
        "Time from the start of the server until {CLIENTS} clients have {:.0} % of the throughput that they had before it \
         was stopped, {RESTARTS} restarts:\n",
        100.0 * BACK
    );
    println!("| method | seconds |");
    println!("|---|---|");
    for method in METHODS {
        let server = Server::start(method.plugin);
        let target = WebTarget::resolve("127.0.0.1", server.port, None).expect("loopback");
        let (counted, ended) = (AtomicI64::new(0), AtomicI64::new(0));
        let times = thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (target, counted, ended) = (&target, &counted, &ended);
                scope.spawn(move || increment_until(target, client, counted, ended));
            }
            let times = (0..RESTARTS).map(|_| restart(&counted)).collect();
            ended.store(1, Ordering::Relaxed);
            times
        });
        println!("| `{}` | {} |", method.plugin, Sample::new(times));
    }
}

fn increment_until(target: &WebTarget, client: usize, counted: &AtomicI64, ended: &AtomicI64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut client = target.connect(client).await.expect("the program serves");
        while ended.load(Ordering::Relaxed) == 0 {
            if let Outcome::Acknowledged { .. } = client.increment().await {
                counted.fetch_add(1, Ordering::Relaxed);
            } else {
                // As a client does that heeds Retry-After, only sooner.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

/// Seconds.
fn restart(counted: &AtomicI64) -> f64 {
    // The first connections are being opened, or the last restart has its after-effects.
    thread::sleep(4 * WINDOW);
    let before = increments(counted, 8 * WINDOW) / 8.0;
    control(&["stop", "-m", "immediate"]);
    control(&["start"]);
    let started = Instant::now();
    while increments(counted, WINDOW) < BACK * before {
        assert!(started.elapsed() < BACK_TIME_MAX, "not back within {BACK_TIME_MAX:?}");
    }
    started.elapsed().as_secs_f64()
}

fn increments(counted: &AtomicI64, time: Duration) -> f64 {
    let before = counted.load(Ordering::Relaxed);
    thread::sleep(time);
    (counted.load(Ordering::Relaxed) - before) as f64
}

fn control(args: &[&str]) {
    let control = env::var_os("POSTGRESQL_CTL").expect("compose/with-postgresql sets it");
    let status = Command::new(control).args(args).status().expect("it is a script");
    assert!(status.success(), "{args:?}");
}
