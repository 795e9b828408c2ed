//! What plugins that misbehave do to those beside them, and how soon another one takes their place.
//!
//! `cargo bench -p tally-host --bench hostile` prints the table, and fails where an aim is missed; `-- NAME` measures
//! those whose name contains NAME. It wants a machine that does nothing else.

#[path = "../../tests/it/support/guests.rs"]
#[allow(dead_code, reason = "tests compile guests from elsewhere, too")]
mod guests;
#[path = "../swaps/host.rs"]
#[allow(dead_code, reason = "the benchmark of swaps asks for more")]
mod host;
#[path = "../../tests/hostile/mod.rs"]
mod hostile;
mod probes;
#[path = "../shared/statistics.rs"]
mod statistics;

use std::{
    env, process,
    time::{Duration, Instant},
};

use serde_json::json;
use tally_loadtest::machine::Machine;

use host::Host;
use hostile::{ALL, Hostile};
use probes::{PACE, PROBE_TIME, PROBES, Probed};

/// Clients that make the guest misbehave, each of which waits for its answer, but no longer than a second.
const CLIENTS: usize = 2;
/// What the same clients do before, on the same plugin.
const WELL: &str = "POST /counters/well/inc";
/// The plugin that takes the place of the guest.
const AFTER: &str = "shared-memory-atomic";

/// How long calls may take to end before they are broken off by force.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How many times longer an answer may take beside a guest, for what does not go through it.
const RATIO_MAX: f64 = 1.5;
/// How long it may take until another plugin serves.
const SWAP_TIME_MAX: Duration = Duration::from_secs(2);

fn main() {
    let wanted: Vec<_> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{:?}\n", Machine::here());
    println!(
        "p99 of what does not go through the plugin, of which each is asked for every {} ms for {} s, beside {CLIENTS} \
         clients that make the plugin misbehave, in ms, and how many times that is of the p99 while the same clients \
         have it count:\n",
        PACE.as_millis(),
        PROBE_TIME.as_secs()
    );
    let probes = PROBES.map(|(name, _)| name).join(" | ");
    println!("| guest | {probes} | swapped back, ms | forced |");
    println!("|---|{}---|---|", "---|".repeat(PROBES.len()));
    let mut missed = Vec::new();
    for hostile in &ALL {
        let name = hostile.name();
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part)) {
            missed.extend(measure(hostile).into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    for what in &missed {
        eprintln!("DOES NOT HOLD: {what}");
    }
    process::exit(i32::from(!missed.is_empty()));
}

/// Prints a line; returns the aims that were missed.
fn measure(hostile: &Hostile) -> Vec<String> {
    let path = guests::guest(hostile.guest);
    let mut flags = hostile.flags(path.to_str().expect("a path of ours"));
    flags.extend(["--workers", "2", "--tick-interval", "100"].map(String::from));
    let host = Host::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let other = Host::start(&["--workers", "1"]);
    let steady = probes::beside(&host, CLIENTS, WELL, || Probed::take(&host, &other));
    if let Some(before) = hostile.before {
        probes::ask_once(&host, before);
    }
    let (beside, swapped) = probes::beside(&host, CLIENTS, hostile.request, || {
        (Probed::take(&host, &other), swap_back(&host, hostile))
    });
    let (swap, forced) = match &swapped {
        Ok((time, forced)) => (format!("{:.0}", time.as_secs_f64() * 1_000.0), *forced),
        Err(why) => (format!("not: {why}"), true),
    };
    let mut missed = Vec::new();
    let each = steady.p99_ms().into_iter().zip(beside.p99_ms()).zip(PROBES);
    let each = each.map(|((steady, beside), (name, _))| {
        let ratio = beside / steady;
        if RATIO_MAX < ratio {
            missed.push(format!("the p99 of {name} is {ratio:.1} times the steady one"));
        }
        format!("{beside:.2} (× {ratio:.1})")
    });
    let each: Vec<String> = each.collect();
    let forced = if forced { "yes" } else { "no" };
    println!("| {} | {} | {swap} | {forced} |", hostile.name(), each.join(" | "));
    if swapped.as_ref().map_or(true, |(time, _)| SWAP_TIME_MAX < *time) {
        missed.push(format!("swapped back after {swap} ms"));
    }
    missed
}

/// Has another plugin take its place, by force where it must be; returns how long that took, and whether it was forced.
fn swap_back(host: &Host, hostile: &Hostile) -> Result<(Duration, bool), String> {
    let began = Instant::now();
    let pause_max_ms = PAUSE_MAX.as_millis() as u64;
    let forced = json!({ "plugin": AFTER, "force": true, "swap_pause_max_ms": pause_max_ms });
    let asked = [json!({ "plugin": AFTER }), forced];
    let mut refused = String::new();
    for (body, forced) in asked.iter().zip([false, true]).skip(hostile.is_forced.into()) {
        let (status, answer) = host.swap(body);
        if status == 200 {
            return Ok((began.elapsed(), forced));
        }
        refused = answer;
    }
    Err(refused)
}
