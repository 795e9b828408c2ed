//! How long calls are held back while the counts move to another storage.

use std::{thread, time::Duration};

use serde_json::json;

use crate::{Broken, host::Host, statistics::Sample};

const CARRIES: usize = 20;
const CLIENTS: usize = 8;
/// How long each storage serves between two carries.
const SERVES: Duration = Duration::from_millis(250);
const KEYS: u64 = 1_000;
/// Carries from each storage to each other; a median wants an odd number.
const ROUNDS: usize = 5;
/// In this order each storage follows each other once, and the last comes before the first.
const TOUR: [&str; 6] = [DISK, POSTGRESQL, SHARED_MEMORY, POSTGRESQL, DISK, SHARED_MEMORY];
const SHARED_MEMORY: &str = "shared-memory-atomic";
const DISK: &str = "disk-flock";
const POSTGRESQL: &str = "postgresql-inplace-update";

pub fn run(broken: &mut Broken) {
    let host = Host::start(&["--workers", "2", "--swap-pause-max", "60000"]);
    one_counter_under_load(broken, &host);
    many_counters(broken, &host);
}

/// Round the storages and back to the first.
fn one_counter_under_load(broken: &mut Broken, host: &Host) {
    let (report, pauses) = host.load(CLIENTS, None, || {
        let round = [DISK, POSTGRESQL, SHARED_MEMORY].iter().cycle();
        let pauses = round.take(CARRIES).map(|plugin| {
            thread::sleep(SERVES);
            host.carry(plugin).0
        });
        pauses.collect()
    });
    broken.unless_exact("carries under load", &report);
    let pauses = Sample::new(pauses);
    println!(
        "{CARRIES} carries of one counter, shared memory to disk to PostgreSQL to shared memory, under {CLIENTS} clients: \
         {} increments, {} lost, {} failed; pause {:.1} ms in the median, {:.1} ms at most.\n",
        report.verdict.acknowledged,
        report.verdict.lost.map_or("?".into(), |lost| lost.to_string()),
        report.failed.total(),
        pauses.median(),
        pauses.quantile(1.0),
    );
    // To where the next part begins, and empty.
    host.carry(SHARED_MEMORY);
    host.post("/reset");
}

fn many_counters(broken: &mut Broken, host: &Host) {
    for key in 1..=KEYS {
        host.post(&format!("/counters/key-{key}/inc?by={key}"));
    }
    let all = json!({ "keys": KEYS, "total": (KEYS * (KEYS + 1) / 2).to_string() });
    let mut pauses = TOUR.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (plugin, pauses) in TOUR.iter().zip(&mut pauses) {
            let (pause, carried) = host.carry(plugin);
            broken.unless(carried == all, || format!("{carried} arrived instead of {all}"));
            pauses.push(pause);
        }
    }
    println!(
        "Pause of a carry of {KEYS} counters, {ROUNDS} carries, median (lowest to highest):\n"
    );
    println!("| from | to | ms |");
    println!("|---|---|---|");
    let before = TOUR.iter().cycle().skip(TOUR.len() - 1);
    for ((from, to), pauses) in before.zip(TOUR).zip(pauses) {
        println!("| {from} | {to} | {} |", Sample::new(pauses).show(1));
    }
    println!();
}
