//! What going through Tally costs on PostgreSQL, against pgbench with the same SQL in the same run, and how soon Tally
//! is back after a crash of the server.
//!
//! `compose/with-postgresql cargo bench -p tally-host --bench postgresql` prints the tables that stand in the README.

mod pgbench;
mod recovery;
#[path = "../shared/statistics.rs"]
mod statistics;
#[path = "../shared/tally.rs"]
mod tally;

use std::{env, process, time::Duration};

use statistics::Sample;

/// Pairs of measurements; a median wants an odd number.
const ROUNDS: usize = 7;
/// How long one measurement takes.
const RUN_TIME: Duration = Duration::from_secs(3);
const CLIENTS: [usize; 3] = [1, 10, 64];

/// One way to increment a row, as a plugin and as a script of pgbench.
struct Method {
    plugin: &'static str,
    script: &'static str,
}

const METHODS: [Method; 2] = [
    Method { plugin: "postgresql-inplace-update", script: pgbench::INPLACE_UPDATE },
    Method { plugin: "postgresql-row-level-locking", script: pgbench::ROW_LEVEL_LOCKING },
];

fn main() {
    if env::var_os("POSTGRESQL_CTL").is_none() {
        eprintln!("this needs PostgreSQL: run it by compose/with-postgresql");
        process::exit(2);
    }
    let scratch = tempfile::tempdir().expect("a directory for the scripts of pgbench");
    // Makes the database, the table and the row.
    tally::in_process(METHODS[0].plugin, 1, RUN_TIME);
    println!(
        "Increments of one row per second, {ROUNDS} alternating rounds of {} s, median (lowest to highest):\n",
        RUN_TIME.as_secs()
    );
    println!("| method | clients | pgbench | in process | ratio | over HTTP | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for method in METHODS {
        for clients in CLIENTS {
            compare(&method, clients, scratch.path());
        }
    }
    println!();
    recovery::run();
}

fn compare(method: &Method, clients: usize, scratch: &std::path::Path) {
    let [mut of_pgbench, mut in_process, mut over_http] = [(); 3].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        of_pgbench.push(pgbench::run(method.script, clients, RUN_TIME, scratch));
        let report = tally::in_process(method.plugin, clients, RUN_TIME);
        in_process.push(tally::exact_rate(&report));
        let report = tally::over_http(method.plugin, clients, RUN_TIME);
        over_http.push(tally::exact_rate(&report));
    }
    let ratios = |rates: &[f64]| {
        Sample::new(rates.iter().zip(&of_pgbench).map(|(rate, baseline)| rate / baseline).collect())
    };
    println!(
        "| `{}` | {clients} | {} | {} | {} | {} | {} |",
        method.plugin,
        Sample::new(of_pgbench.clone()).show(0),
        Sample::new(in_process.clone()).show(0),
        ratios(&in_process),
        Sample::new(over_http.clone()).show(0),
        ratios(&over_http),
    );
}
