use std::{io::Write, process::Stdio, thread};

use tally_loadtest::Report;

use crate::support::{
    Database, Sandbox, Tally, ask, guest, load, load_beside_others, load_in_process, wait_until,
};

const EXACT: [&str; 4] = [
    "postgresql-inplace-update",
    "postgresql-row-level-locking",
    "postgresql-optimistic-concurrency-control",
    "postgresql-serializable-update",
];
const LOST_UPDATE: &str = "postgresql-lost-update";
const SERIALIZABLE: &str = "postgresql-serializable-update";

/// So that the last tries of a call of [`SERIALIZABLE`] come when the others have ended, however slow the disk is.
const UNTIL_ALONE: [&str; 2] =
    ["--plugin-config", "postgresql-serializable-update.retry-wait-max=20000"];

const CLIENTS: usize = 10;
/// A conflict of serializable transactions costs tens of milliseconds.
fn calls(plugin: &str) -> u64 {
    if plugin == SERIALIZABLE { 30 } else { 300 }
}

fn load_both_ways(plugin: &str, more: &[&str], mut judge: impl FnMut(&str, Report)) {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &[&["--plugin", plugin], more].concat());
    judge("over HTTP", load(&tally, CLIENTS, calls(plugin)));
    let flags = database.flags();
    let settings: Vec<_> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    judge("in process", load_in_process(plugin, &settings, CLIENTS, calls(plugin)));
}

#[test]
fn the_exact_methods_lose_nothing() {
    for plugin in EXACT {
        let more = if plugin == SERIALIZABLE { &UNTIL_ALONE[..] } else { &[] };
        load_both_ways(plugin, more, |way, report| {
            assert!(report.verdict.right(), "{plugin} {way}: {report}");
            assert_eq!(report.verdict.linearizable(), Some(true), "{plugin} {way}: {report}");
            assert_eq!(
                report.verdict.acknowledged,
                CLIENTS as u64 * calls(plugin),
                "{plugin} {way}: {report}"
            );
        });
    }
}

#[test]
fn the_lost_update_is_caught_with_the_number_that_it_lost() {
    load_both_ways(LOST_UPDATE, &[], |way, report| {
        assert!(!report.verdict.right(), "{way}: {report}");
        assert!(0 < report.verdict.lost.unwrap(), "{way}: {report}");
        assert_eq!(
            report.verdict.acknowledged,
            CLIENTS as u64 * calls(LOST_UPDATE),
            "{way}: {report}"
        );
    });
}

#[test]
fn without_retries_a_conflict_is_reported_and_never_miscounted() {
    for plugin in [SERIALIZABLE, "postgresql-optimistic-concurrency-control"] {
        let setting = format!("{plugin}.do-retries=false");
        load_both_ways(plugin, &["--plugin-config", &setting], |way, report| {
            assert!(report.verdict.right(), "{plugin} {way}: {report}");
            assert!(0 < report.failed.total(), "{plugin} {way}: {report}");
            let answered = report.verdict.acknowledged + report.failed.total();
            assert_eq!(
                (answered, report.verdict.unknown),
                (CLIENTS as u64 * calls(plugin), 0),
                "{plugin} {way}: {report}"
            );
            for (reason, _) in report.failed.iter() {
                assert!(reason.contains("retry budget"), "{plugin} {way}: {reason}");
            }
        });
    }
}

#[test]
fn a_wrong_setting_of_a_plugin_is_named() {
    let database = Database::new();
    for (setting, value) in [("do-retries", "False"), ("retries-max", "-1")] {
        let sandbox = Sandbox::new();
        let config = format!("{SERIALIZABLE}.{setting}={value}");
        let tally =
            database.start(&sandbox, &["--plugin", SERIALIZABLE, "--plugin-config", &config]);
        let answer = ask(tally.address(), "POST /inc");
        assert_eq!((answer.status, answer.problem().as_str()), (500, "storage-error"));
        assert!(answer.body.contains(setting) && answer.body.contains(value), "{}", answer.body);
    }
}

#[test]
fn the_method_can_be_exchanged_while_the_counts_stay() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    for (idx, plugin) in EXACT.into_iter().chain([LOST_UPDATE]).enumerate() {
        let tally = database.start(&sandbox, &["--plugin", plugin]);
        assert_eq!(ask(tally.address(), "POST /inc").count(), idx as i64 + 1, "{plugin}");
    }
    let row = database.psql("SELECT counter, version FROM user_counter WHERE user_id = '1'");
    assert_eq!(row, "5|5", "each change adds 1 to the version too");
}

#[test]
fn two_hosts_and_the_shell_change_the_same_row_exactly() {
    const CALLS: u64 = 200;
    const BY_HAND: u64 = 500;
    let database = Database::new();
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &["--plugin", EXACT[0]]);
    assert_eq!(ask(tally.address(), "POST /reset").status, 200);
    drop(tally);
    // Each method beside each other one, and beside somebody who knows nothing of versions.
    for (first, second) in [(0, 1), (0, 2), (1, 2), (2, 3)] {
        let hosts = [first, second].map(|idx| database.start(&sandbox, &["--plugin", EXACT[idx]]));
        let before = ask(hosts[0].address(), "GET /count").count();
        let reports = thread::scope(|scope| {
            let runs =
                hosts.each_ref().map(|host| scope.spawn(|| load_beside_others(host, 4, CALLS)));
            let mut shell =
                database.shell().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let mut statements = shell.stdin.take().unwrap();
            for _ in 0..BY_HAND {
                statements
                    .write_all(
                        b"UPDATE user_counter SET counter = counter + 1 WHERE user_id = '1';\n",
                    )
                    .unwrap();
            }
            drop(statements);
            assert!(shell.wait().unwrap().success());
            runs.map(|run| run.join().unwrap())
        });
        let acknowledged: u64 = reports.iter().map(|report| report.verdict.acknowledged).sum();
        let grown = ask(hosts[0].address(), "GET /count").count() - before;
        let pair = (EXACT[first], EXACT[second]);
        assert_eq!(
            grown,
            (acknowledged + BY_HAND) as i64,
            "{pair:?}: {} {}",
            reports[0],
            reports[1]
        );
    }
}

#[test]
fn values_and_keys_have_the_limits_of_the_contract_and_of_the_column() {
    let database = Database::new();
    for plugin in EXACT.into_iter().chain([LOST_UPDATE]) {
        let sandbox = Sandbox::new();
        let tally = database.start(&sandbox, &["--plugin", plugin]);
        let address = tally.address();
        for (key, end, step) in [("max", i64::MAX, 1), ("min", i64::MIN, -1)] {
            assert_eq!(ask(address, &format!("POST /counters/{key}/reset")).status, 200);
            let add = |by: i64| ask(address, &format!("POST /counters/{key}/inc?by={by}"));
            assert_eq!(add(end).count(), end, "{plugin}");
            assert_eq!(
                (add(step).status, add(step).problem()),
                (409, "overflow".into()),
                "{plugin}"
            );
            assert_eq!(ask(address, &format!("GET /counters/{key}")).count(), end, "{plugin}");
            assert_eq!(add(-step).count(), end - step, "{plugin}");
        }
        let longest = "%F0%9F%A6%80".repeat(64);
        for key in [&longest, "a'; DROP TABLE user_counter; --", &"x".repeat(255)] {
            let key = key.replace(' ', "%20");
            ask(address, &format!("POST /counters/{key}/reset"));
            assert_eq!(ask(address, &format!("POST /counters/{key}/inc")).count(), 1, "{plugin}");
        }
        for key in ["x".repeat(256), "%00".into()] {
            assert_eq!(
                ask(address, &format!("POST /counters/{key}/inc")).problem(),
                "invalid-key",
                "{plugin}"
            );
            assert_eq!(ask(address, &format!("GET /counters/{key}")).count(), 0, "{plugin}");
        }
    }
}

#[test]
fn two_connections_serve_many_clients() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let args = ["--plugin", EXACT[1], "--workers", "2", "--db-connections-max", "2"];
    let tally = database.start(&sandbox, &args);
    let report = load(&tally, 20, 20);
    assert!(report.verdict.right() && report.verdict.acknowledged == 400, "{report}");
    wait_until("there is one more, to watch whether the database answers", || {
        database.sessions("application_name = 'tally'") == 3
    });
}

#[test]
fn a_row_that_others_have_locked_is_waited_for_only_so_long() {
    let database = Database::new();
    for plugin in EXACT {
        let sandbox = Sandbox::new();
        let tally =
            database.start(&sandbox, &["--plugin", plugin, "--db-statement-time-max", "1000"]);
        let address = tally.address();
        let before = ask(address, "POST /inc").count();
        let blocker = database.hold_row();
        let waited = ask(address, "POST /inc");
        assert_eq!(
            (waited.status, waited.problem().as_str()),
            (503, "storage-unavailable"),
            "{plugin}"
        );
        drop(blocker);
        wait_until("the row is free", || ask(address, "POST /inc").status == 200);
        assert_eq!(ask(address, "GET /count").count(), before + 1, "{plugin}");
    }
}

#[test]
fn a_plugin_that_misbehaves_in_a_transaction_keeps_no_lock_and_no_connection() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let tally = start_hostile(
        &database,
        &sandbox,
        // The server's own time-outs are too long to be what ends a transaction. A call is cut off after ten times its own.
        &["--workers", "1", "--call-time-max", "2000", "--db-statement-time-max", "120000"],
    );
    let address = tally.address();
    let increment = |key: &str| ask(address, &format!("POST /counters/{key}/inc"));
    assert_eq!(ask(address, "POST /counters/row/reset").status, 200);
    for (key, status, code) in [
        ("leave-open", 500, "plugin-trapped"),
        ("panic", 500, "plugin-trapped"),
        ("huge-parameter", 500, "plugin-trapped"),
        ("large-parameter", 500, "storage-error"),
        ("second-transaction", 500, "storage-error"),
        ("second-connection", 500, "storage-error"),
        ("sleep", 504, "call-timed-out"),
    ] {
        let answer = increment(key);
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, code),
            "{key}: {}",
            answer.body
        );
        wait_until(key, || {
            database.sessions("application_name = 'tally' AND state <> 'idle'") == 0
        });
        // The lock is free, and nothing of what was undone can be seen.
        database.psql("SET lock_timeout = '5s'; UPDATE user_counter SET counter = counter + 0 WHERE user_id = 'row'");
        assert_eq!(ask(address, "GET /counters/row").count(), 0, "{key}");
    }
    assert_eq!(increment("well").status, 200);
    assert_eq!(ask(address, "GET /counters/row").count(), 1);
    let connections = database.sessions("application_name = 'tally'");
    assert!(connections <= 3, "{connections} connections for one call at a time");
}

fn start_hostile(database: &Database, sandbox: &Sandbox, more: &[&str]) -> Tally {
    let guest = guest("guest-hostile-sql");
    let args =
        ["--plugin", guest.to_str().unwrap(), "--grant", "guest_hostile_sql=sql+clocks+config"];
    database.start(sandbox, &[&args, more].concat())
}

#[test]
fn many_calls_wait_at_once_and_more_are_refused_with_a_time_to_retry() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let args = [
        "--plugin",
        EXACT[0],
        "--workers",
        "1",
        "--instances-per-worker-max",
        "4",
        "--queued-calls-per-worker-max",
        "2",
    ];
    let tally = database.start(&sandbox, &args);
    let address = tally.address();
    assert_eq!(ask(address, "POST /inc").count(), 1);
    let blocker = database.hold_row();
    let answers = thread::scope(|scope| {
        let calls: Vec<_> =
            (0..12).map(|_| scope.spawn(move || ask(address, "POST /inc"))).collect();
        wait_until("the calls beyond the bounds are refused", || {
            calls.iter().filter(|call| call.is_finished()).count() == 12 - 4 - 2
        });
        drop(blocker);
        calls.into_iter().map(|call| call.join().unwrap()).collect::<Vec<_>>()
    });
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert_eq!(refused.len(), 6);
    for answer in refused {
        assert_eq!((answer.status, answer.problem().as_str()), (503, "too-busy"));
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    }
    assert_eq!(ask(address, "GET /count").count(), 7);
}

#[test]
fn a_table_that_somebody_else_makes_at_the_same_moment_is_used() {
    let database = Database::new();
    database.create();
    let mut shell = database.shell().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut statements = shell.stdin.take().unwrap();
    let create = "BEGIN; CREATE TABLE user_counter \
         (user_id varchar(255) PRIMARY KEY, counter bigint, version bigint);\n";
    statements.write_all(create.as_bytes()).unwrap();
    let creating =
        |state: &str| database.sessions(&format!("query LIKE 'CREATE TABLE%' AND {state}"));
    wait_until("the table is there, for the shell only", || {
        creating("state = 'idle in transaction'") == 1
    });
    let sandbox = Sandbox::new();
    let args = ["--plugin", EXACT[0], "--db-statement-time-max", "20000"];
    let tally = database.start_unready(&sandbox, &args);
    // The host does not see it, and has to wait for whoever makes it: once in the call, once each time that it sees whether
    // it is ready.
    let answer = thread::scope(|scope| {
        let call = scope.spawn(|| ask(tally.address(), "POST /inc"));
        wait_until("the host waits", || 2 <= creating("wait_event_type = 'Lock'"));
        statements.write_all(b"COMMIT;\n").unwrap();
        call.join().unwrap()
    });
    assert_eq!(answer.count(), 1);
    drop(statements);
    assert!(shell.wait().unwrap().success());
}

#[test]
fn hosts_that_start_at_once_on_an_empty_server_count_together() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let hosts = [(); 4].map(|()| database.start_unready(&sandbox, &["--plugin", EXACT[0]]));
    thread::scope(|scope| {
        for host in &hosts {
            scope.spawn(|| {
                wait_until("the host is ready", || {
                    ask(host.address(), "GET /readyz").status == 200
                });
                assert_eq!(ask(host.address(), "POST /inc").status, 200);
            });
        }
    });
    assert_eq!(ask(hosts[0].address(), "GET /count").count(), 4);
}
