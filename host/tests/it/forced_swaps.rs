use std::{
    fs::{self, File},
    thread,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::support::{
    Answer, Sandbox, Tally, ask, ask_admin, check_refused, events, guest, overview, swap,
    wait_until,
};

/// Calls that sleep do so for longer than a test lasts.
const PATIENT: [&str; 2] = ["--call-time-max", "600000"];
/// Its work is done when it is swapped out, and else in an hour.
const HOURLY: [&str; 2] = ["--tick-interval", "3600000"];

fn start(sandbox: &Sandbox, more: &[&[&str]]) -> Tally {
    let guest = guest("guest-unruly");
    let args = ["--plugin", guest.to_str().unwrap(), "--swap-pause-max", "300"];
    let grant = ["--grant", "guest_unruly=shared-memory+file-lock+clocks"];
    sandbox.start(&[&args[..], &grant, &more.concat()].concat())
}

/// Whether anybody holds the lock `counter`, which the functions of the guest take.
fn lock_is_held(sandbox: &Sandbox) -> bool {
    let files = fs::read_dir(sandbox.path()).unwrap().map(|file| file.unwrap().path());
    let lock = files.into_iter().find(|path| path.to_string_lossy().ends_with(".counter.lock"));
    lock.is_some_and(|lock| {
        let lock = File::open(lock).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
    })
}

/// Has a function of the guest behave in this way.
fn behave(tally: &Tally, function: &str, mode: i64) {
    assert_eq!(ask(tally.address(), &format!("POST /counters/{function}/reset")).status, 200);
    let set = format!("POST /counters/{function}/inc?by={mode}");
    assert_eq!(ask(tally.address(), &set).count(), mode);
}

fn instances(tally: &Tally) -> u64 {
    let overview = overview(tally);
    let plugins = overview["plugins"].as_array().unwrap();
    let active = plugins.iter().find(|plugin| plugin["name"] == overview["active"]["plugin"]);
    active.unwrap()["instances"].as_u64().unwrap()
}

fn force(tally: &Tally, plugin: &str, more: Value) -> Answer {
    let mut body = json!({ "plugin": plugin, "force": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ask_admin(tally, "PUT /admin/plugin", &body.to_string())
}

/// What a command says that has the host of `tally` do something, and did.
fn command(sandbox: &Sandbox, tally: &Tally, args: &[&str]) -> String {
    let admin = format!("http://{}", tally.admin());
    let output = sandbox.run(&[args, &["--admin", &admin]].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn wait_until_not_ready(tally: &Tally) {
    wait_until("a look at the storage takes too long", || {
        let why = overview(tally)["why_not_ready"].clone();
        why.as_str().is_some_and(|why| why.contains("did not answer"))
    });
}

#[test]
fn a_plugin_whose_calls_never_end_is_swapped_out_by_force_and_only_so() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &[&PATIENT, &HOURLY]);
    behave(&tally, "get", 1);
    wait_until_not_ready(&tally);
    behave(&tally, "increment", 4);
    let increment = || ask(tally.address(), "POST /counters/any/inc");
    let answers: Vec<Answer> = thread::scope(|scope| {
        let holder = scope.spawn(increment);
        wait_until("the lock is held", || lock_is_held(&sandbox));
        behave(&tally, "increment", 1);
        let others: Vec<_> = (0..8).map(|_| scope.spawn(increment)).collect();
        let sleeping = || ask(tally.address(), "GET /counters/sleeping").count();
        // With one look at the storage.
        wait_until("all are under way", || sleeping() == 10);
        let refused = swap(&tally, "shared-memory-atomic");
        check_refused(&refused, "not-now", "--swap-pause-max (300 ms)");
        check_refused(&refused, "not-now", "--force (\\\"force\\\":true)");
        // It can't even be tried while the lock is held.
        assert_eq!(swap(&tally, "shared-memory-flock").problem(), "plugin-refused");
        let told = command(&sandbox, &tally, &["swap", "shared-memory-flock", "--force"]);
        assert!(
            told.contains("shared-memory-flock") && told.contains("; 10 calls were broken off"),
            "{told}"
        );
        others.into_iter().chain([holder]).map(|caller| caller.join().unwrap()).collect()
    });
    for answer in answers {
        assert_eq!((answer.status, answer.problem().as_str()), (500, "broken-off"));
        assert!(answer.body.contains("whether this call counted is unknown"), "{}", answer.body);
    }
    let log = sandbox.stderr();
    assert!(log.contains("WARN") && log.contains("the swap was forced: 10 calls"), "{log}");
    // The lock is free for this host, and for another.
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    wait_until("the storage answers again", || overview(&tally)["ready"] == true);
    let other = sandbox.start(&["--plugin", "shared-memory-flock"]);
    assert_eq!(ask(other.address(), "POST /inc").count(), 2);
}

#[test]
fn there_is_one_look_at_a_storage_at_a_time_however_long_it_takes() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &[&PATIENT, &HOURLY, &["--workers", "1"]]);
    behave(&tally, "get", 1);
    wait_until_not_ready(&tally);
    let ready = || ask(tally.address(), "GET /readyz");
    check_refused(&ready(), "not-ready", "did not answer within 1s");
    let looking = instances(&tally);
    for _ in 0..20 {
        check_refused(&ready(), "not-ready", "did not answer within 1s");
    }
    let mut stream = events(&tally);
    // The control thread looks each second, too.
    let generation = overview(&tally)["active"]["since_unix_ms"].as_u64().unwrap();
    wait_until("some more looks", || {
        let sample = stream.read_until("\"why_not_ready\"");
        let at = sample.rsplit("\"at_unix_ms\":").next().unwrap().split(',').next().unwrap();
        at.parse::<u64>().unwrap() > generation + 5_000
    });
    assert_eq!(instances(&tally), looking);
}

#[test]
fn the_last_work_that_fails_or_never_ends_is_given_up_by_force_and_it_is_said_what_is_lost() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &[&PATIENT, &HOURLY, &["--log-format", "json"]]);
    for (mode, code, lost) in [
        (1, "not-now", "was broken off after 1000 ms"),
        (2, "not-now", "was broken off after 1000 ms"),
        (3, "plugin-refused", "the plugin broke off: it panicked"),
        (10, "plugin-refused", "at an interval failed: t"),
    ] {
        behave(&tally, "tick", mode);
        check_refused(&swap(&tally, "shared-memory-flock"), code, "--force (\\\"force\\\":true)");
        let swapped = force(&tally, "shared-memory-flock", json!({})).json();
        let why = swapped["lost"].as_str().unwrap_or_default();
        assert!(why.contains(lost) && why.contains("guest_unruly"), "{mode}: {swapped}");
        let log = sandbox.stderr();
        assert!(log.contains("what the old plugin had not saved is lost: "), "{log}");
        let mut stream = events(&tally);
        stream.read_until(lost);
        // The way back needs no force.
        let told = command(&sandbox, &tally, &["rollback", "--force"]);
        assert!(told.contains("; 0 calls were broken off\n"), "{told}");
    }
}

#[test]
fn neither_work_nor_a_look_that_never_ends_is_waited_for_once_another_plugin_serves() {
    let sandbox = Sandbox::new();
    let periodic = guest("guest-periodic");
    let grant = ["--grant", "guest_periodic.wasm=shared-memory", "--tick-interval", "10"];
    let tally = start(&sandbox, &[&PATIENT, &grant]);
    behave(&tally, "get", 1);
    wait_until_not_ready(&tally);
    behave(&tally, "tick", 4);
    wait_until("its work has begun", || lock_is_held(&sandbox));
    assert_eq!(force(&tally, periodic.to_str().unwrap(), json!({})).status, 200);
    let ticks = || ask(tally.address(), "GET /counters/ticks").count();
    wait_until("the next one does its work", || ticks() >= 3);
    wait_until("its storage is looked at", || overview(&tally)["ready"] == true);
}

#[test]
fn work_that_waits_for_the_one_before_is_not_begun_when_that_is_broken_off() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &[&["--call-time-max", "2000", "--tick-interval", "10"]]);
    behave(&tally, "tick", 1);
    wait_until("its work takes too long", || sandbox.stderr().contains("at an interval failed"));
    let swapped = force(&tally, "shared-memory-atomic", json!({}));
    assert_eq!(swapped.status, 200, "{swapped:?}");
    // That one, and the last work before the swap.
    assert_eq!(ask(tally.address(), "GET /counters/sleeping").count(), 2);
}

#[test]
fn a_forced_carry_from_a_plugin_that_does_not_list_breaks_nothing_off_and_names_the_way_out() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &[&HOURLY, &["--call-time-max", "3000"]]);
    behave(&tally, "list", 1);
    let refused = force(&tally, "disk-flock", json!({ "carry": true }));
    check_refused(&refused, "plugin-refused", "say --leave-counts (\\\"leave_counts\\\":true)");
    assert!(!refused.body.contains("broken off"), "{}", refused.body);
    let left = force(&tally, "disk-flock", json!({ "leave_counts": true })).json();
    assert!(left["left"]["why_unknown"].is_string(), "{left}");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
}

#[test]
fn calls_that_a_swap_need_not_wait_for_are_broken_off_by_force_after_the_drain() {
    let sandbox = Sandbox::new();
    let args =
        ["--lock-wait-max", "600000", "--call-time-max", "600000", "--swap-drain-max", "300"];
    let tally = sandbox.start(&[&["--plugin", "disk-flock"], &args[..]].concat());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let file = File::open(sandbox.storage()).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let before = instances(&tally);
    thread::scope(|scope| {
        let callers = [0; 3].map(|_| scope.spawn(|| ask(tally.address(), "POST /inc")));
        wait_until("all are under way", || instances(&tally) >= before + 2);
        let swapped = force(&tally, "disk-flock", json!({})).json();
        assert_eq!(swapped["fenced"], false);
        assert!(swapped["broken_off"].as_u64() >= Some(3), "{swapped}");
        for caller in callers {
            assert_eq!(caller.join().unwrap().problem(), "broken-off");
        }
    });
    drop(file);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
}
