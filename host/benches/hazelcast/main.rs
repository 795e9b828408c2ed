//! What counting through Tally comes to on Hazelcast, against Hazelcast's own client for Python on the same cluster in the
//! same run, and what becomes of the counts when members are killed.
//!
//! `compose/with-hazelcast compose/with-python-tools cargo bench -p tally-host --bench hazelcast` prints the tables that
//! stand in the README.

mod kills;
mod python;
#[path = "../shared/statistics.rs"]
mod statistics;
#[path = "../shared/tally.rs"]
mod tally;

use std::{env, process, time::Duration};

use statistics::Sample;
use tally_loadtest::Report;

/// Sets of measurements; a median wants an odd number.
const ROUNDS: usize = 5;
/// How long one measurement takes.
const RUN_TIME: Duration = Duration::from_secs(3);
const CLIENTS: [usize; 2] = [1, 10];

/// A way to count, and whether it is exact.
const METHODS: [(&str, bool); 4] =
    [("no_lock", false), ("pessimistic", true), ("optimistic", true), ("atomic", true)];

fn main() {
    if ["HAZELCAST_CTL", "TOOLS_PYTHON"].iter().any(|name| env::var_os(name).is_none()) {
        eprintln!(
            "this needs Hazelcast and its client for Python: run it by compose/with-hazelcast compose/with-python-tools"
        );
        process::exit(2);
    }
    println!(
        "Increments of one counter per second, {ROUNDS} alternating rounds of {} s, median (lowest to highest):\n",
        RUN_TIME.as_secs()
    );
    println!("| method | clients | Python client | in process | ratio | over HTTP | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for method in METHODS {
        for clients in CLIENTS {
            compare(method, clients);
        }
    }
    println!();
    kills::run_all();
}

fn compare((method, exact): (&str, bool), clients: usize) {
    let plugin = format!("hazelcast-{}", method.replace('_', "-"));
    let rate = |report: Report| if exact { tally::exact_rate(&report) } else { report.rps };
    let [mut of_python, mut in_process, mut over_http] = [(); 3].map(|()| Vec::new());
    // Java compiles what is called often.
    tally::in_process(&plugin, clients, RUN_TIME);
    for _ in 0..ROUNDS {
        of_python.push(python::run(method, clients, RUN_TIME));
        in_process.push(rate(tally::in_process(&plugin, clients, RUN_TIME)));
        over_http.push(rate(tally::over_http(&plugin, clients, RUN_TIME)));
    }
    let ratios = |rates: &[f64]| {
        Sample::new(rates.iter().zip(&of_python).map(|(rate, baseline)| rate / baseline).collect())
    };
    println!(
        "| `{plugin}` | {clients} | {} | {} | {} | {} | {} |",
        Sample::new(of_python.clone()).show(0),
        Sample::new(in_process.clone()).show(0),
        ratios(&in_process),
        Sample::new(over_http.clone()).show(0),
        ratios(&over_http),
    );
}
