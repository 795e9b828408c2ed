use std::thread;

use tally_loadtest::Report;

use crate::support::{
    Hazelcast, PATIENT, Sandbox, ask, load, load_beside_others, load_in_process, load_with_swaps,
    swap, swap_and_leave, wait_for_swaps,
};

const NO_LOCK: &str = "hazelcast-no-lock";
const PESSIMISTIC: &str = "hazelcast-pessimistic";
const OPTIMISTIC: &str = "hazelcast-optimistic";
const ATOMIC: &str = "hazelcast-atomic";
/// The exact ones.
const EXACT: [&str; 3] = [PESSIMISTIC, OPTIMISTIC, ATOMIC];
/// Those that share a map.
const ON_MAP: [&str; 3] = [PESSIMISTIC, OPTIMISTIC, NO_LOCK];

const CLIENTS: usize = 10;
const CALLS: u64 = 1_000;

fn load_both_ways(plugin: &str, mut judge: impl FnMut(&str, Report)) {
    let cluster = Hazelcast::shared();
    let sandbox = Sandbox::new();
    let tally = cluster.start(&sandbox, &["--plugin", plugin]);
    judge("over HTTP", load(&tally, CLIENTS, CALLS));
    let flags = cluster.flags();
    let patient = PATIENT.map(|(variable, value)| {
        format!("--{}={value}", variable.to_lowercase().replace('_', "-"))
    });
    let settings: Vec<_> = flags.iter().chain(&patient).map(String::as_str).collect();
    judge("in process", load_in_process(plugin, &settings, CLIENTS, CALLS));
}

#[test]
fn the_exact_methods_lose_nothing_and_answer_in_the_order_of_time() {
    for plugin in EXACT {
        load_both_ways(plugin, |way, report| {
            assert!(report.verdict.right(), "{plugin} {way}: {report}");
            assert_eq!(report.verdict.linearizable(), Some(true), "{plugin} {way}: {report}");
            let calls = CLIENTS as u64 * CALLS;
            assert_eq!(report.verdict.acknowledged, calls, "{plugin} {way}: {report}");
        });
    }
}

#[test]
fn the_method_without_a_lock_is_caught_with_the_number_that_it_lost() {
    load_both_ways(NO_LOCK, |way, report| {
        assert!(!report.verdict.right(), "{way}: {report}");
        assert!(0 < report.verdict.lost.unwrap(), "{way}: {report}");
        let calls = CLIENTS as u64 * CALLS;
        assert_eq!(report.verdict.acknowledged, calls, "{way}: {report}");
    });
}

#[test]
fn two_hosts_on_one_cluster_count_exactly() {
    const CALLS: u64 = 200;
    for plugin in EXACT {
        let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
        let hosts = [(); 2].map(|()| cluster.start(&sandbox, &["--plugin", plugin]));
        let reports = thread::scope(|scope| {
            let runs =
                hosts.each_ref().map(|host| scope.spawn(|| load_beside_others(host, 4, CALLS)));
            runs.map(|run| run.join().unwrap())
        });
        let acknowledged: u64 = reports.iter().map(|report| report.verdict.acknowledged).sum();
        let count = ask(hosts[0].address(), "GET /count").count();
        assert_eq!((acknowledged, count), (8 * CALLS, 8 * CALLS as i64), "{plugin}");
        for report in reports {
            assert!(report.verdict.right(), "{plugin}: {report}");
        }
    }
}

#[test]
fn the_methods_on_the_map_share_its_counts_and_each_key_has_its_own() {
    let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
    for (idx, plugin) in ON_MAP.into_iter().enumerate() {
        let tally = cluster.start(&sandbox, &["--plugin", plugin]);
        for (key, by) in [("count", 1), ("a@b", 10), ("%F0%9F%A6%80", 100)] {
            let inc = format!("POST /counters/{key}/inc?by={by}");
            let expected = (idx as i64 + 1) * by;
            assert_eq!(ask(tally.address(), &inc).count(), expected, "{plugin} {key}");
            let get = format!("GET /counters/{key}");
            assert_eq!(ask(tally.address(), &get).count(), expected, "{plugin} {key}");
        }
    }
    let tally = cluster.start(&sandbox, &["--plugin", PESSIMISTIC]);
    assert_eq!(ask(tally.address(), "POST /reset").status, 200);
    assert_eq!(ask(tally.address(), "GET /count").count(), 0);
    assert_eq!(ask(tally.address(), "GET /counters/a@b").count(), 30);
}

#[test]
fn each_key_has_an_atomic_long_of_its_own() {
    let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
    let tally = cluster.start(&sandbox, &["--plugin", ATOMIC]);
    for (key, by) in [("count", 1), ("a@b", 10), ("a%2540b", 20), ("%F0%9F%A6%80", 100)] {
        let inc = format!("POST /counters/{key}/inc?by={by}");
        assert_eq!(ask(tally.address(), &inc).count(), by, "{key}");
    }
    assert_eq!(ask(tally.address(), "POST /reset").status, 200);
    assert_eq!(ask(tally.address(), "GET /count").count(), 0);
    assert_eq!(ask(tally.address(), "GET /counters/a@b").count(), 10);
}

#[test]
fn an_increment_past_either_end_is_refused_and_changes_nothing() {
    // Where an atomic long ends: it would wrap around at the ends of 64 bits.
    let within = 1 << 62;
    for (plugin, most, least) in [
        (NO_LOCK, i64::MAX, i64::MIN),
        (PESSIMISTIC, i64::MAX, i64::MIN),
        (OPTIMISTIC, i64::MAX, i64::MIN),
        (ATOMIC, within, -within),
    ] {
        let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
        let tally = cluster.start(&sandbox, &["--plugin", plugin]);
        for (key, end, step) in [("max", most, 1), ("min", least, -1)] {
            let add = |by: i64| ask(tally.address(), &format!("POST /counters/{key}/inc?by={by}"));
            assert_eq!(add(end).count(), end, "{plugin}");
            for past in [step, step * 5_000_000_000, if step < 0 { i64::MIN } else { i64::MAX }] {
                assert_eq!(add(past).problem(), "overflow", "{plugin} {past}");
            }
            let count = ask(tally.address(), &format!("GET /counters/{key}")).count();
            assert_eq!(count, end, "{plugin}");
            assert_eq!(add(-step).count(), end - step, "{plugin}");
        }
    }
}

#[test]
fn swaps_between_methods_lose_nothing_and_fail_no_request() {
    let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
    let tally = cluster.start(&sandbox, &["--plugin", PESSIMISTIC, "--swap-pause-max", "20000"]);
    let between = [OPTIMISTIC, PESSIMISTIC];
    let report = load_with_swaps(&tally, CLIENTS, &between, || {
        wait_for_swaps(&tally, 15);
    });
    assert!(report.passed() && report.verdict.right(), "{report}");
    assert!(report.failed.total() + report.unknown.total() == 0, "{report}");
    for (plugin, fenced) in [(PESSIMISTIC, true), (OPTIMISTIC, true), (ATOMIC, true)] {
        // The last swap of the load is one of the two.
        swap(&tally, if plugin == PESSIMISTIC { OPTIMISTIC } else { PESSIMISTIC });
        // The atomic numbers are another storage than the map.
        let answer = swap_and_leave(&tally, plugin);
        assert_eq!(answer.json()["fenced"], fenced, "{plugin}: {answer:?}");
    }
}
