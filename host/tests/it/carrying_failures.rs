use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Connection, Database, Sandbox, Session, Tally, ask, ask_admin, carry, check_refused,
    load_while, overview, overwrite, own_port, swap_and_carry, swap_and_leave, wait_until,
};

const INC: &[u8] = b"POST /inc HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn a_carry_that_fails_in_the_middle_is_undone() {
    let sandbox = Sandbox::new();
    let database = Database::new();
    database.create();
    // Only the second of two keys fits, and it is written after the first.
    database.psql(
        "CREATE TABLE user_counter (user_id varchar(255) PRIMARY KEY, counter bigint NOT NULL, \
         version bigint NOT NULL, CHECK (user_id <> 'unwelcome'))",
    );
    let tally = database.start(&sandbox, &[]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    assert_eq!(ask(tally.address(), "POST /counters/unwelcome/inc").count(), 1);
    let refused = swap_and_carry(&tally, "postgresql-inplace-update");
    check_refused(&refused, "plugin-refused", "can't be written");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    assert_eq!(total_in(&database), "0");
    // Without the key that was in the way it works, and nothing of the first attempt is left.
    assert_eq!(ask(tally.address(), "POST /counters/unwelcome/reset").status, 200);
    assert_eq!(carry(&tally, "postgresql-inplace-update")["carried"]["total"], "2");
}

/// Kills in one test.
const KILLS: u32 = 100;

/// What clients know of their increments.
#[derive(Default)]
struct Increments {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

impl Increments {
    /// Increments until the host is gone.
    fn make(&self, mut connection: Connection) {
        loop {
            // What was never sent was not counted.
            if connection.write(INC).is_err() {
                return;
            }
            match connection.answer() {
                Some(answer) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    self.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                None => {
                    self.unknown.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}

/// The plugins between which counts are carried while hosts are killed.
const BETWEEN: [&str; 2] = ["disk-flock", "shared-memory-atomic"];

/// How long a carry takes while clients count.
fn time_of_a_carry() -> Duration {
    const CARRIES: u32 = 10;
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    wait_until("both plugins are loaded", || both_are_ready(&tally));
    let mut took = Duration::ZERO;
    load_while(&tally, 4, || {
        let began = Instant::now();
        for plugin in BETWEEN.into_iter().cycle().take(CARRIES as usize) {
            carry(&tally, plugin);
        }
        took = began.elapsed() / CARRIES;
    });
    took
}

fn both_are_ready(tally: &Tally) -> bool {
    let plugins = overview(tally)["plugins"].as_array().unwrap().clone();
    let ready = plugins.iter().filter(|plugin| plugin["state"] == "ready");
    ready.filter(|plugin| BETWEEN.iter().any(|name| plugin["name"] == *name)).count() == 2
}

#[test]
fn killed_during_carries_the_host_goes_on_where_the_counts_are() {
    let sandbox = Sandbox::new();
    let port = own_port();
    let known = Increments::default();
    let carry_time = time_of_a_carry();
    let (mut interrupted, mut served) = (0, [0; 2]);
    for kill in 0..KILLS {
        // The settings are the same each time, and say where the counts are only half of the time.
        let tally = sandbox.start(&["--port", &port]);
        // A carry to a plugin that is not loaded yet would take longer.
        wait_until("both plugins are loaded", || both_are_ready(&tally));
        // Other times in each round, from none to some carries.
        let lifetime = carry_time.mul_f64(3.0 * f64::from(kill * 7_919 % 1_000) / 1_000.0);
        let clients = [(); 4].map(|()| Connection::open(tally.address()));
        let mut connection = Connection::open(tally.admin());
        let head = tally.admin_head("PUT /admin/plugin") + "content-type: application/json\r\n";
        let serving = overview(&tally)["active"]["plugin"] == "disk-flock";
        thread::scope(|scope| {
            for client in clients {
                scope.spawn(|| known.make(client));
            }
            let carrying = scope.spawn(|| {
                for plugin in BETWEEN.into_iter().cycle().skip(usize::from(serving)) {
                    let body = format!(r#"{{"plugin":"{plugin}","carry":true,"overwrite":true}}"#);
                    let head = format!("{head}content-length: {}\r\n\r\n", body.len());
                    let request = head + &body;
                    if connection.write(request.as_bytes()).is_err()
                        || connection.answer().is_none()
                    {
                        return;
                    }
                }
            });
            let until = Instant::now() + lifetime;
            while Instant::now() < until {
                thread::yield_now();
            }
            tally.kill_now();
            carrying.join().unwrap();
        });
        drop(tally);

        let again = sandbox.start(&["--port", &port]);
        let overview = overview(&again);
        let (carry, active) = (&overview["carry"], &overview["active"]);
        interrupted += usize::from(carry["state"] != "cleared" && !carry.is_null());
        served[usize::from(active["plugin"] == "disk-flock")] += 1;
        if !carry.is_null() {
            assert_eq!(carry["counts_in"], active["storage"], "{overview}");
        }
        let count = ask(again.address(), "GET /count").count() as u64;
        let acknowledged = known.acknowledged.load(Ordering::SeqCst);
        let unknown = known.unknown.load(Ordering::SeqCst);
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&count),
            "after {kill} kills {acknowledged} are acknowledged and {unknown} unknown, but {count} counted in {active}"
        );
        again.kill();
    }
    println!("{interrupted} of {KILLS} kills interrupted a carry; served by {served:?}");
    assert!(interrupted > 0, "no kill came at the right moment");
    assert!(served.iter().all(|times| 0 < *times), "not both were gone on with: {served:?}");
}

fn total_in(database: &Database) -> String {
    database.psql("SELECT coalesce(sum(counter), 0) FROM user_counter")
}

/// Makes the table of counters, in which `statements` come before each write; `NEW` is the new row.
fn with_trigger(database: &Database, statements: &str) {
    database.create();
    database.psql(
        "CREATE TABLE user_counter (user_id varchar(255) PRIMARY KEY, counter bigint NOT NULL, version bigint NOT NULL)",
    );
    database.psql(&format!(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statements} RETURN NEW; END $$"
    ));
    database.psql(
        "CREATE TRIGGER meddler BEFORE INSERT OR UPDATE ON user_counter FOR EACH ROW EXECUTE FUNCTION meddle()",
    );
}

#[test]
fn a_carry_that_arrives_incomplete_or_altered_is_undone() {
    for (meddling, arrived, left) in [
        (
            "IF NEW.user_id = 'lost' THEN RETURN NULL; END IF;",
            "holds 1 counter with a total of 1 instead of",
            "0",
        ),
        (
            "IF NEW.user_id = 'lost' AND NEW.counter > 0 THEN NEW.counter = 6; END IF;",
            "holds 2 counters with a total of 7 instead of",
            // What is not as it was copied may be somebody else's, and is left alone.
            "6",
        ),
    ] {
        let (sandbox, database) = (Sandbox::new(), Database::new());
        with_trigger(&database, meddling);
        let tally = database.start(&sandbox, &[]);
        assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
        assert_eq!(ask(tally.address(), "POST /counters/lost/inc?by=5").count(), 5);
        let refused = swap_and_carry(&tally, "postgresql-inplace-update");
        check_refused(&refused, "plugin-refused", "2 counters with a total of 6");
        check_refused(&refused, "plugin-refused", arrived);
        assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
        assert_eq!(ask(tally.address(), "GET /counters/lost").count(), 5);
        assert_eq!(total_in(&database), left);
        assert_eq!(overview(&tally)["carry"].is_null(), left == "0");
        database.psql("INSERT INTO user_counter VALUES ('theirs', 3, 0)");
        let refused = swap_and_carry(&tally, "postgresql-inplace-update");
        check_refused(&refused, "plugin-refused", "holds counts already");
    }
}

#[test]
fn a_carry_that_takes_too_long_is_undone() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    with_trigger(&database, "IF NEW.counter <> 0 THEN PERFORM pg_sleep(0.03); END IF;");
    let tally = database.start(&sandbox, &["--swap-pause-max", "2000"]);
    let mut connection = Connection::open(tally.address());
    // Written in three parts, the first of which takes longer than all may.
    for key in 0..250 {
        let request = format!("POST /counters/key-{key}/inc HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.write(request.as_bytes()).unwrap();
        assert_eq!(connection.answer().unwrap().count(), 1);
    }
    let refused = swap_and_carry(&tally, "postgresql-inplace-update");
    check_refused(&refused, "plugin-refused", "--swap-pause-max (2000 ms)");
    assert_eq!(ask(tally.address(), "POST /counters/key-0/inc").count(), 2);
    assert_eq!(database.psql("SELECT count(*) > 0 FROM user_counter"), "t", "a part was written");
    assert_eq!(total_in(&database), "0");
}

#[test]
fn counts_that_were_given_up_for_a_carry_that_is_not_made_are_named() {
    let sandbox = Sandbox::new();
    let memory = sandbox.start(&[]);
    assert_eq!(ask(memory.address(), "POST /counters/count/inc?by=7").count(), 7);
    let tally = sandbox.start(&["--plugin", "disk-flock", "--call-time-max", "600000"]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let file = fs::File::open(sandbox.storage()).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // A call that does not end while calls would be held back.
    let mut call = Connection::open(tally.address());
    call.write(INC).unwrap();
    wait_until("the request was read", || tally.has_read_all());
    let carry = |more: &str| {
        let body = format!(
            r#"{{"plugin":"shared-memory-atomic","carry":true,"swap_pause_max_ms":100{more}}}"#
        );
        ask_admin(&tally, "PUT /admin/plugin", &body)
    };
    check_refused(&carry(""), "plugin-refused", "holds counts already (count is 7)");
    assert_eq!(ask(memory.address(), "GET /count").count(), 7);
    let refused = carry(r#","overwrite":true"#);
    check_refused(&refused, "not-now", "so nothing was swapped, and the counts in");
    check_refused(&refused, "not-now", "were given up and are gone");
    assert_eq!(ask(memory.address(), "GET /count").count(), 0);
    assert!(sandbox.stderr().contains("the counts were not carried, and the counts in"));
    drop(file);
    assert_eq!(call.answer().unwrap().count(), 2);
}

fn journal(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("state").join("shared-region.journal.json")
}

fn journaled(sandbox: &Sandbox) -> serde_json::Value {
    serde_json::from_slice(&fs::read(journal(sandbox)).unwrap()).unwrap()
}

/// For a trigger: all counts but those of a trial wait for the lock of [`hold_writes`].
const WAITING: &str = "IF NEW.counter > 0 AND NEW.user_id <> 'tally-probe' THEN PERFORM pg_advisory_xact_lock(1); END IF;";
/// For hosts that have to wait for it.
const PATIENT: [&str; 4] = ["--swap-pause-max", "60000", "--db-statement-time-max", "60000"];

/// Holds up the writes of a carry until it ends.
fn hold_writes(database: &Database) -> Session {
    let mut session = database.session();
    session.ask("SELECT 1 FROM pg_advisory_lock(1)");
    session
}

fn a_write_waits(lock: &mut Session) -> bool {
    lock.sessions("wait_event = 'advisory'") == 1
}

#[test]
fn counters_that_somebody_else_counts_on_are_left_alone_when_the_old_storage_is_emptied() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    with_trigger(&database, WAITING);
    let tally = database.start(&sandbox, &PATIENT);
    // Another host on the same region, which counts while the counts are carried.
    let other = sandbox.start(&[]);
    for key in ["mine", "theirs"] {
        assert_eq!(ask(tally.address(), &format!("POST /counters/{key}/inc")).count(), 1);
    }
    let mut lock = hold_writes(&database);
    thread::scope(|scope| {
        let carrying = scope.spawn(|| carry(&tally, "postgresql-inplace-update"));
        wait_until("the counts are on their way", || a_write_waits(&mut lock));
        assert_eq!(ask(other.address(), "POST /counters/theirs/inc").count(), 2);
        lock.end();
        assert_eq!(carrying.join().unwrap()["carried"]["total"], "2");
    });
    assert_eq!(overview(&tally)["carry"]["state"], "moved", "not all was emptied");
    assert_eq!(swap_and_leave(&tally, "shared-memory-atomic").status, 200);
    assert_eq!(ask(tally.address(), "GET /counters/mine").count(), 0);
    assert_eq!(ask(tally.address(), "GET /counters/theirs").count(), 2);
}

#[test]
fn while_counts_are_copied_nothing_is_counted_and_the_journal_says_that_they_are_in_the_old_storage()
 {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    with_trigger(&database, WAITING);
    let tally = database.start(&sandbox, &PATIENT);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let memory = overview(&tally)["active"]["storage"].clone();

    let mut lock = hold_writes(&database);
    thread::scope(|scope| {
        let carrying = scope.spawn(|| carry(&tally, "postgresql-inplace-update"));
        wait_until("the counts are on their way", || a_write_waits(&mut lock));
        let copying = journaled(&sandbox)["carry"].clone();
        assert_eq!(
            (&copying["state"], &copying["from"]),
            (&"copying".into(), &memory),
            "{copying}"
        );
        let mut held_back = Connection::open(tally.address());
        held_back.write(INC).unwrap();
        // Nothing tells from outside that the request has come: the region would, if it were counted there.
        wait_until("the request was read", || tally.has_read_all());
        lock.end();
        assert_eq!(carrying.join().unwrap()["carried"]["total"], "1");
        assert_eq!(held_back.answer().unwrap().count(), 2);
    });
    assert_eq!(ask(tally.address(), "GET /count").count(), 2);
    let cleared = journaled(&sandbox)["carry"].clone();
    assert_eq!((&cleared["state"], &cleared["from"]), (&"cleared".into(), &memory), "{cleared}");
    let carry = &overview(&tally)["carry"];
    assert_eq!(carry["counts_in"], overview(&tally)["active"]["storage"], "{carry}");
}

#[test]
fn where_the_old_storage_can_not_be_emptied_the_counts_have_moved_all_the_same() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    with_trigger(
        &database,
        "IF NEW.user_id = '1' AND NEW.counter = 0 THEN RAISE 'not mine'; END IF;",
    );
    database.psql("INSERT INTO user_counter VALUES ('1', 7, 0)");
    let tally = database.start(&sandbox, &["--plugin", "postgresql-inplace-update"]);
    assert_eq!(carry(&tally, "shared-memory-atomic")["carried"]["total"], "7");
    assert!(sandbox.stderr().contains("a part of them stays in"), "{}", sandbox.stderr());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 8);
    let memory = overview(&tally)["active"]["storage"].clone();
    tally.kill();

    let tally = database.start(&sandbox, &[]);
    let moved = &overview(&tally)["carry"];
    assert_eq!((&moved["state"], &moved["counts_in"]), (&"moved".into(), &memory), "{moved}");
    assert!(sandbox.stderr().contains("interrupted after the counts had moved"));
    database.psql("DROP TRIGGER meddler ON user_counter");
    let refused = swap_and_carry(&tally, "postgresql-inplace-update");
    check_refused(&refused, "plugin-refused", "holds counts already (count is 7)");
    assert_eq!(overwrite(&tally, "postgresql-inplace-update")["carried"]["total"], "8");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 9);
}

/// Leaves 1 in the file and 2 in memory, and a journal that says that a carry from memory to the file was interrupted.
fn interrupt_a_carry(sandbox: &Sandbox) {
    let start = |plugin| sandbox.start(&["--plugin", plugin]);
    let tally = start("disk-flock");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let disk = overview(&tally)["active"]["storage"].clone();
    tally.kill();
    let tally = start("shared-memory-atomic");
    assert_eq!(ask(tally.address(), "POST /counters/count/inc?by=2").count(), 2);
    let memory = overview(&tally)["active"]["storage"].clone();
    tally.kill();
    let choice = serde_json::json!({
        "plugin": "shared-memory-atomic", "file": null, "storage": memory
    });
    let record = serde_json::json!({
        "serving": { "serves": choice, "chosen": choice, "since_unix_ms": 1 },
        "carry": { "from": memory, "to": disk, "state": "copying", "at_unix_ms": 1 },
        "left": null
    });
    fs::create_dir_all(journal(sandbox).parent().unwrap()).unwrap();
    fs::write(journal(sandbox), record.to_string()).unwrap();
}

#[test]
fn what_an_interrupted_carry_left_is_named_and_overwritten_only_on_demand() {
    let sandbox = Sandbox::new();
    interrupt_a_carry(&sandbox);
    let tally = sandbox.start(&[]);
    let carried = &overview(&tally)["carry"];
    let memory = &overview(&tally)["active"]["storage"];
    assert_eq!(&carried["counts_in"], memory);
    let told = format!("was interrupted: the counts are in {}", memory.as_str().unwrap());
    assert!(sandbox.stderr().contains(&told), "{}", sandbox.stderr());
    let refused = swap_and_carry(&tally, "disk-flock");
    check_refused(&refused, "plugin-refused", "perhaps from a carry that was interrupted");
    assert_eq!(overwrite(&tally, "disk-flock")["carried"]["total"], "2");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 3);
}

#[test]
fn a_journal_that_can_not_be_read_is_not_written_over() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    fs::create_dir_all(journal(&sandbox).parent().unwrap()).unwrap();
    fs::write(journal(&sandbox), "damaged").unwrap();
    for body in [r#"{"plugin":"disk-flock","carry":true}"#, OVERWRITING] {
        check_refused(&ask_admin(&tally, "PUT /admin/plugin", body), "plugin-refused", "repair it");
    }
    assert_eq!(fs::read_to_string(journal(&sandbox)).unwrap(), "damaged");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    tally.kill();
    let output = sandbox.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("repair it"), "{output:?}");
}

const OVERWRITING: &str = r#"{"plugin":"disk-flock","carry":true,"overwrite":true}"#;
