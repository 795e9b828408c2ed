//! Against the PostgreSQL that `compose/with-postgresql` starts.

use std::{
    env,
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::net::TcpListener;

use super::{
    DatabaseSettings,
    postgresql::{Connections, Database},
};
use crate::bindings::tally::sql::database::{Answer, Error, Fault, Isolation, Value};

/// Only to parse settings.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Settings for the database `name` of the server that the environment names.
fn settings(name: &str) -> DatabaseSettings {
    assert!(
        env::var_os("DB_HOST").is_some(),
        "this test needs PostgreSQL: run it by compose/with-postgresql cargo test"
    );
    Settings::parse_from(["test", "--postgres-db", name]).database
}

/// Connections to the database `name`, which this test has for itself.
fn connections(name: &str) -> Connections {
    connections_with(name, |_| {})
}

fn connections_with(name: &str, change: impl FnOnce(&mut DatabaseSettings)) -> Connections {
    let mut settings = settings(name);
    // The tests share few processors, and no time is measured here.
    settings.db_checkout_wait_max = 20_000;
    settings.db_statement_time_max = 20_000;
    change(&mut settings);
    Database::new(&settings, 1).connections()
}

async fn execute(connections: &Connections, statement: &str) -> Result<Answer, Error> {
    connections.execute(statement.to_owned(), Vec::new()).await
}

async fn number(connections: &Connections, statement: &str) -> i64 {
    let answer = execute(connections, statement).await.unwrap();
    let Value::Integer(number) = answer.rows[0][0] else { panic!("{answer:?}") };
    number
}

fn fault<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Fault {
    outcome.unwrap_err().fault
}

#[tokio::test]
async fn every_type_of_value_goes_in_and_comes_out() {
    let connections = connections("values");
    let values = [
        Value::Null,
        Value::Boolean(true),
        Value::Integer(i64::MIN),
        Value::Real(0.5),
        Value::Text("añ\u{1f980}".into()),
    ];
    let statement = "SELECT $1, $2, $3, $4, $5".to_owned();
    let answer = connections.execute(statement, values.to_vec()).await.unwrap();
    assert_eq!(format!("{:?}", answer.rows), format!("{:?}", [values]));
    let narrow = "SELECT 1::int2, 2::int4, 0.5::float4, 'a'::varchar(9), 'b'::char(1), 'c'::name";
    let answer = execute(&connections, narrow).await.unwrap();
    let expected = [
        Value::Integer(1),
        Value::Integer(2),
        Value::Real(0.5),
        Value::Text("a".into()),
        Value::Text("b".into()),
        Value::Text("c".into()),
    ];
    assert_eq!(format!("{:?}", answer.rows), format!("{:?}", [expected]));
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_sent() {
    let connections = connections_with("too_large", |settings| settings.db_port = 1);
    let text = |bytes| vec![Value::Text("x".repeat(bytes))];
    let cases = [
        ("SELECT 1".repeat(10_000), Vec::new()),
        ("SELECT 1".to_owned(), vec![Value::Null; 101]),
        ("SELECT $1".to_owned(), text(64 * 1024 + 1)),
    ];
    for (statement, parameters) in cases {
        assert_eq!(fault(connections.execute(statement, parameters).await), Fault::Refused);
    }
    // Nothing listens at that port.
    let sent = connections.execute("SELECT $1".to_owned(), text(64 * 1024)).await;
    assert_eq!(fault(sent), Fault::Unavailable);
}

#[tokio::test]
async fn transactions_and_connections_are_not_for_statements_to_change() {
    let connections = connections_with("reserved", |settings| settings.db_connections_max = 1);
    for statement in [
        "BEGIN",
        " \n\tbegin",
        ";BEGIN",
        "/* */ BEGIN",
        "-- \nBEGIN",
        "START TRANSACTION",
        "COMMIT",
        "END",
        "rollback",
        "ABORT",
        "SAVEPOINT s",
        "RELEASE s",
        "PREPARE TRANSACTION 'a'",
        "SET statement_timeout = 0",
        "RESET ALL",
        "DISCARD ALL",
        "DEALLOCATE ALL",
        "LISTEN a",
        "UNLISTEN a",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "DO 'BEGIN COMMIT; END'",
        "CALL p()",
        "COPY t TO STDOUT",
        "",
    ] {
        assert_eq!(fault(execute(&connections, statement).await), Fault::Refused, "{statement:?}");
        let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
        let inside = transaction.execute(statement.into(), Vec::new()).await;
        assert_eq!(fault(inside), Fault::Refused, "{statement:?}");
        transaction.roll_back().await;
    }
    // Several at once are refused by the database.
    assert_eq!(fault(execute(&connections, "SELECT 1; BEGIN").await), Fault::Refused);
    assert_eq!(number(&connections, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND datname = 'reserved'").await, 0);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_cut_off_and_costs_the_connection_only() {
    let connections = connections_with("large_answers", |settings| settings.db_connections_max = 1);
    for (statement, rows) in [
        ("SELECT 7 FROM generate_series(1, 1000)", Some(1000)),
        ("SELECT 7 FROM generate_series(1, 1001)", None),
        ("SELECT repeat('x', 65537)", None),
        ("SELECT repeat('x', 65536) FROM generate_series(1, 17)", None),
        ("SELECT now()", None),
    ] {
        match (execute(&connections, statement).await, rows) {
            (Ok(answer), Some(rows)) => assert_eq!(answer.rows.len(), rows),
            // It might have changed something.
            (Err(error), None) => assert_eq!(error.fault, Fault::OutcomeUnknown, "{error:?}"),
            (outcome, _) => panic!("{statement}: {outcome:?}"),
        }
    }
    assert_eq!(number(&connections, "SELECT 1").await, 1);
}

#[tokio::test]
async fn one_statement_takes_parameters_of_any_types() {
    let connections = connections_with("types", |settings| settings.db_connections_max = 1);
    for value in
        [Value::Integer(1), Value::Real(1.0), Value::Boolean(true), Value::Text("1".into())]
    {
        let shown = format!("{:?}", [[&value]]);
        let answer = connections.execute("SELECT $1".into(), vec![value]).await.unwrap();
        assert_eq!(format!("{:?}", answer.rows), shown);
    }
    let null = connections.execute("SELECT $1::bigint".into(), vec![Value::Null]).await.unwrap();
    assert!(matches!(null.rows[0][0], Value::Null));
}

#[tokio::test]
async fn an_answer_that_can_not_be_passed_on_ends_a_transaction_and_is_no_outage() {
    let connections = connections_with("unreadable", |settings| settings.db_connections_max = 1);
    let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
    let unreadable = transaction.execute("SELECT now()".into(), Vec::new()).await.unwrap_err();
    assert_eq!(unreadable.fault, Fault::Refused);
    assert!(unreadable.message.contains("cast it"), "{}", unreadable.message);
    transaction.roll_back().await;
    assert_eq!(number(&connections, "SELECT 1").await, 1);
}

#[tokio::test]
async fn a_transaction_is_rolled_back_unless_it_is_committed() {
    let connections = connections_with("rollback", |settings| settings.db_connections_max = 3);
    execute(&connections, "CREATE TABLE IF NOT EXISTS t (n bigint)").await.unwrap();
    execute(&connections, "DELETE FROM t").await.unwrap();
    let insert = async || {
        let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
        transaction.execute("INSERT INTO t VALUES (1)".into(), Vec::new()).await.unwrap();
        transaction
    };
    insert().await.commit().await.unwrap();
    insert().await.roll_back().await;
    drop(insert().await);
    assert_eq!(number(&connections, "SELECT count(*) FROM t").await, 1);
    // The row locks went with the transactions.
    let mut alone = connections.begin(Isolation::ReadCommitted).await.unwrap();
    alone.execute("LOCK TABLE t".into(), Vec::new()).await.unwrap();
    alone.commit().await.unwrap();
}

#[tokio::test]
async fn a_transaction_in_which_a_statement_failed_can_not_be_committed() {
    let connections = connections("failed");
    execute(&connections, "CREATE TABLE IF NOT EXISTS t (n bigint)").await.unwrap();
    execute(&connections, "DELETE FROM t").await.unwrap();
    let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
    transaction.execute("INSERT INTO t VALUES (1)".into(), Vec::new()).await.unwrap();
    let failed = transaction.execute("SELECT 1/0".into(), Vec::new()).await.unwrap_err();
    assert_eq!((failed.fault, failed.sqlstate.as_deref()), (Fault::Refused, Some("22012")));
    let next = transaction.execute("SELECT 1".into(), Vec::new()).await;
    assert_eq!(fault(next), Fault::Refused);
    // PostgreSQL itself answers this with success, and rolls back.
    assert_eq!(fault(transaction.commit().await), Fault::Refused);
    assert_eq!(number(&connections, "SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn what_the_database_reports_says_what_may_be_done() {
    use Fault::{Conflict, OutcomeUnknown, Refused, Unavailable};
    let connections = connections("reported");
    let function = "CREATE OR REPLACE FUNCTION fail(code text) RETURNS bigint LANGUAGE plpgsql \
         AS 'BEGIN RAISE EXCEPTION USING ERRCODE = code; END'";
    execute(&connections, function).await.unwrap();
    for (code, alone, in_transaction) in [
        ("40001", Conflict, Conflict),
        ("40P01", Conflict, Conflict),
        ("40003", OutcomeUnknown, Unavailable),
        ("08007", OutcomeUnknown, Unavailable),
        ("08P01", OutcomeUnknown, Unavailable),
        ("53100", Unavailable, Unavailable),
        ("57014", Unavailable, Unavailable),
        ("55P03", Unavailable, Unavailable),
        ("25006", Unavailable, Unavailable),
        ("22003", Refused, Refused),
        ("42P01", Refused, Refused),
    ] {
        let fail = format!("SELECT fail('{code}')");
        let error = execute(&connections, &fail).await.unwrap_err();
        assert_eq!((error.fault, error.sqlstate.as_deref()), (alone, Some(code)));
        let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
        let failed = transaction.execute(fail, Vec::new()).await;
        assert_eq!(fault(failed), in_transaction, "{code}");
        transaction.roll_back().await;
    }
}

#[tokio::test]
async fn overlapping_serializable_transactions_are_a_conflict() {
    let connections = connections("conflict");
    execute(&connections, "CREATE TABLE IF NOT EXISTS t (n bigint)").await.unwrap();
    execute(&connections, "DELETE FROM t").await.unwrap();
    execute(&connections, "INSERT INTO t VALUES (0)").await.unwrap();
    let mut both = Vec::new();
    for _ in 0..2 {
        let mut transaction = connections.begin(Isolation::Serializable).await.unwrap();
        transaction.execute("SELECT n FROM t".into(), Vec::new()).await.unwrap();
        both.push(transaction);
    }
    let mut second = both.pop().unwrap();
    let mut first = both.pop().unwrap();
    let add = || "UPDATE t SET n = n + 1".to_owned();
    first.execute(add(), Vec::new()).await.unwrap();
    first.commit().await.unwrap();
    let conflict = second.execute(add(), Vec::new()).await.unwrap_err();
    assert_eq!((conflict.fault, conflict.sqlstate.as_deref()), (Fault::Conflict, Some("40001")));
}

#[tokio::test]
async fn a_connection_that_is_cut_leaves_an_unknown_outcome_only_where_a_commit_was_on_its_way() {
    let connections = connections("cut");
    let pid = "SELECT pg_backend_pid()";
    let cut = async |pid: i64| {
        let statement = format!("SELECT pg_terminate_backend({pid})");
        execute(&connections, &statement).await.unwrap();
    };

    let own = execute(&connections, "SELECT pg_terminate_backend(pg_backend_pid())").await;
    assert_eq!(fault(own), Fault::OutcomeUnknown);

    for commit in [false, true] {
        let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
        let answer = transaction.execute(pid.into(), Vec::new()).await.unwrap();
        let Value::Integer(pid) = answer.rows[0][0] else { panic!("{answer:?}") };
        cut(pid).await;
        if commit {
            assert_eq!(fault(transaction.commit().await), Fault::OutcomeUnknown);
        } else {
            let next = transaction.execute("SELECT 1".into(), Vec::new()).await;
            assert_eq!(fault(next), Fault::Unavailable);
            transaction.roll_back().await;
        }
    }
}

#[tokio::test]
async fn idle_connections_that_died_are_replaced_before_anything_is_sent_on_them() {
    let connections = connections("died");
    let other = connections.clone();
    // Opened and made idle; the one that is used for cutting stays alive.
    let transactions = [
        connections.begin(Isolation::ReadCommitted).await.unwrap(),
        connections.begin(Isolation::ReadCommitted).await.unwrap(),
    ];
    for transaction in transactions {
        transaction.commit().await.unwrap();
    }
    let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = 'died' AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    assert_eq!(number(&other, others).await, 1);
    // Longer than connections are trusted.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(connections.begin(Isolation::ReadCommitted).await.expect("a live connection"));
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_and_changes_nothing() {
    let connections = connections_with("slow", |settings| settings.db_statement_time_max = 100);
    let slow = execute(&connections, "SELECT 1 FROM pg_sleep(20)").await.unwrap_err();
    assert_eq!((slow.fault, slow.sqlstate.as_deref()), (Fault::Unavailable, Some("57014")));
}

#[tokio::test]
async fn a_statement_that_fails_only_when_it_is_committed_has_failed() {
    let connections = connections("deferred");
    execute(&connections, "DROP TABLE IF EXISTS t").await.unwrap();
    let deferred = "CREATE TABLE t (n bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    execute(&connections, deferred).await.unwrap();
    execute(&connections, "INSERT INTO t VALUES (1)").await.unwrap();
    // The database answers the statement itself with success, and then does not commit.
    let second = execute(&connections, "INSERT INTO t VALUES (1)").await;
    assert_eq!(fault(second), Fault::Refused);
    assert_eq!(number(&connections, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test]
async fn the_server_ends_a_transaction_in_which_nothing_happens() {
    // Makes the database, which may take longer.
    assert_eq!(number(&connections("idle"), "SELECT 1").await, 1);
    // It holds for what happens before, too.
    let connections = connections_with("idle", |settings| settings.db_statement_time_max = 1000);
    let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
    transaction.execute("SELECT 1".into(), Vec::new()).await.unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = 'idle' AND state = 'idle in transaction'";
    let observer = self::connections("idle");
    let began = Instant::now();
    while number(&observer, open).await != 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the transaction is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let next = transaction.execute("SELECT 1".into(), Vec::new()).await;
    assert_eq!(fault(next), Fault::Unavailable);
}

#[tokio::test]
async fn a_server_that_refuses_is_not_asked_by_every_caller() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let connections = connections_with("unused", |settings| settings.db_port = port);
    let refuse = async {
        let mut attempts = 0;
        loop {
            drop(server.accept().await.unwrap());
            attempts += 1;
            // As many as there can be if each pause was kept.
            assert!(attempts <= 3, "{attempts} attempts");
        }
    };
    let ask = async {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {
            assert_eq!(fault(execute(&connections, "SELECT 1").await), Fault::Unavailable);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = refuse => unreachable!("it never ends"),
        () = ask => {}
    }
}

#[tokio::test]
async fn no_more_connections_are_opened_than_allowed_and_the_wait_for_one_ends() {
    let name = "crowded";
    // Makes the database, which may take longer.
    assert_eq!(number(&connections(name), "SELECT 1").await, 1);
    let few = connections_with(name, |settings| {
        settings.db_connections_max = 2;
        // Enough to open a connection, too.
        settings.db_checkout_wait_max = 3000;
    });
    let open = [
        few.begin(Isolation::ReadCommitted).await.unwrap(),
        few.begin(Isolation::ReadCommitted).await.unwrap(),
    ];
    let refused = execute(&few, "SELECT 1").await.unwrap_err();
    assert_eq!(refused.fault, Fault::Unavailable);
    assert!(refused.message.contains("--db-checkout-wait-max"), "{}", refused.message);
    for transaction in open {
        transaction.roll_back().await;
    }
    assert_eq!(number(&few, "SELECT 1").await, 1);
}

#[tokio::test]
async fn connections_are_spread_over_the_threads() {
    let settings = DatabaseSettings { db_connections_max: 10, ..settings("unused") };
    for (threads, each) in [(1, 10), (2, 5), (3, 3), (16, 1)] {
        assert_eq!(Database::new(&settings, threads).connections().max(), each, "{threads}");
    }
}

#[test]
fn the_password_is_never_shown() {
    let args = ["test", "--postgres-password", "open sesame"];
    let settings = Settings::parse_from(args).database;
    assert_eq!(settings.postgres_password.reveal(), "open sesame");
    assert!(!format!("{settings:?}").contains("sesame"));
}

/// A table with the value 5 in a column of `integer_type`, made anew.
async fn make_anew(connections: &Connections, integer_type: &str) {
    execute(connections, "DROP TABLE IF EXISTS t").await.unwrap();
    execute(connections, &format!("CREATE TABLE t (n {integer_type})")).await.unwrap();
    execute(connections, "INSERT INTO t VALUES (5)").await.unwrap();
}

const PID: &str = "SELECT pg_backend_pid()";

#[tokio::test]
async fn a_statement_on_a_table_that_was_made_anew_is_prepared_again_on_its_connection() {
    let connections = connections_with("outdated", |settings| settings.db_connections_max = 1);
    make_anew(&connections, "integer").await;
    assert_eq!(number(&connections, "SELECT n FROM t").await, 5);
    let pid = number(&connections, PID).await;
    for integer_type in ["bigint", "integer"] {
        make_anew(&connections, integer_type).await;
        assert_eq!(number(&connections, "SELECT n FROM t").await, 5);
    }
    execute(&connections, "ALTER TABLE t ALTER n TYPE bigint").await.unwrap();
    assert_eq!(number(&connections, "SELECT n FROM t").await, 5);
    assert_eq!(number(&connections, PID).await, pid);
}

#[tokio::test]
async fn a_transaction_is_begun_again_where_its_first_statement_is_outdated() {
    let connections = connections_with("outdated_in", |settings| settings.db_connections_max = 1);
    make_anew(&connections, "integer").await;
    assert_eq!(number(&connections, "SELECT n FROM t").await, 5);
    let pid = number(&connections, PID).await;
    make_anew(&connections, "bigint").await;
    let mut transaction = connections.begin(Isolation::Serializable).await.unwrap();
    let first = transaction.execute("SELECT n FROM t".into(), Vec::new()).await.unwrap();
    assert!(matches!(first.rows[0][0], Value::Integer(5)), "{first:?}");
    let isolation = "SELECT current_setting('transaction_isolation')".to_owned();
    let isolation = transaction.execute(isolation, Vec::new()).await.unwrap();
    assert!(matches!(&isolation.rows[0][0], Value::Text(level) if level == "serializable"));
    transaction.execute("UPDATE t SET n = 6".into(), Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(number(&connections, "SELECT n FROM t").await, 6);
    assert_eq!(number(&connections, PID).await, pid);
}

#[tokio::test]
async fn a_later_statement_of_a_transaction_that_is_outdated_is_a_conflict() {
    let connections = connections_with("outdated_later", |settings| {
        settings.db_connections_max = 1;
    });
    make_anew(&connections, "integer").await;
    assert_eq!(number(&connections, "SELECT n FROM t").await, 5);
    make_anew(&connections, "bigint").await;
    for (attempt, outcome) in [Some(Fault::Conflict), None].into_iter().enumerate() {
        let mut transaction = connections.begin(Isolation::ReadCommitted).await.unwrap();
        transaction.execute("UPDATE t SET n = n + 1".into(), Vec::new()).await.unwrap();
        let read = transaction.execute("SELECT n FROM t".into(), Vec::new()).await;
        assert_eq!(read.err().map(|error| error.fault), outcome, "attempt {attempt}");
        transaction.roll_back().await;
    }
    assert_eq!(number(&connections, "SELECT n FROM t").await, 5);
}

#[tokio::test]
async fn what_the_database_can_not_do_is_not_tried_again() {
    let connections = connections_with("unsupported", |settings| settings.db_connections_max = 1);
    let pid = number(&connections, PID).await;
    let error = execute(&connections, "SELECT count(*) FROM pg_class FOR UPDATE").await;
    let error = error.unwrap_err();
    assert_eq!((error.fault, error.sqlstate.as_deref()), (Fault::Refused, Some("0A000")));
    assert_eq!(number(&connections, PID).await, pid);
}
