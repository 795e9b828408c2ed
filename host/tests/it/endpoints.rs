use std::fmt::Write;

use crate::support::{Connection, Sandbox, ask, send};

#[test]
fn the_original_clients_requests_are_answered_as_they_expect() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    for (request, body) in [
        ("GET /count", r#"{"count":0}"#),
        ("POST /inc", r#"{"status":"ok","count":1}"#),
        ("POST /inc", r#"{"status":"ok","count":2}"#),
        ("GET /count", r#"{"count":2}"#),
        ("POST /reset", r#"{"status":"ok"}"#),
        ("GET /count", r#"{"count":0}"#),
    ] {
        let answer = ask(tally.address(), request);
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{request}");
        assert!(answer.head.contains("content-type: application/json"), "{request}");
    }
}

#[test]
fn counters_have_keys_and_take_any_addition() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    for (request, count) in [
        ("GET /counters/a", 0),
        ("POST /counters/a/inc", 1),
        ("POST /counters/a/inc?by=41", 42),
        ("POST /counters/a/inc?by=-2", 40),
        ("POST /counters/a%2Fb%20%C3%A9/inc?by=7", 7),
        ("GET /counters/a%2Fb%20%C3%A9", 7),
        ("GET /counters/a", 40),
        // The default counter is one of them.
        ("POST /inc", 1),
        ("GET /counters/count", 1),
    ] {
        assert_eq!(ask(tally.address(), request).count(), count, "{request}");
    }
    assert_eq!(ask(tally.address(), "POST /counters/a/reset").body, r#"{"status":"ok"}"#);
    assert_eq!(ask(tally.address(), "GET /counters/a").count(), 0);
    let head = "POST /counters/b/inc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let with_body = send(tally.address(), format!("{head}content-length: 8\r\n\r\n{{\"by\":5}}"));
    assert_eq!(with_body.count(), 5);
    let chunked = "transfer-encoding: chunked\r\n\r\n4\r\n{\"by\r\n4\r\n\":6}\r\n0\r\n\r\n";
    assert_eq!(send(tally.address(), format!("{head}{chunked}")).count(), 11);
}

#[test]
fn every_bad_request_is_a_problem_and_changes_nothing() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--shared-memory-capacity", "1"]);
    let long_key = "k".repeat(257);
    let get = "GET /count HTTP/1.1\r\n";
    let inc = "POST /counters/count/inc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let mut many_headers = String::new();
    for idx in 0..150 {
        write!(many_headers, "x-{idx}: y\r\n").unwrap();
    }
    for request in ["POST /inc", "POST /counters/only/inc"] {
        assert_eq!(ask(tally.address(), request).count(), 1);
    }
    for (request, status, code) in [
        ("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 404, "not-found"),
        ("POST /counters/tally-probe/inc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "invalid-key"),
        ("GET /counters?limit=0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "bad-request"),
        ("GET /counters?limit=1001 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "bad-request"),
        ("GET /counters?limit=many HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "bad-request"),
        ("GET /counters?page=2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "bad-request"),
        ("GET /inc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 405, "method-not-allowed"),
        (format!("GET /counters/{long_key} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), 400, "invalid-key"),
        ("GET /counters/%FF HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "invalid-key"),
        ("POST /counters/other/inc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 507, "storage-full"),
        ("POST /counters/count/inc?by=x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "bad-request"),
        ("POST /counters/count/inc?to=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "bad-request"),
        ("POST /counters/count/inc?by=9223372036854775808 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), 400, "bad-request"),
        (format!("{inc}content-length: 3\r\n\r\nabc"), 400, "bad-request"),
        (format!("{inc}content-length: 9\r\n\r\n{{\"by\":.5}}"), 400, "bad-request"),
        (format!("{inc}content-length: 5000\r\n\r\n"), 413, "body-too-large"),
        (format!("{inc}transfer-encoding: chunked\r\n\r\n1388\r\n{}\r\n0\r\n\r\n", "x".repeat(5000)), 413, "body-too-large"),
        (format!("{get}connection: close\r\n\r\n"), 400, "missing-host"),
        (format!("{get}host: x\r\nhost: y\r\nconnection: close\r\n\r\n"), 400, "missing-host"),
        (format!("{get}host: x\r\nx-long: {}\r\n\r\n", "y".repeat(300_000)), 431, "head-too-large"),
        (format!("{get}host: x\r\n{many_headers}\r\n"), 431, "head-too-large"),
        (format!("{get}host : x\r\n\r\n"), 400, "malformed-request"),
        ("nonsense\r\n\r\n".into(), 400, "malformed-request"),
        (format!("{inc}content-length: 1\r\ncontent-length: 2\r\n\r\n"), 400, "malformed-request"),
    ] {
        let shown = &request[..request.len().min(80)];
        let answer = send_in_full(&tally, &request);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{shown:?}");
    }
    assert_eq!(ask(tally.address(), "GET /count").count(), 1);
}

/// A host that refuses a request early may close before the rest is sent, which is its right.
fn send_in_full(tally: &crate::support::Tally, request: &str) -> crate::support::Answer {
    let mut connection = Connection::open(tally.address());
    let _ = connection.write(request.as_bytes());
    connection.answer().unwrap_or_else(|| panic!("no answer to {:?}", &request[..60]))
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    for (request, allowed) in [
        ("GET /inc", "allow: post"),
        ("PUT /reset", "allow: post"),
        ("POST /count", "allow: get,head"),
        ("DELETE /counters/a", "allow: get,head"),
    ] {
        let answer = ask(tally.address(), request);
        assert!(answer.head.contains(allowed), "{request}: {}", answer.head);
    }
}

#[test]
fn a_connection_serves_one_request_after_the_other_also_after_a_problem() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let mut connection = Connection::open(tally.address());
    for (request, status) in [("POST /inc", 200), ("GET /nothing", 404), ("POST /inc", 200)] {
        connection.write(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(connection.answer().unwrap().status, status);
    }
    let pipelined = "POST /inc HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3);
    connection.write(pipelined.as_bytes()).unwrap();
    for count in 3..=5 {
        assert_eq!(connection.answer().unwrap().count(), count);
    }
}

#[test]
fn a_host_that_serves_is_live_and_ready() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(ask(tally.address(), "GET /livez").body, r#"{"status":"live"}"#);
    let ready = ask(tally.address(), "GET /readyz");
    assert_eq!(ready.body, r#"{"status":"ready","plugin":"shared-memory-atomic"}"#);
}

#[test]
fn a_host_whose_storage_can_not_be_used_is_live_but_not_ready_and_says_why() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.storage(), "not a number").unwrap();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    assert_eq!(ask(tally.address(), "GET /livez").status, 200);
    let ready = ask(tally.address(), "GET /readyz");
    assert_eq!((ready.status, ready.problem().as_str()), (503, "not-ready"));
    assert!(ready.body.contains("count.txt") && ready.body.contains("not a number"));
}
