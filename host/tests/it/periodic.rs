use rustix::process::Signal;

use crate::support::{Sandbox, Tally, ask, guest, swap, wait_until};

const GRANT: [&str; 2] = ["--grant", "guest_periodic=shared-memory"];

fn start(sandbox: &Sandbox, interval: &str) -> Tally {
    let guest = guest("guest-periodic");
    let plugin = ["--plugin", guest.to_str().unwrap(), "--tick-interval", interval];
    sandbox.start(&[&plugin[..], &GRANT].concat())
}

fn ticks(tally: &Tally) -> i64 {
    ask(tally.address(), "GET /counters/ticks").count()
}

#[test]
fn a_plugin_with_work_at_an_interval_is_given_the_time_for_it() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, "10");
    wait_until("three ticks", || ticks(&tally) >= 3);
}

#[test]
fn it_does_its_work_once_more_when_it_is_swapped_out_and_when_the_host_stops() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, "3600000");
    assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
    assert_eq!(ticks(&tally), 1);
    let tally = start(&sandbox, "3600000");
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));
    assert_eq!(ticks(&sandbox.start(&[])), 2);
}

#[test]
fn a_plugin_whose_last_work_fails_is_not_swapped_out() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, "3600000");
    // Its work is to add 1 to this counter.
    let full = format!("POST /counters/ticks/inc?by={}", i64::MAX);
    assert_eq!(ask(tally.address(), &full).status, 200);
    let answer = swap(&tally, "shared-memory-atomic");
    assert_eq!(answer.problem(), "plugin-refused");
    assert!(answer.body.contains("at an interval failed"), "{answer:?}");
    assert_eq!(ask(tally.address(), "POST /counters/ticks/reset").status, 200);
    assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
}
