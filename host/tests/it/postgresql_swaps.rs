use std::thread;

use crate::support::{
    Database, Sandbox, ask, ask_admin, load_with_swaps, overview, swap, swap_and_leave,
    wait_for_swaps, wait_until,
};

/// Methods of which calls exclude each other, so that both may serve at once.
const EXACT: [&str; 2] = ["postgresql-inplace-update", "postgresql-row-level-locking"];

#[test]
fn swaps_between_methods_lose_nothing_and_need_no_more_connections() {
    const SWAPS: u64 = 20;
    let database = Database::new();
    let sandbox = Sandbox::new();
    let args = ["--plugin", EXACT[0], "--db-connections-max", "4"];
    let tally = database.start(&sandbox, &args);
    let report = load_with_swaps(&tally, 4, &EXACT, || {
        wait_for_swaps(&tally, SWAPS);
    });
    assert!(report.passed() && report.verdict.right(), "{report}");
    assert_eq!(report.failed.total() + report.unknown.total(), 0, "{report}");
}

#[test]
fn methods_of_which_calls_overlap_share_their_connections() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    let args = ["--plugin", EXACT[0], "--workers", "1", "--db-connections-max", "2"];
    let times = ["--db-checkout-wait-max", "1000", "--db-statement-time-max", "60000"];
    let tally = database.start(&sandbox, &[&args[..], &times].concat());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let held = database.hold_row();
    thread::scope(|scope| {
        let calls = [(); 2].map(|()| scope.spawn(|| ask(tally.address(), "POST /inc")));
        wait_until("both connections are used", || {
            database.sessions("wait_event_type = 'Lock'") == 2
        });
        let swapped = scope.spawn(|| swap(&tally, EXACT[1]));
        wait_until("the other method serves", || overview(&tally)["active"]["generation"] == 2);
        let other = || ask(tally.address(), "POST /counters/other/inc");
        let refused = other();
        assert_eq!(refused.problem(), "storage-unavailable", "{refused:?}");
        drop(held);
        assert!(calls.into_iter().all(|call| call.join().unwrap().status == 200));
        assert_eq!(swapped.join().unwrap().status, 200);
        assert_eq!(other().count(), 1);
    });
}

#[test]
fn calls_that_began_before_methods_are_swapped_end_on_the_old_one_and_count_as_its_calls() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    // As long as the row is held.
    let args = ["--plugin", EXACT[0], "--db-statement-time-max", "60000"];
    let tally = database.start(&sandbox, &args);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let called = |plugin: &str| {
        let plugins = overview(&tally)["plugins"].clone();
        let plugin = plugins.as_array().unwrap().iter().find(|known| known["name"] == plugin);
        plugin.unwrap()["calls"].as_u64().unwrap()
    };
    let before = called(EXACT[0]);
    let held = database.hold_row();
    thread::scope(|scope| {
        let call = scope.spawn(|| ask(tally.address(), "POST /inc"));
        wait_until("a call is under way", || database.sessions("wait_event_type = 'Lock'") == 1);
        let swapped = scope.spawn(|| swap(&tally, EXACT[1]));
        wait_until("the other method serves", || overview(&tally)["active"]["generation"] == 2);
        assert_eq!(ask(tally.address(), "POST /counters/other/inc").count(), 1);
        assert!(!call.is_finished() && !swapped.is_finished());
        drop(held);
        assert_eq!(call.join().unwrap().count(), 2);
        assert_eq!(swapped.join().unwrap().json()["fenced"], false);
    });
    assert_eq!((called(EXACT[0]) - before, called(EXACT[1])), (1, 1));
}

#[test]
fn calls_that_outlive_a_swap_go_on_and_a_later_fence_waits_for_them() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    let times = ["--swap-drain-max", "200", "--db-statement-time-max", "60000"];
    let pause = ["--swap-pause-max", "200", "--plugin", EXACT[0]];
    let tally = database.start(&sandbox, &[&times[..], &pause].concat());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let held = database.hold_row();
    thread::scope(|scope| {
        let call = scope.spawn(|| ask(tally.address(), "POST /inc"));
        wait_until("a call is under way", || database.sessions("wait_event_type = 'Lock'") == 1);
        let swapped = swap(&tally, EXACT[1]).json();
        assert!(swapped["drained_us"].as_u64().unwrap() >= 200_000, "{swapped}");
        assert_eq!(ask(tally.address(), "POST /counters/other/inc").count(), 1);
        // The plugin that serves has no call under way, but the one before has.
        assert_eq!(swap_and_leave(&tally, "shared-memory-atomic").problem(), "not-now");
        assert!(!call.is_finished());
        drop(held);
        assert_eq!(call.join().unwrap().count(), 2);
    });
    let instances = || {
        let plugins = overview(&tally)["plugins"].clone();
        let mut plugins = plugins.as_array().unwrap().iter();
        plugins.find(|known| known["name"] == EXACT[0]).unwrap()["instances"].clone()
    };
    wait_until("what the old plugin was lent is gone", || instances() == 0);
    // Nothing is to be waited for, but what it does has to be done in the pause.
    let patient =
        r#"{"plugin":"shared-memory-atomic","leave_counts":true,"swap_pause_max_ms":20000}"#;
    assert_eq!(ask_admin(&tally, "PUT /admin/plugin", patient).json()["fenced"], true);
}
