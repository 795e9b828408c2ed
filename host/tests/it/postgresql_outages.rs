use std::{
    thread,
    time::{Duration, Instant},
};

use tally_loadtest::Report;

use crate::support::{Answer, Cluster, Database, Sandbox, Tally, ask, load_while, wait_until};

const INPLACE: &str = "postgresql-inplace-update";
const ROW_LOCK: &str = "postgresql-row-level-locking";

/// How soon clients must be told that the database is down.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How soon counting must go on once the database is there again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

const RESTARTS: usize = 20;
const CUTS: usize = 20;

#[test]
fn the_host_starts_without_its_database_says_so_and_becomes_ready_by_itself() {
    let cluster = Cluster::start_new();
    let database = cluster.database();
    cluster.stop();
    let sandbox = Sandbox::new();
    let tally = database.start_unready(&sandbox, &["--plugin", INPLACE]);
    wait_until_unready(&tally, "Connection refused");
    assert_eq!(ask(tally.address(), "GET /livez").status, 200);
    let refused = ask(tally.address(), "POST /inc");
    assert_eq!((refused.status, refused.problem().as_str()), (503, "storage-unavailable"));
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    wait_until("the log says so", || sandbox.stderr().contains("not ready: can't reach"));

    cluster.start();
    wait_until("ready", || ask(tally.address(), "GET /readyz").status == 200);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    wait_until("the log says so", || sandbox.stderr().contains("ready again"));
}

/// Waits until a host says that it is not ready, and why. When it has waited for 1 s, it says only that there was no answer.
fn wait_until_unready(tally: &Tally, why: &str) -> Answer {
    let mut told = None;
    wait_until(why, || {
        let ready = ask(tally.address(), "GET /readyz");
        assert_eq!((ready.status, ready.problem().as_str()), (503, "not-ready"), "{ready:?}");
        told = ready.body.contains(why).then_some(ready);
        told.is_some()
    });
    told.unwrap()
}

#[test]
fn a_database_that_goes_down_is_told_within_2_s_and_counting_goes_on_when_it_is_back() {
    let cluster = Cluster::start_new();
    let database = cluster.database();
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &["--plugin", INPLACE]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    cluster.stop();
    let down = Instant::now();
    for (request, code) in [
        ("POST /inc", "storage-unavailable"),
        ("GET /count", "storage-unavailable"),
        ("GET /readyz", "not-ready"),
    ] {
        // The first may still hit a connection that is not known to be dead.
        wait_until(request, || ask(tally.address(), request).status == 503);
        assert_eq!(ask(tally.address(), request).problem(), code);
    }
    assert!(down.elapsed() < TOLD_WITHIN, "{:?}", down.elapsed());
    assert_eq!(ask(tally.address(), "GET /livez").status, 200);
    cluster.start();
    wait_until("counting", || ask(tally.address(), "POST /inc").status == 200);
}

/// What was acknowledged is counted once, and every failure says what it is.
fn check(plugin: &str, report: &Report) {
    assert!(report.verdict.right(), "{plugin}: {report}");
    for (reason, _) in report.failed.iter() {
        assert!(reason.starts_with("503 "), "{plugin}: {report}");
    }
    for (reason, _) in report.unknown.iter() {
        assert!(reason.ends_with("whether this call counted is unknown"), "{plugin}: {report}");
    }
}

#[test]
fn restarts_of_the_database_under_load_lose_and_double_nothing() {
    let cluster = Cluster::start_new();
    for plugin in [INPLACE, ROW_LOCK] {
        let database = cluster.database();
        let sandbox = Sandbox::new();
        let tally = database.start(&sandbox, &["--plugin", plugin]);
        let report = load_while(&tally, 8, || {
            for _ in 0..RESTARTS / 2 {
                let before = count(&tally);
                wait_until("increments", || before + 20 < count(&tally));
                cluster.stop();
                wait_until("told", || ask(tally.address(), "GET /count").status == 503);
                cluster.start();
                // Only the host is timed.
                database.psql("SELECT 1");
                let back = Instant::now();
                let after = count(&tally);
                wait_until("increments", || after < count(&tally));
                assert!(back.elapsed() < BACK_WITHIN, "{plugin}: {:?}", back.elapsed());
            }
        });
        check(plugin, &report);
        assert!(0 < report.failed.total(), "{plugin}: {report}");
    }
}

/// The count, as soon as the database answers.
fn count(tally: &Tally) -> i64 {
    let mut count = None;
    wait_until("the database answers", || {
        let answer = ask(tally.address(), "GET /count");
        count = (answer.status == 200).then(|| answer.count());
        count.is_some()
    });
    count.unwrap()
}

#[test]
fn cutting_all_connections_every_second_loses_and_doubles_nothing() {
    const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'tally'";
    let databases = [INPLACE, ROW_LOCK].map(|plugin| (plugin, Database::new()));
    thread::scope(|scope| {
        for (plugin, database) in &databases {
            scope.spawn(move || {
                let sandbox = Sandbox::new();
                let tally = database.start(&sandbox, &["--plugin", plugin]);
                let mut cut = 0;
                let report = load_while(&tally, 8, || {
                    for _ in 0..CUTS {
                        thread::sleep(Duration::from_secs(1));
                        cut += database.psql(CUT).parse::<u32>().unwrap();
                    }
                });
                check(plugin, &report);
                assert!(CUTS as u32 <= cut, "{plugin}: {cut} connections cut");
                assert!(0 < report.failed.total() + report.verdict.unknown, "{plugin}: {report}");
            });
        }
    });
}

#[test]
fn an_increment_that_is_cut_is_unknown_only_where_it_may_have_been_committed() {
    for (plugin, status, code) in
        [(INPLACE, 500, "outcome-unknown"), (ROW_LOCK, 503, "storage-unavailable")]
    {
        let database = Database::new();
        let sandbox = Sandbox::new();
        let tally =
            database.start(&sandbox, &["--plugin", plugin, "--db-statement-time-max", "20000"]);
        let address = tally.address();
        assert_eq!(ask(address, "POST /inc").count(), 1);
        let blocker = database.hold_row();
        let answer = thread::scope(|scope| {
            let call = scope.spawn(|| ask(address, "POST /inc"));
            let waiting = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            wait_until("the increment waits for the row", || {
                database.sessions("wait_event_type = 'Lock'") == 1
            });
            database.psql(&format!("SELECT pg_terminate_backend(pid) {waiting}"));
            call.join().unwrap()
        });
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, code),
            "{plugin}: {}",
            answer.body
        );
        drop(blocker);
        assert_eq!(ask(address, "GET /count").count(), 1, "{plugin}");
    }
}

#[test]
fn connections_are_encrypted_as_asked_and_a_stranger_is_not_trusted() {
    let cluster = Cluster::start_new();
    let database = cluster.database();
    database.create();
    let args = |more: &[&'static str]| [&["--plugin", INPLACE, "--db-tls"], more].concat();
    let check_unready = |tls: &[&'static str], why: &str| {
        let sandbox = Sandbox::new();
        wait_until_unready(&database.start_unready(&sandbox, &args(tls)), why);
    };
    let check_ready = |args: &[&str], encrypted: &str| {
        let sandbox = Sandbox::new();
        let _tally = database.start(&sandbox, args);
        // The connections of the host before may not be gone yet.
        wait_until(&format!("{args:?}: only {encrypted}"), || {
            database.psql(
                "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name = 'tally'",
            ) == encrypted
        });
    };
    check_unready(&["require"], "TLS");
    check_ready(&args(&["prefer"]), "f");

    let certificate = cluster.enable_tls(&database);
    for (tls, encrypted) in [("disable", "f"), ("prefer", "t"), ("require", "t")] {
        check_ready(&args(&[tls]), encrypted);
    }
    check_unready(&["verify-full"], "certificate");
    let trusting = [&args(&["verify-full"])[..], &["--db-tls-root-cert", &certificate]].concat();
    check_ready(&trusting, "t");
}

#[test]
fn a_wrong_password_is_said_and_never_shown() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let args = ["--plugin", INPLACE, "--postgres-password", "open sesame"];
    let tally = database.start_unready(&sandbox, &args);
    let ready = wait_until_unready(&tally, "password authentication failed");
    wait_until("the log says so", || sandbox.stderr().contains("password authentication failed"));
    assert!(!ready.body.contains("sesame") && !sandbox.stderr().contains("sesame"));
}
