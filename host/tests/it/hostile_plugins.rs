use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Answer, Connection, Sandbox, Tally, ask, guest, swap, wait_until};

/// A plugin whose calls may wait, and one whose calls never do: they are called in different ways.
const GUESTS: [(&str, &str); 2] = [
    ("guest-hostile", "guest_hostile=shared-memory+file-lock+clocks+log"),
    ("guest-hostile-prompt", "guest_hostile_prompt=shared-memory"),
];

fn start(sandbox: &Sandbox, more: &[&str]) -> Tally {
    start_guest(sandbox, GUESTS[0], more)
}

fn start_guest(sandbox: &Sandbox, (name, grant): (&str, &str), more: &[&str]) -> Tally {
    let guest = guest(name);
    let args = ["--plugin", guest.to_str().unwrap(), "--grant", grant];
    sandbox.start(&[&args, more].concat())
}

fn increment(tally: &Tally, key: &str) -> Answer {
    ask(tally.address(), &format!("POST /counters/{key}/inc"))
}

#[test]
fn a_plugin_that_misbehaves_costs_its_own_caller_an_error_and_the_next_call_succeeds() {
    let with_both = [
        ("loop", "--call-cpu-max"),
        ("recurse", "stack"),
        ("grow", "MiB of memory, more than --plugin-memory-max (16 MiB)"),
        ("panic", "panicked"),
    ];
    let with_waiting = [
        ("host-calls", "--host-calls-max"),
        ("hold-and-panic", "panicked"),
        ("hoard", "trapped"),
        ("hold", "it left a lock held, which was let go of"),
    ];
    for (guest, more) in [(GUESTS[0], &with_waiting[..]), (GUESTS[1], &[])] {
        let sandbox = Sandbox::new();
        let tally = start_guest(&sandbox, guest, &["--workers", "1"]);
        for (idx, (key, detail)) in with_both.iter().chain(more).enumerate() {
            let answer = increment(&tally, key);
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (500, "plugin-trapped"),
                "{key}"
            );
            assert!(answer.body.contains(detail), "{key}: {}", answer.body);
            assert_eq!(increment(&tally, "well").count(), idx as i64 + 1, "after {key}");
        }
    }
}

#[test]
fn time_in_functions_of_the_host_that_never_wait_is_time_that_a_call_computes() {
    for ms in ["50", "100"] {
        let sandbox = Sandbox::new();
        let limits = ["--workers", "1", "--call-cpu-max", ms, "--call-time-max", "5000"];
        let tally = start_guest(&sandbox, GUESTS[1], &limits);
        // After the first one, others are called in another way.
        for call in 1..=2 {
            let answer = increment(&tally, "scan");
            let told = (answer.status, answer.problem());
            assert_eq!(told, (500, "plugin-trapped".into()), "{ms} ms, call {call}");
            assert!(answer.body.contains("--call-cpu-max"), "{}", answer.body);
        }
    }
}

#[test]
fn a_plugin_that_takes_all_names_of_locks_takes_them_from_itself_alone() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &["--workers", "1"]);
    assert_eq!(increment(&tally, "names").count(), 1);
    // While it serves still, the next one is tried; and afterwards nothing of it is left.
    for plugin in ["shared-memory-flock", "shared-memory-atomic", "shared-memory-flock"] {
        let answer = swap(&tally, plugin);
        assert_eq!(answer.status, 200, "{plugin}: {answer:?}");
        assert_eq!(ask(tally.address(), "POST /inc").status, 200);
    }
    assert_eq!(ask(tally.address(), "GET /count").count(), 3);
}

#[test]
fn a_plugin_that_returns_with_a_lock_held_keeps_no_other_host_out() {
    let sandbox = Sandbox::new();
    let hostile = start(&sandbox, &[]);
    let other = sandbox.start(&["--plugin", "shared-memory-flock"]);
    for count in 1..=3 {
        let answer = increment(&hostile, "hold");
        assert_eq!((answer.status, answer.problem().as_str()), (500, "plugin-trapped"));
        assert_eq!(ask(other.address(), "POST /inc").count(), count);
    }
    // Nor does one that was swapped away.
    assert_eq!(swap(&hostile, "shared-memory-flock").status, 200);
    assert_eq!(ask(other.address(), "POST /inc").count(), 4);
    assert_eq!(ask(hostile.address(), "POST /inc").count(), 5);
}

#[test]
fn others_are_served_while_a_plugin_loops() {
    let sandbox = Sandbox::new();
    let tally =
        start(&sandbox, &["--workers", "1", "--call-cpu-max", "5000", "--call-time-max", "600000"]);
    assert_eq!(increment(&tally, "well").count(), 1);
    let looping = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(increment(&tally, "loop").status, 500);
            looping.store(false, Ordering::SeqCst);
        });
        let mut served = 0;
        while looping.load(Ordering::SeqCst) {
            increment(&tally, "well").count();
            served += 1;
        }
        assert!(served > 20, "only {served} calls were served meanwhile");
    });
}

#[test]
fn health_is_answered_while_a_plugin_spins() {
    for (guest, cpu_max) in GUESTS.iter().flat_map(|guest| [(*guest, "50"), (*guest, "2000")]) {
        let sandbox = Sandbox::new();
        let tally = start_guest(
            &sandbox,
            guest,
            &["--workers", "1", "--call-cpu-max", cpu_max, "--call-time-max", "1000"],
        );
        assert_eq!(increment(&tally, "well").count(), 1);
        let asked = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    while !asked.load(Ordering::SeqCst) {
                        let answer = increment(&tally, "loop");
                        assert!([500, 503, 504].contains(&answer.status), "{answer:?}");
                    }
                });
            }
            let slowest = (0..40).map(|idx| {
                let began = Instant::now();
                let path = ["/livez", "/readyz"][idx % 2];
                let answer = ask(tally.address(), &format!("GET {path}"));
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                began.elapsed()
            });
            let slowest = slowest.max().unwrap();
            asked.store(true, Ordering::SeqCst);
            // On a quiet machine it takes at most 50 ms; it was 5 s, or 128 s where calls may compute for longer.
            assert!(slowest < Duration::from_secs(2), "{slowest:?}, {guest:?}, {cpu_max}");
        });
    }
}

#[test]
fn calls_that_would_wait_for_long_behind_others_that_compute_are_shed() {
    for guest in GUESTS {
        let sandbox = Sandbox::new();
        let limits = ["--call-cpu-max", "5000", "--call-time-max", "600000"];
        let args = ["--workers", "1", "--instances-per-worker-max", "1"];
        let tally = start_guest(&sandbox, guest, &[limits, args].concat());
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(increment(&tally, "loop").status, 500));
            // Its bound would else be the one of all calls.
            wait_until("one is shed", || {
                let answer = increment(&tally, "well");
                let shed = answer.status == 503;
                assert!(!shed || answer.head.contains("retry-after: 1"), "{answer:?}");
                shed
            });
        });
    }
}

#[test]
fn waiting_is_not_computing() {
    let sandbox = Sandbox::new();
    // More than a busy machine keeps a call that computes little from its core.
    let tally = start(&sandbox, &["--call-cpu-max", "100"]);
    // Five times as long as that, in many waits.
    assert_eq!(increment(&tally, "nap").count(), 1);
}

#[test]
fn a_call_that_waits_too_long_is_answered_as_unknown_and_others_go_on() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &["--workers", "1", "--call-time-max", "1000"]);
    let hours = 3_600_000_000_000_i64;
    let answer = ask(tally.address(), &format!("POST /counters/sleep/inc?by={hours}"));
    assert_eq!((answer.status, answer.problem().as_str()), (504, "call-timed-out"));
    assert!(answer.body.contains("unknown"));
    assert_eq!(increment(&tally, "well").count(), 1);
}

#[test]
fn calls_beyond_the_instances_and_the_queue_are_refused_with_a_time_to_retry() {
    let sandbox = Sandbox::new();
    let limits = ["--instances-per-worker-max", "1", "--queued-calls-per-worker-max", "0"];
    let tally =
        start(&sandbox, &[&["--workers", "1", "--call-time-max", "1000"], &limits[..]].concat());
    let hours = 3_600_000_000_000_i64;
    // The call goes on after its caller was answered, and keeps the only instance.
    assert_eq!(ask(tally.address(), &format!("POST /counters/sleep/inc?by={hours}")).status, 504);
    let answer = increment(&tally, "well");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "too-busy"));
    assert!(answer.head.contains("retry-after: 1"));
    assert!(answer.body.contains("too many calls are waiting"), "{}", answer.body);
    // In the end it is cut off, and the instance is free again.
    let deadline = Instant::now() + Duration::from_secs(30);
    while increment(&tally, "well").status != 200 {
        assert!(Instant::now() < deadline, "the call was not cut off");
    }
}

#[test]
fn a_call_whose_client_has_left_is_finished_before_the_host_ends() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &["--workers", "1"]);
    let nanoseconds = 300_000_000;
    let mut leaving = Connection::open(tally.address());
    let request = format!("POST /counters/sleep/inc?by={nanoseconds} HTTP/1.1\r\nhost: x\r\n\r\n");
    leaving.write(request.as_bytes()).unwrap();
    // The only worker answers this after it has begun the other.
    assert_eq!(increment(&tally, "well").count(), 1);
    drop(leaving);
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));
    let again = sandbox.start(&[]);
    assert_eq!(ask(again.address(), "GET /counters/sleep").count(), nanoseconds);
}

#[test]
fn what_a_plugin_writes_is_in_the_log_under_its_name_and_rationed() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &["--log-lines-per-second-max", "10"]);
    assert_eq!(increment(&tally, "shout").count(), 1);
    let log = sandbox.stderr();
    let lines = log.lines().filter(|line| line.contains("a line of the hostile guest"));
    let lines: Vec<&str> = lines.collect();
    // A second may pass during the call, after which the ration is fresh.
    assert!((10..=50).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines[0].contains("guest_hostile"), "{}", lines[0]);
}

#[test]
fn why_a_plugin_panicked_is_in_the_log_without_a_grant_cut_and_rationed() {
    let sandbox = Sandbox::new();
    let tally = start_guest(&sandbox, GUESTS[1], &["--workers", "1"]);
    let panics = || -> Vec<String> {
        let log = sandbox.stderr();
        log.lines().filter(|line| line.contains("it panicked: ")).map(String::from).collect()
    };
    let began = Instant::now();
    assert_eq!(increment(&tally, "panic-at-length").status, 500);
    let lines = panics();
    assert!(lines.len() == 1 && lines[0].contains(r"ä\nä\n"), "{lines:?}");
    assert!(lines[0].len() < 2 * 1024, "{} bytes", lines[0].len());
    for _ in 0..200 {
        assert_eq!(increment(&tally, "panic").status, 500);
    }
    let lines = panics();
    // After each second the ration is fresh.
    let most = 10 * (began.elapsed().as_secs() as usize + 2);
    assert!((10..=most).contains(&lines.len()), "{} lines", lines.len());
    for part in
        ["misbehaviour/src/lib.rs", "as it was asked to", "guest_hostile_prompt", "increment"]
    {
        assert!(lines[1].contains(part), "no {part} in {}", lines[1]);
    }
    // What was said in a call before is not taken for the reason of this one.
    assert_eq!(increment(&tally, "recurse").status, 500);
    wait_until("the ration is fresh", || {
        assert_eq!(increment(&tally, "recurse").status, 500);
        sandbox.stderr().contains("more calls of this plugin broke off")
    });
    assert_eq!(panics().len(), lines.len());
}
