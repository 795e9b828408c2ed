//! Starts hosts as processes, in directories of their own, and speaks HTTP to them.

mod browser;
mod client;
mod components;
mod guests;
mod hazelcast;
mod postgresql;
mod process;
mod service;

pub use browser::Browser;
pub use client::{Answer, Connection, ask, send};
pub use components::{another_build, another_build_in, bomb, bundled, renamed, slow_to_compile};
pub use guests::{foreign_guest, guest};
pub use hazelcast::{Hazelcast, PATIENT};
pub use postgresql::{Cluster, Database, Session};
pub use process::{COMPILE_CACHE, Sandbox, Tally, own_port};

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use tally_host::{client::Endpoint, config::Cli, plugin::compiler::Compiler};
use tally_loadtest::{
    Load, PluginTarget, Progress, Report, Start, Stop, Swaps, WebTarget, run, run_with_swaps,
};

/// How long something may take that is only a matter of time.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(30);

/// Waits for something that is only a matter of time.
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_within(SETTLE_TIME_MAX, what, holds);
}

/// As [`wait_until`], where `time_max` is to be enough.
pub fn wait_within(time_max: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + time_max;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {time_max:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a host said in the first of a few tries in which no look at its storage was late: one has a second, which it may
/// take to get a processor, or the disk.
pub fn unless_late(mut log: impl FnMut() -> String) -> String {
    const TRIES: usize = 3;
    let mut tries = (0..TRIES).map(|_| log());
    tries.find(|log| !log.contains("did not answer within")).expect("one is in time")
}

/// Waits until `count` swaps were made, for each of which there is the time of [`wait_until`].
pub fn wait_for_swaps(tally: &Tally, count: u64) {
    for made in 1..=count {
        let what = format!("swap {made} of {count}");
        wait_until(&what, || made <= overview(tally)["swaps"].as_u64().unwrap());
    }
}

/// Puts `clients` × `calls` increments on a host's default counter, beginning with a reset.
pub fn load(tally: &Tally, clients: usize, calls: u64) -> Report {
    try_load(tally, &from_zero(clients, calls)).unwrap()
}

/// As [`load`], on a plugin in this process and on the storage that `settings` name, or scratch storage.
pub fn load_in_process(plugin: &str, settings: &[&str], clients: usize, calls: u64) -> Report {
    let args = ["tally", "--plugin", plugin, "--compile-cache", COMPILE_CACHE];
    let args: Vec<_> = args.iter().chain(settings).map(OsString::from).collect();
    let config = Cli::load(&args).unwrap().config;
    let target =
        PluginTarget::load(&config.plugins, &config.plugin_limits, None, Compiler::InThisProcess)
            .unwrap();
    run(&target, &from_zero(clients, calls), &Progress::silent(), &Stop::default()).unwrap()
}

fn from_zero(clients: usize, calls_per_client: u64) -> Load {
    Load { clients, calls_per_client, start: Start::Reset, sole_writer: true }
}

/// As [`load`], for as long as `meanwhile` takes. Clients that can't connect for some seconds give up.
pub fn load_while(tally: &Tally, clients: usize, meanwhile: impl FnOnce()) -> Report {
    let target = target(tally);
    let load = |load: &_, stop: &_| Ok(run(&target, load, &Progress::silent(), stop)?);
    load_beside(tally, clients, load, meanwhile)
}

/// As [`load_while`], with a swap to the next of `between` every 10 ms.
pub fn load_with_swaps(
    tally: &Tally,
    clients: usize,
    between: &[&str],
    meanwhile: impl FnOnce(),
) -> Report {
    let target = target(tally);
    let swaps = Swaps {
        admin: Endpoint::parse(&format!("http://{}", tally.admin())).unwrap(),
        token: tally.token(),
        every: Duration::from_millis(10),
        between: between.iter().map(ToString::to_string).collect(),
    };
    let load =
        |load: &_, stop: &_| Ok(run_with_swaps(&target, load, &swaps, &Progress::silent(), stop)?);
    load_beside(tally, clients, load, meanwhile)
}

/// Puts `load` on a counter that was reset. `meanwhile` begins when increments are made, so that nothing that it breaks is
/// a part of the preparation.
fn load_beside(
    tally: &Tally,
    clients: usize,
    load: impl FnOnce(&Load, &Stop) -> anyhow::Result<Report> + Send,
    meanwhile: impl FnOnce(),
) -> Report {
    // A database that does not exist is created by the first call, for which that may take too long.
    wait_until("the host is ready", || ask(tally.address(), "GET /readyz").status == 200);
    // A cluster that has just come together may not answer in time at first, and a reset may be repeated.
    wait_until("the counter is reset", || ask(tally.address(), "POST /reset").status == 200);
    let endless = Load { start: Start::Keep, ..from_zero(clients, 1_000_000) };
    let stop = Stop::default();
    let report = std::thread::scope(|scope| {
        let loading = scope.spawn(|| load(&endless, &stop));
        let stop_at_the_end = StopOnDrop(&stop);
        wait_until("increments are made", || {
            let count = ask(tally.address(), "GET /count");
            loading.is_finished() || count.status == 200 && 0 < count.count()
        });
        meanwhile();
        drop(stop_at_the_end);
        loading.join().unwrap()
    });
    report.unwrap_or_else(|error| panic!("the load could not be made: {error:#}"))
}

/// Asks the admin listener for a swap, or whatever else `request` says, with a JSON body.
pub fn ask_admin(tally: &Tally, request: &str, body: &str) -> Answer {
    let (head, length) = (tally.admin_head(request), body.len());
    let head = format!("{head}connection: close\r\ncontent-type: application/json\r\n");
    send(tally.admin(), format!("{head}content-length: {length}\r\n\r\n{body}"))
}

/// A connection on which the events of the admin listener come.
pub fn events(tally: &Tally) -> Connection {
    let mut events = Connection::open(tally.admin());
    events.write((tally.admin_head("GET /admin/events") + "\r\n").as_bytes()).unwrap();
    events
}

/// Uploads a plugin.
pub fn upload(tally: &Tally, name: &str, wasm: &[u8]) -> Answer {
    let head = tally.admin_head(&format!("PUT /admin/plugins/{name}"));
    let head = format!("{head}connection: close\r\ncontent-type: application/wasm\r\n");
    let head = format!("{head}content-length: {}\r\n\r\n", wasm.len());
    send(tally.admin(), [head.as_bytes(), wasm].concat())
}

/// Swaps to `plugin`.
pub fn swap(tally: &Tally, plugin: &str) -> Answer {
    ask_admin(tally, "PUT /admin/plugin", &serde_json::json!({ "plugin": plugin }).to_string())
}

/// Swaps to `plugin` and leaves the counts where they are.
pub fn swap_and_leave(tally: &Tally, plugin: &str) -> Answer {
    let body = serde_json::json!({ "plugin": plugin, "leave_counts": true });
    ask_admin(tally, "PUT /admin/plugin", &body.to_string())
}

/// Swaps to `plugin` and takes the counts along.
pub fn swap_and_carry(tally: &Tally, plugin: &str) -> Answer {
    let body = serde_json::json!({ "plugin": plugin, "carry": true });
    ask_admin(tally, "PUT /admin/plugin", &body.to_string())
}

/// As [`swap_and_carry`]; returns what was done.
pub fn carry(tally: &Tally, plugin: &str) -> serde_json::Value {
    let answer = swap_and_carry(tally, plugin);
    assert_eq!(answer.status, 200, "{plugin}: {answer:?}");
    answer.json()
}

/// As [`carry`], and gives up what is there.
pub fn overwrite(tally: &Tally, plugin: &str) -> serde_json::Value {
    let body = serde_json::json!({ "plugin": plugin, "carry": true, "overwrite": true });
    let answer = ask_admin(tally, "PUT /admin/plugin", &body.to_string());
    assert_eq!(answer.status, 200, "{plugin}: {answer:?}");
    answer.json()
}

/// A problem with this code, in which `part` stands.
pub fn check_refused(answer: &Answer, code: &str, part: &str) {
    assert_eq!(answer.problem(), code);
    assert!(answer.body.contains(part), "no {part:?} in {answer:?}");
}

/// What `GET /admin/plugins` says.
pub fn overview(tally: &Tally) -> serde_json::Value {
    let answer = ask_admin(tally, "GET /admin/plugins", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Also ends the load when what goes on meanwhile fails.
struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// As [`load`], from where the counter is and beside other writers.
pub fn load_beside_others(tally: &Tally, clients: usize, calls: u64) -> Report {
    let load = Load { clients, calls_per_client: calls, start: Start::Keep, sole_writer: false };
    try_load(tally, &load).unwrap()
}

fn try_load(tally: &Tally, load: &Load) -> anyhow::Result<Report> {
    Ok(run(&target(tally), load, &Progress::silent(), &Stop::default())?)
}

fn target(tally: &Tally) -> WebTarget {
    let address = tally.address();
    WebTarget::resolve(&address.ip().to_string(), address.port(), None).unwrap()
}
