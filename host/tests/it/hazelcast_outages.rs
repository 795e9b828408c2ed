use std::{
    thread,
    time::{Duration, Instant},
};

use tally_loadtest::Report;

use crate::support::{
    Hazelcast, Sandbox, Tally, ask, check_refused, load_in_process, load_while, swap_and_leave,
    wait_until,
};

const PESSIMISTIC: &str = "hazelcast-pessimistic";
const OPTIMISTIC: &str = "hazelcast-optimistic";
const ATOMIC: &str = "hazelcast-atomic";

/// How soon users must be told that there is no cluster.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How soon counting must go on once the cluster serves again after the end of a member.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Members killed in one test.
const KILLS: usize = 3;

#[test]
fn the_host_starts_without_its_cluster_says_so_within_1_s_and_becomes_ready_by_itself() {
    let cluster = Hazelcast::start_new(&[("HAZELCAST_STARTED", "0")]);
    let sandboxes = [PESSIMISTIC, ATOMIC].map(|plugin| (Sandbox::new(), plugin));
    let hosts = sandboxes.each_ref().map(|(sandbox, plugin)| {
        let tally = cluster.start_unready(sandbox, &["--plugin", plugin]);
        // The host itself waits for this long, and then says only that there was no answer.
        wait_until("told why within 1 s", || {
            let asked = Instant::now();
            let ready = ask(tally.address(), "GET /readyz");
            assert_eq!((ready.status, ready.problem().as_str()), (503, "not-ready"));
            asked.elapsed() < TOLD_WITHIN && ready.body.contains("Connection refused")
        });
        assert_eq!(ask(tally.address(), "GET /livez").status, 200);
        let refused = ask(tally.address(), "POST /inc");
        assert_eq!((refused.status, refused.problem().as_str()), (503, "storage-unavailable"));
        wait_until("the log says so", || sandbox.stderr().contains("not ready: can't reach"));
        tally
    });
    cluster.control(&["start-all"]);
    for (tally, (sandbox, plugin)) in hosts.iter().zip(&sandboxes) {
        wait_until("ready", || ask(tally.address(), "GET /readyz").status == 200);
        assert_eq!(ask(tally.address(), "POST /inc").count(), 1, "{plugin}");
        wait_until("the log says so", || sandbox.stderr().contains("ready again"));
    }
}

#[test]
fn nothing_is_sent_to_a_new_cp_group_before_it_has_a_leader() {
    // Longer than a call may take.
    let election =
        "-Dhz.cp-subsystem.raft-algorithm.leader-election-timeout-in-millis=7000".to_owned();
    let cluster = Hazelcast::start_new(&[("HAZELCAST_JAVA_OPTS", &election)]);
    let patience = ["--hz-invocation-time-max", "4000"];
    let (sandbox, flags) = (Sandbox::new(), cluster.flags());
    let args = [&["--plugin", ATOMIC], &patience[..]].concat();
    let tally = cluster.start_unready(&sandbox, &args);
    thread::scope(|scope| {
        // The first calls are those of a load, which begins with a reset.
        let settings: Vec<_> = flags.iter().map(String::as_str).chain(patience).collect();
        let loading = scope.spawn(move || load_in_process(ATOMIC, &settings, 4, 50));
        let (mut reasons, mut refused) = (Vec::new(), 0);
        wait_until("counting", || {
            let ready = ask(tally.address(), "GET /readyz");
            let answer = ask(tally.address(), "POST /counters/other/inc");
            if ready.status != 200 {
                reasons.push(ready.body);
            }
            if answer.status == 200 {
                // What was refused before was not sent.
                assert_eq!(answer.count(), 1, "{answer:?}");
                return true;
            }
            assert_eq!(answer.problem(), "storage-unavailable", "{answer:?}");
            refused += 1;
            false
        });
        assert!(0 < refused && reasons.iter().any(|why| why.contains("CP group")), "{reasons:?}");
        let report = loading.join().unwrap();
        assert!(report.verdict.right() && report.verdict.acknowledged == 200, "{report}");
    });
    wait_until("ready", || ask(tally.address(), "GET /readyz").status == 200);
    assert_eq!(ask(tally.address(), "GET /counters/other").count(), 1);
}

#[test]
fn a_cluster_without_cp_is_refused_with_the_setting_that_turns_it_on() {
    let cluster = Hazelcast::start_new(&[("HAZELCAST_CP_MEMBERS", "0")]);
    let sandbox = Sandbox::new();
    // The maps are there all the same, and a swap is refused as a start is.
    let tally = cluster.start(&sandbox, &["--plugin", PESSIMISTIC]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    check_refused(&swap_and_leave(&tally, ATOMIC), "plugin-refused", "cp-member-count");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    let flags = cluster.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let refused = sandbox.run(&[&flags[..], &["--plugin", ATOMIC]].concat());
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("cp-member-count"), "{said}");
}

/// Kills members, `choose` says which, and starts them again when the clients of a load have counted on without them.
fn kill_members(cluster: &Hazelcast, tally: &Tally, plugin: &str, choose: Choose) {
    for kill in 1..=KILLS {
        // A counter that no test locks.
        let counted = || ask(tally.address(), "POST /counters/beside/inc").status == 200;
        wait_until("counting", counted);
        wait_until_counted(tally);
        let member = choose(cluster, kill);
        cluster.control(&["kill", &member]);
        cluster.wait_until_written("beside", plugin == ATOMIC);
        let serves = Instant::now();
        // Both kinds of answers come from then on, until only one does.
        for _ in 0..10 {
            wait_until("counting", counted);
        }
        assert!(serves.elapsed() < BACK_WITHIN, "{:?}", serves.elapsed());
        // What was under way may have been counted before it.
        for _ in 0..10 {
            wait_until_counted(tally);
        }
        cluster.control(&["start", &member]);
        if plugin == ATOMIC {
            cluster.control(&["restore"]);
        }
    }
}

/// Waits until the clients of the load have counted on.
fn wait_until_counted(tally: &Tally) {
    let mut first = None;
    wait_until("counting", || {
        let answer = ask(tally.address(), "GET /count");
        answer.status == 200 && *first.get_or_insert(answer.count()) < answer.count()
    });
}

/// Which member to kill next, given the number of the kill.
type Choose = fn(&Hazelcast, usize) -> String;

fn load_while_members_are_killed(plugin: &str, choose: Choose) -> Report {
    let cluster = Hazelcast::start_new(&[]);
    let sandbox = Sandbox::new();
    let tally = cluster.start(
        &sandbox,
        &["--plugin", plugin, "--hz-invocation-time-max", "2000", "--hz-lock-lease", "5000"],
    );
    let report = load_while(&tally, 4, || kill_members(&cluster, &tally, plugin, choose));
    assert_eq!(ask(tally.address(), "GET /livez").status, 200);
    for (reason, _) in report.failed.iter() {
        assert!(reason.starts_with("503 "), "{plugin}: {report}");
    }
    for (reason, _) in report.unknown.iter() {
        assert!(reason.ends_with("whether this call counted is unknown"), "{plugin}: {report}");
    }
    report
}

#[test]
fn members_that_are_killed_under_load_take_no_acknowledged_atomic_increment_along() {
    let report = load_while_members_are_killed(ATOMIC, |_, kill| kill.to_string());
    assert!(report.verdict.right(), "{report}");
}

#[test]
fn what_maps_lose_with_their_owner_is_counted_and_reported() {
    let report = load_while_members_are_killed(OPTIMISTIC, |cluster, _| cluster.owner());
    let verdict = &report.verdict;
    let missing = verdict.acknowledged.checked_signed_diff(verdict.final_count.unwrap() as u64);
    // Whether a map loses any is up to the cluster.
    println!("{missing:?} of {} are missing", verdict.acknowledged);
    let expected = missing.unwrap().max(0).unsigned_abs();
    assert_eq!((verdict.lost, verdict.doubled), (Some(expected), Some(0)), "{report}");
}

/// When the owner is dead and such a lock ends, the cluster ends the next one at once, and lets the one after it begin.
#[test]
fn a_lock_that_the_cluster_gives_to_two_loses_nothing() {
    let report = load_while_members_are_killed(PESSIMISTIC, |cluster, _| {
        let owner = cluster.owner();
        // So long that the new owner has a new backup by then.
        cluster.leave_lock(Duration::from_secs(6));
        owner
    });
    assert!(report.verdict.right(), "{report}");
}
