use rustix::process::Signal;

use crate::support::{
    Sandbox, Tally, ask, carry, check_refused, guest, overview, swap, swap_and_carry, wait_until,
};

/// What its writes and its work take three seconds for is answered as unknown after one.
const ARGS: [&str; 4] =
    ["--grant", "guest_slow.wasm=shared-memory+clocks", "--call-time-max", "1000"];

fn start(sandbox: &Sandbox, more: &[&str]) -> Tally {
    let guest = guest("guest-slow");
    let plugin = ["--plugin", guest.to_str().unwrap()];
    sandbox.start(&[&plugin[..], &ARGS, more].concat())
}

fn value(tally: &Tally, key: &str) -> i64 {
    ask(tally.address(), &format!("GET /counters/{key}")).count()
}

#[test]
fn a_write_of_a_carry_that_took_too_long_has_ended_before_it_is_taken_back() {
    let sandbox = Sandbox::new();
    // Another host that sees what comes into the region.
    let memory = sandbox.start(&[]);
    let durability = ["--plugin-config", "disk-flock.durability=none"];
    let tally = sandbox.start(&[&["--plugin", "disk-flock"], &durability, &ARGS[..]].concat());
    assert_eq!(ask(tally.address(), "POST /counters/count/inc?by=5").count(), 5);
    let refused = swap_and_carry(&tally, guest("guest-slow").to_str().unwrap());
    check_refused(&refused, "plugin-refused", "--call-time-max");
    assert_eq!(value(&memory, "puts"), 1, "it has ended");
    assert_eq!(value(&memory, "count"), 0, "it was taken back");
    assert_eq!(value(&tally, "count"), 5);
    // Nothing is left, as far as the journal knows.
    let state = sandbox.path().join("state").join("shared-region.journal.json");
    assert!(!state.exists(), "{}", sandbox.stderr());
}

#[test]
fn a_host_is_ready_while_a_carry_holds_calls_back() {
    let sandbox = Sandbox::new();
    let patient = ["--call-time-max", "30000", "--swap-pause-max", "60000"];
    let args = [&["--plugin", "disk-flock"], &ARGS[..2], &patient];
    let tally = sandbox.start(&args.concat());
    wait_until("the storage was asked", || overview(&tally)["ready"] == true);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let log = || sandbox.stderr().matches("not ready").count();
    let before = log();
    // Twice as long as a look may take.
    carry(&tally, guest("guest-slow").to_str().unwrap());
    assert_eq!(overview(&tally)["ready"], true);
    assert_eq!(log(), before, "{}", sandbox.stderr());
}

#[test]
fn work_at_an_interval_that_a_swap_does_not_wait_for_any_more_goes_on_to_its_end() {
    let sandbox = Sandbox::new();
    let memory = sandbox.start(&[]);
    let args = ["--tick-interval", "3600000", "--swap-pause-max", "500"];
    let tally = start(&sandbox, &args);
    check_refused(&swap(&tally, "shared-memory-atomic"), "not-now", "--swap-pause-max (500 ms)");
    assert_eq!(value(&memory, "ticks"), 0);
    wait_until("the work has ended", || value(&memory, "ticks") == 1);
}

#[test]
fn the_last_work_before_the_host_stops_goes_on_to_its_end() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &["--tick-interval", "3600000"]);
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));
    assert_eq!(value(&sandbox.start(&[]), "ticks"), 1);
}

#[test]
fn work_at_an_interval_never_begins_beside_the_work_before() {
    let sandbox = Sandbox::new();
    let memory = sandbox.start(&[]);
    let _tally = start(&sandbox, &["--tick-interval", "10"]);
    wait_until("work is done again and again", || value(&memory, "ticks") >= 3);
    assert_eq!(value(&memory, "overlaps"), 0);
}
