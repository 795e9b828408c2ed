//! What swaps do to the requests under way, to the memory of the host and to its slowest answers, and how long carries
//! hold calls back.
//!
//! `compose/with-postgresql cargo bench -p tally-host --bench swaps` prints the tables that stand in the README, and
//! fails when a count is wrong or a request fails. `-- many`, `-- latency` or `-- carries` makes a part of it.

mod carries;
#[allow(dead_code, reason = "the benchmark of hostile plugins asks for more")]
mod host;
mod latency;
mod many;
#[path = "../shared/statistics.rs"]
mod statistics;

use std::{env, process};

use tally_loadtest::{Report, machine::Machine};

/// What must hold, and does not.
#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    /// Takes a note unless the load was answered without a failure and counted exactly, whatever was done meanwhile.
    fn unless_exact(&mut self, what: &str, report: &Report) {
        let answered = report.failed.total() + report.unknown.total() == 0;
        let exact = report.passed() && report.verdict.linearizable() == Some(true);
        self.unless(answered && exact, || format!("{what}:\n{report}"));
    }
}

fn main() {
    if env::var_os("POSTGRESQL_CTL").is_none() {
        eprintln!("this needs PostgreSQL: run it by compose/with-postgresql");
        process::exit(2);
    }
    type Part = fn(&mut Broken);
    let parts: [(_, Part); 3] =
        [("many", many::run), ("latency", latency::run), ("carries", carries::run)];
    // Cargo adds flags of its own.
    let wanted: Vec<_> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{:?}\n", Machine::here());
    let mut broken = Broken::default();
    for (name, run) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            run(&mut broken);
        }
    }
    for what in &broken.0 {
        eprintln!("DOES NOT HOLD: {what}");
    }
    process::exit(i32::from(!broken.0.is_empty()));
}
