use std::fs;

use crate::support::{
    Connection, Database, Hazelcast, Sandbox, ask, ask_admin, carry, check_refused, guest,
    load_while, overview, overwrite, swap_and_carry, swap_and_leave,
};

#[test]
fn counts_go_round_three_storages_under_load_and_none_is_lost() {
    const CARRIES: usize = 20;
    let round = ["disk-flock", "postgresql-inplace-update", "shared-memory-atomic"];
    let sandbox = Sandbox::new();
    let database = Database::new();
    // A swap may not have the time to do so.
    database.create();
    let tally = database.start(&sandbox, &["--swap-pause-max", "20000"]);
    let mut longest_pause_us = 0;
    let report = load_while(&tally, 8, || {
        for plugin in round.iter().cycle().take(CARRIES) {
            let carried = carry(&tally, plugin);
            assert!(carried["carried"]["keys"].is_u64(), "{carried}");
            longest_pause_us = longest_pause_us.max(carried["paused_us"].as_u64().unwrap());
            // So that each storage serves for a while.
            let before = ask(tally.address(), "GET /count").count();
            while ask(tally.address(), "GET /count").count() < before + 20 {}
        }
    });
    println!("longest pause of {CARRIES} carries: {longest_pause_us} µs");
    assert!(report.verdict.right() && report.failed.total() == 0, "{report}");
    assert_eq!(report.verdict.unknown, 0, "{report}");
}

#[test]
fn counts_move_to_a_cluster_and_back_under_load() {
    let (sandbox, cluster) = (Sandbox::new(), Hazelcast::shared());
    let tally = cluster.start(&sandbox, &["--swap-pause-max", "20000"]);
    assert_eq!(ask(tally.address(), "POST /counters/other/inc?by=7").count(), 7);
    let report = load_while(&tally, 8, || {
        for plugin in ["hazelcast-pessimistic", "disk-flock", "hazelcast-optimistic"] {
            let carried = carry(&tally, plugin);
            assert_eq!(carried["carried"]["keys"], 2, "{carried}");
            let before = ask(tally.address(), "GET /count").count();
            while ask(tally.address(), "GET /count").count() < before + 20 {}
        }
    });
    assert!(report.verdict.right() && report.failed.total() == 0, "{report}");
    assert_eq!(report.verdict.unknown, 0, "{report}");
    assert_eq!(ask(tally.address(), "GET /counters/other").count(), 7);
    // What was carried on from there is there no more.
    carry(&tally, "shared-memory-atomic");
    assert_eq!(swap_and_leave(&tally, "hazelcast-pessimistic").status, 200);
    assert_eq!(ask(tally.address(), "GET /count").count(), 0);
    // An atomic long can be counted on, but nobody can say which there are.
    let refused = swap_and_carry(&tally, "hazelcast-atomic");
    check_refused(&refused, "plugin-refused", "can't list its counters");
}

#[test]
fn every_counter_moves_and_the_old_storage_is_empty_afterwards() {
    let sandbox = Sandbox::new();
    let database = Database::new();
    database.create();
    let tally = database.start(&sandbox, &[]);
    let keys = ["count", "a%2Fb", "%C3%A9", "negative", "large"];
    for (key, by) in keys.into_iter().zip([1, 2, 3, -4, i64::MAX]) {
        assert_eq!(ask(tally.address(), &format!("POST /counters/{key}/inc?by={by}")).count(), by);
    }
    let values = || keys.map(|key| ask(tally.address(), &format!("GET /counters/{key}")).count());
    let before = values();
    for plugin in ["disk-flock", "postgresql-serializable-update", "shared-memory-flock"] {
        let carried = carry(&tally, plugin);
        let total = (2 + i128::from(i64::MAX)).to_string();
        assert_eq!(carried["carried"]["keys"], 5, "{carried}");
        assert_eq!(carried["carried"]["total"], total, "{carried}");
        assert_eq!(values(), before, "{plugin}");
    }
    // Without carry the old storages are as the carries left them.
    for plugin in ["disk-flock", "postgresql-inplace-update"] {
        assert_eq!(swap_and_leave(&tally, plugin).status, 200);
        assert_eq!(values(), [0; 5], "{plugin}");
    }
}

#[test]
fn many_counters_are_carried_page_by_page() {
    const KEYS: usize = 2_500;
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--swap-pause-max", "60000"]);
    let mut connection = Connection::open(tally.address());
    for key in 0..KEYS {
        let request = format!("POST /counters/key-{key}/inc?by={key} HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.write(request.as_bytes()).unwrap();
        assert_eq!(connection.answer().unwrap().count(), key as i64);
    }
    for plugin in ["disk-flock", "shared-memory-atomic"] {
        let carried = carry(&tally, plugin);
        // The first was increased by 0.
        assert_eq!(carried["carried"]["keys"], KEYS as u64 - 1, "{carried}");
        assert_eq!(carried["carried"]["total"], (KEYS * (KEYS - 1) / 2).to_string(), "{carried}");
    }
}

#[test]
fn a_listing_has_each_counter_once_whatever_the_page() {
    for plugin in ["shared-memory-atomic", "disk-flock", "hazelcast-optimistic"] {
        let (sandbox, cluster) = (Sandbox::new(), Hazelcast::shared());
        let tally = cluster.start(&sandbox, &["--plugin", plugin]);
        for key in 0..25 {
            ask(tally.address(), &format!("POST /counters/key-{key}/inc?by=7"));
        }
        for limit in [1, 7, 1000] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page =
                    ask(tally.address(), &format!("GET /counters?limit={limit}{cursor}")).json();
                let counters = page["counters"].as_array().unwrap();
                assert!(counters.len() <= limit, "{page}");
                let sevens = counters.iter().filter(|counter| counter["count"] == 7);
                seen.extend(sevens.map(|counter| counter["key"].as_str().unwrap().to_owned()));
                assert!(seen.len() <= 25, "{plugin}: listed again and again: {seen:?}");
                let Some(next) = page["next"].as_str() else { break };
                cursor = format!("&cursor={}", next.replace('%', "%25"));
            }
            seen.sort();
            let mut expected: Vec<_> = (0..25).map(|key| format!("key-{key}")).collect();
            expected.sort();
            assert_eq!(seen, expected, "{plugin}, {limit} a page");
        }
    }
}

#[test]
fn counts_that_would_be_overwritten_are_in_the_way_of_a_carry() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    assert_eq!(ask(tally.address(), "POST /counters/other/inc?by=5").count(), 5);
    assert_eq!(swap_and_leave(&tally, "shared-memory-atomic").status, 200);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let refused = swap_and_carry(&tally, "disk-flock");
    check_refused(&refused, "plugin-refused", "holds counts already (other is 5)");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    // A rollback may carry too, and is refused for the same reason.
    let refused = ask_admin(&tally, "POST /admin/rollback", r#"{"carry":true}"#);
    check_refused(&refused, "plugin-refused", "holds counts already");
    // Unless they are given up.
    assert_eq!(overwrite(&tally, "disk-flock")["carried"]["total"], "2");
    assert_eq!(ask(tally.address(), "GET /count").count(), 2);
    assert_eq!(ask(tally.address(), "GET /counters/other").count(), 0);
}

#[test]
fn a_rollback_can_take_the_counts_back() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    carry(&tally, "disk-flock");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    // What a carry has brought is taken back without a word.
    assert_eq!(ask_admin(&tally, "POST /admin/rollback", "").status, 200);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 3);
    assert_eq!(overview(&tally)["active"]["plugin"], "shared-memory-atomic");
    // Unless that was said not to be, and then it has to be said what becomes of them.
    carry(&tally, "disk-flock");
    let rollback = |body| ask_admin(&tally, "POST /admin/rollback", body);
    check_refused(&rollback(r#"{"carry":false}"#), "carry-or-leave", "3");
    assert_eq!(rollback(r#"{"leave_counts":true}"#).status, 200);
    assert_eq!(ask(tally.address(), "GET /count").count(), 0);
}

#[test]
fn what_can_not_be_carried_is_refused_before_anything_is_held_back() {
    let sandbox = Sandbox::new();
    let hostile = guest("guest-hostile");
    let grants = "guest_hostile.wasm=shared-memory+file-lock+clocks+log";
    let tally = sandbox.start(&["--grant", grants]);
    let same = swap_and_carry(&tally, "shared-memory-flock");
    check_refused(&same, "plugin-refused", "there is nothing to carry");
    let silent = swap_and_carry(&tally, hostile.to_str().unwrap());
    check_refused(&silent, "plugin-refused", "can't list its counters");

    fs::create_dir_all(sandbox.path().join("state")).unwrap();
    let mut command = sandbox.command(&["--shared-memory-name", "other", "--admin-token", "off"]);
    command.env("STATE_DIR", "/dev/null/state");
    let tally = sandbox.start_command(command);
    check_refused(&swap_and_carry(&tally, "disk-flock"), "plugin-refused", "--state-dir");
}
