use std::{fs, path::PathBuf};

use rustix::process::Signal;

use crate::support::{Sandbox, Tally, ask, guest, load_with_swaps, overview, swap, wait_until};

/// Swaps in one test; the benchmark makes a thousand.
const SWAPS: u64 = 50;
const CLIENTS: usize = 64;

/// Loads a host while it swaps, and judges the whole run.
fn check_swaps(tally: &Tally, between: &[&str]) {
    let report = load_with_swaps(tally, CLIENTS, between, || wait_for_swaps(tally, SWAPS));
    let swaps = report.swaps.as_ref().expect("there were swaps");
    assert!(report.passed() && report.verdict.right(), "{between:?}: {report}");
    assert!(SWAPS <= swaps.in_traffic, "{between:?}: {report}");
    assert!(report.failed.total() + report.unknown.total() == 0, "{between:?}: {report}");
}

fn wait_for_swaps(tally: &Tally, count: u64) {
    wait_until("the swaps were made", || overview(tally)["swaps"].as_u64().unwrap() >= count);
}

/// Another build of a bundled plugin: its component with a custom section, which means nothing.
fn another_build(sandbox: &Sandbox, name: &str, mark: u8) -> PathBuf {
    let bundled = tally_host::plugin::catalog::BUNDLED;
    let bundled = bundled.iter().find(|bundled| bundled.name == name).unwrap();
    // Section 0, its size, the length of its name, the name, and the content.
    let mut wasm = bundled.wasm.to_vec();
    wasm.extend([0, 3, 1, b'x', mark]);
    let path = sandbox.path().join(format!("build_{mark}.wasm"));
    fs::write(&path, wasm).unwrap();
    path
}

#[test]
fn swaps_between_locks_of_one_storage_lose_nothing_and_fail_no_request() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    check_swaps(&tally, &["shared-memory-flock", "shared-memory-atomic"]);
}

#[test]
fn swaps_between_the_three_shared_memory_plugins_lose_nothing_where_each_alone_would_not() {
    let sandbox = Sandbox::new();
    // Calls of the warning example never overlap on a single worker, so it counts exactly there.
    let tally = sandbox.start(&["--workers", "1"]);
    let three = ["shared-memory-flock", "shared-memory-no-lock", "shared-memory-atomic"];
    check_swaps(&tally, &three);
}

#[test]
fn swaps_between_two_builds_of_one_plugin_lose_nothing_and_fail_no_request() {
    let sandbox = Sandbox::new();
    let builds = [1, 2].map(|mark| another_build(&sandbox, "shared-memory-flock", mark));
    let grants =
        [1, 2].map(|mark| format!("build_{mark}=shared-memory+file-lock+clocks")).join(",");
    let tally = sandbox.start(&["--grant", &grants]);
    check_swaps(&tally, &builds.each_ref().map(|path| path.to_str().unwrap()));
}

#[test]
fn only_plugins_that_exclude_each_other_overlap() {
    let sandbox = Sandbox::new();
    let build = another_build(&sandbox, "shared-memory-atomic", 1);
    let tally = sandbox.start(&["--grant", "build_1=shared-memory"]);
    for (plugin, fenced) in [
        ("shared-memory-atomic", false),
        ("shared-memory-flock", true),
        ("shared-memory-flock", false),
        ("shared-memory-no-lock", true),
        ("shared-memory-no-lock", true),
        ("disk-flock", true),
        ("shared-memory-atomic", true),
        // What a foreign plugin does is not known.
        (build.to_str().unwrap(), true),
    ] {
        let answer = swap(&tally, plugin);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["fenced"], fenced, "{plugin}: {answer:?}");
    }
}

#[test]
fn calls_that_began_before_a_swap_end_on_the_old_plugin_and_others_go_on() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let hostile = hostile.to_str().unwrap();
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let tally = sandbox.start(&["--plugin", hostile, "--grant", grants]);
    let slept = 300_000_000;
    std::thread::scope(|scope| {
        let sleeping =
            scope.spawn(|| ask(tally.address(), &format!("POST /counters/sleep/inc?by={slept}")));
        wait_until("a call is under way", || instances(&tally, "guest_hostile") > 1);
        let answer = swap(&tally, "shared-memory-atomic");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json()["paused_us"].as_u64().unwrap() > 10_000, "{answer:?}");
        assert_eq!(sleeping.join().unwrap().count(), slept);
    });
    assert_eq!(ask(tally.address(), "GET /counters/sleep").count(), slept);
    wait_until("what it was lent is gone", || instances(&tally, "guest_hostile") == 0);
}

fn instances(tally: &Tally, plugin: &str) -> u64 {
    let name = format!("tally_plugin_instances{{plugin=\"{plugin}\"}} ");
    let metrics = crate::support::ask_admin(tally, "GET /metrics", "").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("0");
    line.parse().unwrap()
}

#[test]
fn a_swap_that_would_hold_calls_back_for_too_long_is_undone() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let args = ["--plugin", hostile.to_str().unwrap(), "--grant", grants];
    let tally = sandbox
        .start(&[&args[..], &["--swap-pause-max", "100", "--call-time-max", "1000"]].concat());
    let hour = 3_600_000_000_000_i64;
    std::thread::scope(|scope| {
        scope.spawn(|| ask(tally.address(), &format!("POST /counters/sleep/inc?by={hour}")));
        wait_until("a call is under way", || instances(&tally, "guest_hostile") > 1);
        let answer = swap(&tally, "shared-memory-atomic");
        assert_eq!((answer.status, answer.problem().as_str()), (503, "not-now"));
        assert!(answer.body.contains("--swap-pause-max"), "{answer:?}");
        assert_eq!(overview(&tally)["active"]["plugin"], "guest_hostile");
        assert_eq!(ask(tally.address(), "POST /counters/well/inc").status, 200);
    });
}

#[test]
fn a_call_that_outlives_an_overlapping_swap_keeps_a_later_fence_waiting() {
    let sandbox = Sandbox::new();
    let hold = ["--swap-drain-max", "0", "--swap-pause-max", "200", "--lock-wait-max", "20000"];
    let tally = sandbox
        .start(&[&["--plugin", "disk-flock", "--call-time-max", "20000"], &hold[..]].concat());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    // Another process holds the lock, so a call of the plugin waits for it.
    let lock = fs::File::open(sandbox.path().join("count.txt.counter.lock")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(tally.address(), "POST /inc"));
        wait_until("a call is under way", || instances(&tally, "disk-flock") > 2);
        // A trial of disk-flock would wait for the lock, too. This one does not, and is fenced.
        for _ in 0..2 {
            let answer = swap(&tally, "shared-memory-atomic");
            assert_eq!(answer.problem(), "not-now", "{answer:?}");
        }
        lock.unlock().unwrap();
        assert_eq!(waiting.join().unwrap().count(), 2);
    });
    assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
}

#[test]
fn a_host_that_stops_while_a_swap_holds_calls_back_answers_what_it_received() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let tally = sandbox.start(&["--plugin", hostile.to_str().unwrap(), "--grant", grants]);
    let slept = 500_000_000;
    std::thread::scope(|scope| {
        let sleeping =
            scope.spawn(|| ask(tally.address(), &format!("POST /counters/sleep/inc?by={slept}")));
        wait_until("a call is under way", || instances(&tally, "guest_hostile") > 1);
        let swapping = scope.spawn(|| swap(&tally, "shared-memory-atomic"));
        // Ready although calls are held back: a swap is no reason to send traffic elsewhere.
        let clients =
            [(); 8].map(|()| scope.spawn(|| ask(tally.address(), "POST /counters/well/inc")));
        tally.signal(Signal::TERM);
        assert_eq!(sleeping.join().unwrap().count(), slept);
        for client in clients {
            assert_eq!(client.join().unwrap().status, 200);
        }
        // Made or not, it ends.
        let _ = swapping.join().unwrap();
    });
    assert_eq!(tally.wait().code(), Some(0));
}

#[test]
fn a_host_is_ready_while_a_swap_holds_calls_back() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let tally = sandbox.start(&[
        "--plugin",
        hostile.to_str().unwrap(),
        "--grant",
        grants,
        "--swap-pause-max",
        "20000",
    ]);
    let slept = 3_000_000_000;
    std::thread::scope(|scope| {
        let sleeping =
            scope.spawn(|| ask(tally.address(), &format!("POST /counters/sleep/inc?by={slept}")));
        wait_until("a call is under way", || instances(&tally, "guest_hostile") > 1);
        let swapping = scope.spawn(|| swap(&tally, "shared-memory-atomic"));
        let mut looks = 0;
        while !swapping.is_finished() {
            assert_eq!(ask(tally.address(), "GET /readyz").status, 200);
            looks += 1;
        }
        assert!(looks > 10, "{looks} looks");
        assert_eq!(sleeping.join().unwrap().count(), slept);
        assert_eq!(swapping.join().unwrap().status, 200);
    });
}
