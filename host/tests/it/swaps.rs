use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Connection, Sandbox, Tally, another_build_in, ask, ask_admin, check_refused, guest, load,
    load_while, load_with_swaps, overview, swap, wait_for_swaps, wait_until,
};

/// Swaps in one test; the benchmark makes a thousand.
const SWAPS: u64 = 50;
/// More, since the first and the last may be made beside the traffic.
const OUTSIDE: u64 = 10;
const CLIENTS: usize = 64;

/// Loads a host while it swaps, and judges the whole run.
fn check_swaps(tally: &Tally, between: &[&str]) {
    let report =
        load_with_swaps(tally, CLIENTS, between, || wait_for_swaps(tally, SWAPS + OUTSIDE));
    let swaps = report.swaps.as_ref().expect("there were swaps");
    assert!(report.passed() && report.verdict.right(), "{between:?}: {report}");
    assert!(SWAPS <= swaps.in_traffic, "{between:?}: {report}");
    assert!(report.failed.total() + report.unknown.total() == 0, "{between:?}: {report}");
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
    let builds = [1, 2].map(|mark| another_build_in(sandbox.path(), "shared-memory-flock", mark));
    let grants =
        [1, 2].map(|mark| format!("build_{mark}.wasm=shared-memory+file-lock+clocks")).join(",");
    let tally = sandbox.start(&["--grant", &grants]);
    check_swaps(&tally, &builds.each_ref().map(|path| path.to_str().unwrap()));
}

#[test]
fn the_load_client_says_which_plugin_counted_unless_another_took_its_place() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(load(&tally, 1, 10).plugin.as_deref(), Ok("shared-memory-atomic"));
    let report = load_while(&tally, 1, || {
        assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    });
    let why = "it was shared-memory-atomic before the load and shared-memory-flock after it";
    assert_eq!(report.plugin, Err(why.to_owned()));
}

#[test]
fn only_plugins_that_exclude_each_other_overlap() {
    let sandbox = Sandbox::new();
    let build = another_build_in(sandbox.path(), "shared-memory-atomic", 1);
    let tally = sandbox.start(&["--grant", "build_1.wasm=shared-memory"]);
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
    // The swap has to come while it sleeps.
    let slept = 3_000_000_000;
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
        assert_eq!(instances(&tally, "shared-memory-atomic"), 0, "what was prepared is gone");
    });
}

#[test]
fn the_pause_can_be_given_with_the_swap() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let args = ["--plugin", hostile.to_str().unwrap(), "--grant", grants];
    let tally = sandbox.start(&[&args[..], &["--swap-pause-max", "100"]].concat());
    let to = |pause_ms: Value| {
        let body = json!({ "plugin": "shared-memory-atomic", "swap_pause_max_ms": pause_ms });
        ask_admin(&tally, "PUT /admin/plugin", &body.to_string())
    };
    for wrong in [json!(9), json!(600_001), json!(-1), json!(1.5), json!("100")] {
        assert_eq!(to(wrong.clone()).problem(), "bad-request", "{wrong}");
    }
    let output = sandbox.run(&["swap", "shared-memory-atomic", "--swap-pause-max", "9"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let admin = format!("http://{}", tally.admin());
    // Longer than calls would be held back by the setting, and the second beyond it after which they give up.
    let slept = 2_500_000_000_i64;
    std::thread::scope(|scope| {
        let sleeping =
            scope.spawn(|| ask(tally.address(), &format!("POST /counters/sleep/inc?by={slept}")));
        wait_until("a call is under way", || instances(&tally, "guest_hostile") > 1);
        check_refused(&to(json!(50)), "not-now", "--swap-pause-max (50 ms)");
        let swapping = scope.spawn(|| {
            let args = ["swap", "shared-memory-atomic", "--swap-pause-max", "20000"];
            sandbox.run(&[&args[..], &["--admin", &admin]].concat())
        });
        wait_until("calls are held back", || {
            swapping.is_finished() || instances(&tally, "shared-memory-atomic") > 2
        });
        let held_back = [(); 4].map(|()| scope.spawn(|| ask(tally.address(), "POST /inc")));
        assert!(held_back.into_iter().all(|call| call.join().unwrap().status == 200));
        assert_eq!(sleeping.join().unwrap().count(), slept);
        let output = swapping.join().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
}

#[test]
fn a_swap_that_holds_calls_back_waits_for_those_in_the_queue_and_those_whose_callers_have_left() {
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let args = ["--plugin", hostile.to_str().unwrap(), "--grant", grants, "--workers", "1"];
    let args = [&args[..], &["--swap-pause-max", "60000"]].concat();
    let slept = 2_000_000_000;
    for (more, calls, status) in [
        // One is called after the other.
        (["--instances-per-worker-max", "1"], 2, 200),
        // The answer has been given long before the call ends.
        (["--call-time-max", "500"], 1, 504),
    ] {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&[&args[..], &more].concat());
        let request = format!("POST /counters/sleep/inc?by={slept} HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut sleeping: Vec<_> = (0..calls).map(|_| Connection::open(tally.address())).collect();
        sleeping.iter_mut().for_each(|caller| caller.write(request.as_bytes()).unwrap());
        wait_until("the calls have come", || tally.has_read_all());
        let mut check_answers =
            || assert!(sleeping.iter_mut().all(|caller| caller.answer().unwrap().status == status));
        if status != 200 {
            check_answers();
        }
        let answer = swap(&tally, "shared-memory-atomic").json();
        assert_eq!(answer["fenced"], true, "{answer}");
        // Had the new plugin been published before they ended, they would have had to be waited for then.
        assert!(answer["drained_us"].as_i64().unwrap() < slept / 4_000, "{answer}");
        if status == 200 {
            check_answers();
        }
        assert_eq!(ask(tally.address(), "GET /counters/sleep").count(), calls * slept);
    }
}

#[test]
fn swaps_are_made_one_after_the_other_and_too_many_at_once_are_refused() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let args = ["--plugin", hostile.to_str().unwrap(), "--grant", grants];
    let tally = sandbox.start(&[&args[..], &["--swap-pause-max", "60000"]].concat());
    std::thread::scope(|scope| {
        let asked = "POST /counters/sleep/inc?by=8000000000";
        scope.spawn(|| ask(tally.address(), asked));
        wait_until("a call is under way", || instances(&tally, "guest_hostile") > 1);
        let swaps: Vec<_> =
            (0..12).map(|_| scope.spawn(|| swap(&tally, "shared-memory-atomic"))).collect();
        wait_until("some are refused while one waits for the call", || {
            swaps.iter().any(|swap| swap.is_finished())
        });
        assert_eq!(overview(&tally)["active"]["generation"], 1);
        let answers: Vec<_> = swaps.into_iter().map(|swap| swap.join().unwrap()).collect();
        let (made, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == 200);
        assert!(refused.iter().all(|answer| answer.problem() == "swap-under-way"), "{refused:?}");
        let mut generations: Vec<_> =
            made.iter().map(|swap| swap.json()["generation"].as_u64().unwrap()).collect();
        generations.sort_unstable();
        assert_eq!(generations, (2..2 + made.len() as u64).collect::<Vec<_>>());
    });
}

#[test]
fn a_plugin_that_was_chosen_by_its_path_is_forgotten_when_it_is_out_of_reach() {
    let sandbox = Sandbox::new();
    let build = another_build_in(sandbox.path(), "shared-memory-atomic", 1);
    let tally = sandbox.start(&["--grant", "build_1.wasm=shared-memory"]);
    assert_eq!(swap(&tally, build.to_str().unwrap()).status, 200);
    let is_known = || ask_admin(&tally, "GET /metrics", "").body.contains("plugin=\"build_1\"");
    for known in [true, false] {
        assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
        assert_eq!(is_known(), known);
    }
}

#[test]
fn a_host_that_stops_while_a_swap_holds_calls_back_answers_what_it_received() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile=shared-memory+file-lock+clocks+log";
    let plugin = ["--plugin", hostile.to_str().unwrap(), "--grant", grants];
    // Most of them have nothing to do, and end as soon as they are told to.
    let tally = sandbox.start(&[&plugin[..], &["--workers", "8"]].concat());
    let slept = 500_000_000;
    std::thread::scope(|scope| {
        let sleeping =
            scope.spawn(|| ask(tally.address(), &format!("POST /counters/sleep/inc?by={slept}")));
        wait_until("a call is under way", || instances(&tally, "guest_hostile") > 1);
        let swapping = scope.spawn(|| swap(&tally, "shared-memory-atomic"));
        wait_until("the swap is prepared", || instances(&tally, "shared-memory-atomic") > 8);
        let mut held_back = [(); 3].map(|()| Connection::open(tally.address()));
        for client in &mut held_back {
            client.write(b"POST /counters/well/inc HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        }
        wait_until("the calls have come", || tally.has_read_all());
        tally.signal(Signal::TERM);
        assert_eq!(sleeping.join().unwrap().count(), slept);
        for mut client in held_back {
            assert_eq!(client.answer().unwrap().status, 200);
        }
        // Whether it was made depends on which thread ended first; whoever asked is told.
        let swapped = swapping.join().unwrap();
        assert!(swapped.status == 200 || !swapped.problem().is_empty(), "{swapped:?}");
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
