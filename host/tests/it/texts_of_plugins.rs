use std::time::Instant;

use serde_json::json;

use crate::support::{Answer, Sandbox, Tally, ask, ask_admin, guest, overview, swap, wait_until};

/// What an answer may have that holds one text of a plugin: the text, its escapes, and what the host says around it.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// As much, with the names of a component's functions in a backtrace.
const LINE_BYTES_MAX: usize = 16 * 1024;

fn start(sandbox: &Sandbox, more: &[&str]) -> Tally {
    let guest = guest("guest-unruly");
    let grant = "guest_unruly=shared-memory+file-lock+clocks";
    let args = ["--plugin", guest.to_str().unwrap(), "--grant", grant];
    sandbox.start(&[&args, more].concat())
}

fn behave(tally: &Tally, function: &str, mode: i64) {
    assert_eq!(ask(tally.address(), &format!("POST /counters/{function}/reset")).status, 200);
    let set = format!("POST /counters/{function}/inc?by={mode}");
    assert_eq!(ask(tally.address(), &set).count(), mode);
}

/// Long, and says that it was longer.
fn check_cut(what: &str, answer: &Answer) {
    let len = answer.body.len();
    assert!((1024..ANSWER_BYTES_MAX).contains(&len), "{what}: {len} bytes");
    assert!(answer.body.contains(" … (cut)"), "{what}: {}", answer.body);
}

fn check_lines(sandbox: &Sandbox) {
    for line in sandbox.stderr().lines() {
        assert!(line.len() < LINE_BYTES_MAX, "{} bytes: {}", line.len(), &line[..200]);
    }
}

#[test]
fn an_error_of_any_length_is_cut_in_answers_and_in_the_log_whichever_function_it_is_of() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &["--tick-interval", "3600000"]);
    let counter = [
        (10, "storage-unavailable"),
        (11, "storage-full"),
        (12, "invalid-key"),
        (13, "overflow"),
        (14, "outcome-unknown"),
        (15, "storage-error"),
    ];
    let list = [
        (10, "storage-unavailable"),
        (11, "storage-full"),
        (12, "invalid-key"),
        (13, "invalid-cursor"),
        (14, "storage-error"),
    ];
    for (function, request, modes) in [
        ("increment", "POST /counters/any/inc", &counter[..]),
        ("get", "GET /counters/any", &counter),
        ("reset", "POST /counters/any/reset", &counter),
        ("list", "GET /counters", &list),
    ] {
        for (mode, code) in modes {
            behave(&tally, function, *mode);
            let answer = ask(tally.address(), request);
            assert_eq!(answer.problem(), *code, "{function} {mode}");
            check_cut(&format!("{function} {mode}"), &answer);
        }
        behave(&tally, function, 0);
    }
    // As a reason why the host is not ready, ...
    behave(&tally, "get", 15);
    wait_until("it says so in time", || ask(tally.address(), "GET /readyz").body.contains("(cut)"));
    check_cut("readyz", &ask(tally.address(), "GET /readyz"));
    let mut why = String::new();
    wait_until("the storage was looked at", || {
        why = overview(&tally)["why_not_ready"].as_str().unwrap_or_default().to_owned();
        why.ends_with(" … (cut)")
    });
    assert!(why.len() < ANSWER_BYTES_MAX, "{why}");
    behave(&tally, "get", 0);
    // ... and why a swap is not made, or what it has cost.
    behave(&tally, "tick", 10);
    check_cut("tick", &swap(&tally, "shared-memory-flock"));
    let forced = json!({ "plugin": "shared-memory-flock", "force": true }).to_string();
    check_cut("lost", &ask_admin(&tally, "PUT /admin/plugin", &forced));
    check_lines(&sandbox);
}

#[test]
fn a_listing_with_what_the_contract_does_not_allow_is_refused_and_the_log_says_why() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &[]);
    for (mode, why) in [
        (20, "it listed a key that is too long"),
        (21, "it ended a page with a cursor that is too long"),
        (22, "it listed more counters than it was asked for"),
    ] {
        behave(&tally, "list", mode);
        let answer = ask(tally.address(), "GET /counters?limit=5");
        assert_eq!((answer.status, answer.problem().as_str()), (500, "plugin-trapped"));
        assert!(answer.body.contains("contract"), "{}", answer.body);
        assert!(sandbox.stderr().contains(why), "{}", sandbox.stderr());
    }
    check_lines(&sandbox);
}

#[test]
fn work_at_an_interval_that_fails_again_and_again_writes_little_into_the_log() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &["--tick-interval", "10"]);
    let began = Instant::now();
    behave(&tally, "tick", 10);
    // When the ration is fresh the first time, so many failures were left out.
    wait_until("failures are left out", || {
        let log = sandbox.stderr();
        let dropped = log.lines().find(|line| line.contains("the work at an interval failed "));
        dropped.is_some_and(|line| line.contains(" more times"))
    });
    wait_until("more time", || began.elapsed().as_secs() >= 3);
    let bytes = sandbox.stderr().len();
    // Some lines each second; it was 10 MB a second.
    let most = 8 * 1024 * (began.elapsed().as_secs() as usize + 2);
    assert!(bytes < most, "{bytes} bytes, and {most} are enough");
}
