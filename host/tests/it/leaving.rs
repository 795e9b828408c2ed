use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Database, Sandbox, Tally, ask, ask_admin, carry, check_refused, events, guest, overview, swap,
    swap_and_carry, swap_and_leave, wait_until,
};

fn active(tally: &Tally) -> String {
    overview(tally)["active"]["plugin"].as_str().unwrap().to_owned()
}

fn count(tally: &Tally) -> i64 {
    ask(tally.address(), "GET /count").count()
}

/// Counts 5 with one key and 7 with another.
fn count_12(tally: &Tally) {
    assert_eq!(ask(tally.address(), "POST /counters/count/inc?by=5").count(), 5);
    assert_eq!(ask(tally.address(), "POST /counters/other/inc?by=7").count(), 7);
}

#[test]
fn a_swap_to_another_storage_is_refused_until_it_is_said_what_becomes_of_the_counts() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    count_12(&tally);
    let refused = swap(&tally, "disk-flock");
    assert_eq!(refused.status, 409);
    let region = sandbox.path().join("region").display().to_string();
    for part in [
        "holds 2 counters with a total of 12, but",
        &region,
        "disk-flock counts in the file",
        "--carry (\\\"carry\\\":true)",
        "--leave-counts (\\\"leave_counts\\\":true)",
    ] {
        check_refused(&refused, "carry-or-leave", part);
    }
    assert_eq!((active(&tally).as_str(), count(&tally)), ("shared-memory-atomic", 5));
    assert!(sandbox.stderr().contains("not swapped"), "{}", sandbox.stderr());
    assert!(!sandbox.storage().exists(), "the new plugin has not even been tried");

    let both = json!({ "plugin": "disk-flock", "carry": true, "leave_counts": true }).to_string();
    check_refused(&ask_admin(&tally, "PUT /admin/plugin", &both), "bad-request", "say one of them");
    // No to one of them is no yes to the other.
    let neither = json!({ "plugin": "disk-flock", "carry": false }).to_string();
    assert_eq!(ask_admin(&tally, "PUT /admin/plugin", &neither).problem(), "carry-or-leave");
    // Within one storage there is nothing to say, and to say it does no harm.
    assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    assert_eq!(swap_and_leave(&tally, "shared-memory-atomic").json()["left"], Value::Null);
    assert_eq!(count(&tally), 5);
}

#[test]
fn what_was_left_and_where_is_told_and_it_is_there_again_after_the_way_back() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--log-format", "json"]);
    count_12(&tally);
    let memory = overview(&tally)["active"]["storage"].clone();
    let left = json!({ "storage": memory, "keys": 2, "total": "12", "why_unknown": null });
    let answer = swap_and_leave(&tally, "disk-flock").json();
    assert_eq!((&answer["left"], &answer["carried"]), (&left, &Value::Null), "{answer}");
    assert_eq!(count(&tally), 0);
    let mut events = events(&tally);
    let seen = events.read_until("\"left\":{");
    assert!(seen.contains("\"carried\":null"), "{seen}");
    let log: Vec<Value> =
        sandbox.stderr().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warned = log.iter().find(|line| line["level"] == "WARN").unwrap();
    assert!(warned["message"].as_str().unwrap().starts_with("counts were left"), "{warned}");
    assert_eq!((&warned["storage"], &warned["keys"]), (&memory, &2.into()), "{warned}");
    let swapped = log.iter().find(|line| line["message"] == "swapped").unwrap();
    assert_eq!((&swapped["left_in"], &swapped["left_total"]), (&memory, &"12".into()), "{swapped}");

    // Nothing was counted since, so the way back asks for nothing and leaves nothing.
    let back = ask_admin(&tally, "POST /admin/rollback", "").json();
    assert_eq!(back["left"], Value::Null);
    assert_eq!(count(&tally), 5);
    let carried = carry(&tally, "disk-flock");
    assert_eq!(carried["left"], Value::Null);
    wait_until("it is logged", || sandbox.stderr().contains("\"carried_total\":\"12\""));
}

#[test]
fn a_storage_that_holds_only_zeros_needs_no_word() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    // The second one leaves the counter of the trial behind in the file.
    for plugin in ["disk-flock", "shared-memory-flock", "disk-flock"] {
        assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
        assert_eq!(ask(tally.address(), "POST /reset").status, 200);
        let answer = swap(&tally, plugin);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["left"], Value::Null);
    }
}

#[test]
fn what_can_not_be_listed_may_hold_counts_and_can_only_be_left() {
    let sandbox = Sandbox::new();
    let silent = guest("guest-first-call");
    let args = ["--plugin", silent.to_str().unwrap(), "--grant"];
    let tally = sandbox.start(&[&args[..], &["guest_first_call=shared-memory+config"]].concat());
    let refused = swap(&tally, "disk-flock");
    for part in ["is not known", "can't list its counters", "say --leave-counts"] {
        check_refused(&refused, "carry-or-leave", part);
    }
    check_refused(&swap_and_carry(&tally, "disk-flock"), "plugin-refused", "can't be carried");
    let left = &swap_and_leave(&tally, "disk-flock").json()["left"];
    assert_eq!((&left["keys"], &left["total"]), (&Value::Null, &Value::Null), "{left}");
    assert!(left["why_unknown"].as_str().unwrap().contains("can't list"), "{left}");
    // Where it is the new one that can't be listed, the counts can't go along either.
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let refused = swap(&tally, silent.to_str().unwrap());
    check_refused(&refused, "carry-or-leave", "holds 1 counter with a total of 1, but");
    check_refused(&refused, "carry-or-leave", "can't take them along, so say --leave-counts");
}

#[test]
fn the_commands_say_it_too() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    count_12(&tally);
    let admin = format!("http://{}", tally.admin());
    let run = |args: &[&str]| {
        let output = sandbox.run(&[args, &["--admin", &admin]].concat());
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (status, text) = run(&["swap", "disk-flock"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("--carry") && text.contains("--leave-counts"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let (status, text) = run(&["swap", "disk-flock", "--leave-counts", "--carry"]);
    assert_eq!(status, Some(2), "{text}");
    let (status, text) = run(&["swap", "disk-flock", "--leave-counts"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("left 2 counters with a total of 12 in the shared-mem"), "{text}");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let (status, text) = run(&["rollback"]);
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(run(&["rollback", "--leave-counts"]).0, Some(0));
    assert_eq!(count(&tally), 5);
}

#[test]
fn a_reload_that_changes_the_storage_needs_a_setting_that_says_it() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("tally.toml");
    fs::write(&file, "plugin = \"shared-memory-atomic\"").unwrap();
    let mut command = sandbox.command(&["--config", file.to_str().unwrap()]);
    command.env_remove("PLUGIN");
    let tally = sandbox.start_command(command);
    count_12(&tally);
    let reload = |plugin: &str, how: &str| {
        fs::write(&file, format!("plugin = \"{plugin}\"\n{how}")).unwrap();
        tally.signal(Signal::HUP);
    };
    reload("disk-flock", "");
    wait_until("it is refused", || sandbox.stderr().contains("not swapped"));
    for part in ["WARN", "--on-storage-change carry", "--on-storage-change leave"] {
        assert!(sandbox.stderr().contains(part), "{}", sandbox.stderr());
    }
    assert_eq!(count(&tally), 5);

    reload("disk-flock", "on-storage-change = \"carry\"");
    wait_until("they are carried", || active(&tally) == "disk-flock");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 6);
    reload("shared-memory-flock", "on-storage-change = \"leave\"");
    wait_until("they are left", || active(&tally) == "shared-memory-flock");
    wait_until("it is told", || sandbox.stderr().contains("holds 2 counters with a total of 13"));
    assert_eq!(count(&tally), 0);
    assert!(!sandbox.stderr().contains("a change of swaps"), "{}", sandbox.stderr());
    // Within one storage, and where there is nothing to carry, there is nothing to say.
    reload("shared-memory-atomic", "on-storage-change = \"carry\"");
    wait_until("the method is another", || active(&tally) == "shared-memory-atomic");
    reload("disk-flock", "on-storage-change = \"carry\"");
    wait_until("there are counts already", || active(&tally) == "disk-flock");
    assert_eq!(count(&tally), 6);
}

#[test]
fn what_was_swapped_to_stays_when_a_reload_changes_other_settings() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("tally.toml");
    fs::write(&file, "").unwrap();
    let tally = sandbox.start(&["--config", file.to_str().unwrap()]);
    count_12(&tally);
    carry(&tally, "disk-flock");
    fs::write(&file, "call-time-max = 4321\non-storage-change = \"leave\"").unwrap();
    tally.signal(Signal::HUP);
    wait_until("a swap", || overview(&tally)["swaps"] == 2);
    assert_eq!((active(&tally).as_str(), count(&tally)), ("disk-flock", 5));
}

#[test]
fn counts_that_arrive_while_a_swap_is_prepared_are_not_left_unsaid() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    // A swap may not have the time to do so.
    database.create();
    let patient = ["--db-statement-time-max", "60000", "--call-time-max", "60000"];
    let tally = database.start(&sandbox, &patient);
    let plugin = "postgresql-inplace-update";
    assert_eq!(swap(&tally, plugin).status, 200);
    assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
    database.psql("INSERT INTO user_counter VALUES ('tally-probe', 0, 0) ON CONFLICT DO NOTHING");
    let held = database.hold_row_of("tally-probe");
    // All of the following is done while the plugin is tried, for which there are 5 s.
    let mut observer = database.session();
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| swap(&tally, plugin));
        wait_until("the new plugin is tried", || {
            observer.sessions("wait_event_type = 'Lock'") == 1
        });
        count_12(&tally);
        drop(held);
        check_refused(&swapping.join().unwrap(), "carry-or-leave", "2 counters with a total of 12");
    });
    assert_eq!((active(&tally).as_str(), count(&tally)), ("shared-memory-atomic", 5));
    // The gate is open again.
    assert_eq!(ask(tally.address(), "POST /inc").count(), 6);
}
