use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::support::{
    Database, Sandbox, Tally, ask, ask_admin, carry, check_refused, swap, unless_late, wait_until,
};

const EXACT: [&str; 4] = [
    "postgresql-inplace-update",
    "postgresql-row-level-locking",
    "postgresql-optimistic-concurrency-control",
    "postgresql-serializable-update",
];
const LOST_UPDATE: &str = "postgresql-lost-update";

fn all() -> impl Iterator<Item = &'static str> {
    EXACT.into_iter().chain([LOST_UPDATE])
}

/// A table as others have made it: users have numbers, and count as far as an `integer` goes.
const OF_OTHERS: &str = "CREATE TABLE user_counter (user_id integer PRIMARY KEY, counter integer, version integer); \
     INSERT INTO user_counter VALUES (1, 41, 0), (2, 2147483647, 0)";
/// As Tally makes it, with other counts.
const OF_TALLY: &str = "CREATE TABLE user_counter (user_id varchar(255) PRIMARY KEY, counter bigint NOT NULL, version bigint NOT NULL); \
     INSERT INTO user_counter VALUES ('1', 7, 0), ('2', 0, 0)";

fn drop_and(make: &str) -> String {
    format!("DROP TABLE user_counter; {make}")
}

#[test]
fn a_table_of_others_goes_on_in_its_row_1() {
    let database = Database::new();
    database.create();
    database.psql(OF_OTHERS);
    for (idx, plugin) in (0..).zip(all()) {
        let sandbox = Sandbox::new();
        let tally = database.start(&sandbox, &["--plugin", plugin]);
        let address = tally.address();
        assert_eq!(ask(address, "GET /count").count(), 41 + 2 * idx, "{plugin}");
        assert_eq!(ask(address, "POST /inc").count(), 42 + 2 * idx, "{plugin}");
        database.psql("UPDATE user_counter SET counter = counter + 1 WHERE user_id = 1");
        assert_eq!(ask(address, "POST /counters/3/inc?by=-3").count(), -3, "{plugin}");
        assert_eq!(
            ask(address, "GET /counters").body,
            format!(
                r#"{{"counters":[{{"key":"count","count":{}}},{{"key":"2","count":2147483647}},{{"key":"3","count":-3}}],"next":null}}"#,
                43 + 2 * idx
            ),
        );
        assert_eq!(ask(address, "POST /counters/3/reset").status, 200, "{plugin}");
        for key in ["a", "01", "%2B1", "2147483648"] {
            let refused = ask(address, &format!("POST /counters/{key}/inc"));
            check_refused(&refused, "invalid-key", "from -2147483648 to 2147483647");
        }
        // The probe's key is none of this table, and that is no reason against the plugin.
        assert_eq!(swap(&tally, EXACT[1]).status, 200, "{plugin}");
    }
    assert_eq!(database.psql("SELECT counter FROM user_counter WHERE user_id = 1"), "51");
}

#[test]
fn an_overflow_of_a_narrow_column_says_which_range_it_has() {
    let database = Database::new();
    database.create();
    database.psql(OF_OTHERS);
    let sandbox = Sandbox::new();
    for plugin in all() {
        let tally = database.start(&sandbox, &["--plugin", plugin]);
        let full = ask(tally.address(), "POST /counters/2/inc");
        assert_eq!(full.status, 409, "{plugin}");
        check_refused(&full, "overflow", "32-bit integer, from -2147483648 to 2147483647");
        let full = ask(tally.address(), &format!("POST /counters/2/inc?by={}", i64::MAX));
        check_refused(&full, "overflow", "32-bit integer");
        assert_eq!(ask(tally.address(), "GET /counters/2").count(), 2_147_483_647, "{plugin}");
    }
    let tally = database.start(&sandbox, &["--plugin", "shared-memory-atomic"]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    assert_eq!(ask(tally.address(), "POST /counters/large/inc?by=2147483648").status, 200);
    database.psql("UPDATE user_counter SET counter = 0");
    let body = r#"{"plugin":"postgresql-inplace-update","carry":true}"#;
    let refused = ask_admin(&tally, "PUT /admin/plugin", body);
    check_refused(&refused, "plugin-refused", "\\\"large\\\"");
}

#[test]
fn the_row_of_the_default_counter_has_no_other_name() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    for (more, row, others) in [(&[][..], "1", "2"), (&["--db-counter-key", "count"], "count", "1")]
    {
        let tally = database.start(&sandbox, &[&["--plugin", EXACT[0]], more].concat());
        let address = tally.address();
        assert_eq!(ask(address, "POST /inc").count(), 1);
        let stored = format!("SELECT counter FROM user_counter WHERE user_id = '{row}'");
        assert_eq!(database.psql(&stored), "1");
        if row != "count" {
            for request in ["GET /counters/1", "POST /counters/1/inc", "POST /counters/1/reset"] {
                check_refused(&ask(address, request), "invalid-key", "--db-counter-key");
            }
        }
        assert_eq!(ask(address, &format!("POST /counters/{others}/reset")).status, 200);
        assert_eq!(ask(address, &format!("POST /counters/{others}/inc")).count(), 1);
        assert_eq!(ask(address, "GET /counters/count").count(), 1);
        // In a storage with other rows and back.
        assert_eq!(carry(&tally, "shared-memory-atomic")["carried"]["keys"], 2);
        assert_eq!(ask(address, "GET /count").count(), 1);
        assert_eq!(database.psql(&stored), "0");
        carry(&tally, EXACT[1]);
        assert_eq!(database.psql(&stored), "1");
        database.psql("UPDATE user_counter SET counter = 0");
    }
}

#[test]
fn a_count_in_the_row_of_a_former_tally_is_told_and_can_be_gone_on_with() {
    let database = Database::new();
    database.create();
    database.psql(&OF_TALLY.replace("'2', 0", "'count', 5000"));
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &["--plugin", EXACT[0]]);
    assert_eq!(ask(tally.address(), "GET /count").count(), 7);
    let listed = ask(tally.address(), "GET /counters").body;
    assert_eq!(listed, r#"{"counters":[{"key":"count","count":7}],"next":null}"#);
    let told = |sandbox: &Sandbox| sandbox.stderr().matches("--db-counter-key count").count();
    assert_eq!(told(&sandbox), 1, "{}", sandbox.stderr());
    assert!(sandbox.stderr().contains("holds 5000"), "{}", sandbox.stderr());
    drop(tally);
    let args = ["--plugin", EXACT[0], "--db-counter-key", "count"];
    let tally = database.start(&sandbox, &args);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 5001);
    assert_eq!(ask(tally.address(), "GET /counters/1").count(), 7);
    assert_eq!(told(&sandbox), 0, "{}", sandbox.stderr());
}

#[test]
fn a_listing_goes_from_page_to_page_past_rows_in_which_no_counter_is() {
    let database = Database::new();
    database.create();
    database.psql(
        &OF_TALLY.replace("('1', 7, 0), ('2', 0, 0)", "('a', 1, 0), ('count', 2, 0), ('d', 3, 0)"),
    );
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &["--plugin", EXACT[0]]);
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(tally.address(), &format!("GET /counters?limit=1{cursor}")).json();
        let counters = page["counters"].as_array().unwrap();
        keys.extend(counters.iter().map(|counter| counter["key"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(keys, ["a", "d"]);
}

/// Each instance and each connection has prepared what it runs.
fn warm_up(tally: &Tally) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for request in ["POST /inc", "GET /count", "GET /counters"] {
                    assert_eq!(ask(tally.address(), request).status, 200);
                }
            });
        }
    });
}

/// Makes the table anew again and again under a host, and returns what that said.
fn make_tables_anew(plugin: &str) -> String {
    let database = Database::new();
    // To make them takes longer than the host's first look at whether it is ready.
    database.create();
    database.psql(OF_TALLY);
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &["--plugin", plugin]);
    let address = tally.address();
    for (make, value) in [(OF_OTHERS, 41), (OF_TALLY, 7), (OF_OTHERS, 41)] {
        warm_up(&tally);
        database.psql(&drop_and(make));
        // Whichever comes first finds statements that were prepared for the table before.
        assert_eq!(ask(address, "GET /count").count(), value, "{plugin}");
        assert_eq!(ask(address, "POST /inc").count(), value + 1, "{plugin}");
        for _ in 0..8 {
            assert_eq!(ask(address, "GET /counters").status, 200, "{plugin}");
            assert_eq!(ask(address, "POST /reset").status, 200, "{plugin}");
        }
        assert_eq!(ask(address, "POST /counters/5/inc").count(), 1, "{plugin}");
        let not_text = ask(address, "POST /counters/a/inc").status;
        assert_eq!(not_text, if make == OF_TALLY { 200 } else { 400 }, "{plugin}");
    }
    sandbox.stderr()
}

#[test]
fn a_table_that_is_made_anew_under_a_host_is_counted_in_at_once() {
    for plugin in all() {
        let log = unless_late(|| make_tables_anew(plugin));
        assert!(!log.contains("not ready"), "{plugin}: {log}");
    }
}

#[test]
fn a_table_that_is_replaced_under_load_loses_nothing_and_leaves_nothing_unknown() {
    const REPLACEMENTS: usize = 10;
    for plugin in EXACT {
        let database = Database::new();
        let sandbox = Sandbox::new();
        let tally = database.start(&sandbox, &["--plugin", plugin]);
        let stop = AtomicBool::new(false);
        let mut before = 0;
        let (mut acknowledged, mut bad) = (0, Vec::new());
        thread::scope(|scope| {
            let clients = [(); 4].map(|()| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        answers.push(ask(tally.address(), "POST /inc"));
                    }
                    answers
                })
            });
            for make in [OF_OTHERS, OF_TALLY].into_iter().cycle().take(REPLACEMENTS) {
                // The count goes on from what it was, so that the sum stays right.
                let columns = if make == OF_OTHERS { "integer" } else { "bigint" };
                let id = if make == OF_OTHERS { "integer" } else { "varchar(255)" };
                database.psql(&format!(
                    "BEGIN; LOCK TABLE user_counter; \
                     CREATE TABLE next (user_id {id} PRIMARY KEY, counter {columns} NOT NULL DEFAULT 0, version {columns} NOT NULL DEFAULT 0); \
                     INSERT INTO next SELECT user_id::{id}, counter, version FROM user_counter WHERE user_id::text = '1'; \
                     DROP TABLE user_counter; ALTER TABLE next RENAME TO user_counter; COMMIT"
                ));
                wait_until("increments on the new table", || {
                    let count = ask(tally.address(), "GET /count");
                    count.status == 200 && before < count.count()
                });
                before = ask(tally.address(), "GET /count").count();
            }
            stop.store(true, Ordering::Relaxed);
            for answer in clients.into_iter().flat_map(|client| client.join().unwrap()) {
                if answer.status == 200 {
                    acknowledged += 1;
                } else if answer.status != 503 {
                    bad.push(answer);
                }
            }
        });
        assert!(bad.is_empty(), "{plugin}: {bad:?}");
        assert_eq!(ask(tally.address(), "GET /count").count(), acknowledged, "{plugin}");
    }
}

#[test]
fn a_table_that_is_missing_for_a_moment_is_waited_for_and_left_to_who_makes_it() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &["--plugin", EXACT[1], "--workers", "1"]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    // The server itself makes the table when the call waits, for which a half second must do.
    let mut others = database.session();
    others.begin("SET statement_timeout = '30s'");
    others.begin("DROP TABLE user_counter");
    assert_eq!(others.ask("SELECT 1"), "1");
    others.begin(&format!(
        "DO $$ BEGIN \
             LOOP \
                 PERFORM pg_stat_clear_snapshot(); \
                 EXIT WHEN EXISTS ( \
                     SELECT FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'tally' AND state = 'active' AND query LIKE '%pg_sleep(%'); \
                 PERFORM pg_sleep(0.005); \
             END LOOP; \
             {OF_OTHERS}; \
         END $$"
    ));
    assert_eq!(ask(tally.address(), "POST /inc").count(), 42);
    others.end();
}

#[test]
fn a_table_that_is_dropped_is_made_again_and_nothing_is_unknown() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    for plugin in all() {
        let tally = database.start(&sandbox, &["--plugin", plugin]);
        warm_up(&tally);
        database.psql("DROP TABLE user_counter");
        assert_eq!(ask(tally.address(), "POST /inc").count(), 1, "{plugin}");
        assert!(sandbox.stderr().contains("CREATE TABLE"), "{plugin}: {}", sandbox.stderr());
        database.psql("DROP TABLE user_counter");
        assert_eq!(ask(tally.address(), "GET /count").count(), 0, "{plugin}");
        wait_until("it is ready", || ask(tally.address(), "GET /readyz").status == 200);
    }
}

#[test]
fn a_table_that_can_not_be_made_is_told_and_counting_goes_on_when_it_is_there() {
    let database = Database::new();
    let sandbox = Sandbox::new();
    let tally = database.start(&sandbox, &["--plugin", EXACT[0]]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    database.psql("DROP TABLE user_counter; CREATE VIEW user_counter AS SELECT 1 AS one");
    let refused = ask(tally.address(), "POST /inc");
    check_refused(&refused, "storage-error", "no columns user_id and counter");
    assert_eq!(ask(tally.address(), "GET /readyz").problem(), "not-ready");
    database.psql(&format!("DROP VIEW user_counter; {OF_TALLY}"));
    assert_eq!(ask(tally.address(), "POST /inc").count(), 8);
    wait_until("it is ready", || ask(tally.address(), "GET /readyz").status == 200);
}
