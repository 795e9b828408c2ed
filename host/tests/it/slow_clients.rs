use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Answer, Connection, Sandbox, ask, load};

const SLOW_CLIENTS: usize = 1_000;
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_thousand_clients_that_never_finish_are_closed_while_others_see_no_error() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let slow: Vec<(Connection, Instant)> = (0..SLOW_CLIENTS)
        .map(|idx| {
            let mut connection = Connection::open(tally.address());
            let sent: &[u8] = match idx % 3 {
                0 => b"",
                1 => b"POST /inc HTTP/1.1\r\nho",
                _ => b"POST /counters/a/inc HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"b",
            };
            connection.write(sent).unwrap();
            (connection, Instant::now())
        })
        .collect();
    let closed = AtomicBool::new(false);
    thread::scope(|scope| {
        let normal = scope.spawn(|| {
            while !closed.load(Ordering::SeqCst) {
                let report = load(&tally, 4, 1_000);
                assert!(report.verdict.right(), "{report}");
                assert_eq!(report.verdict.acknowledged, 4_000, "{report}");
            }
        });
        let mut longest = Duration::ZERO;
        for (mut connection, began) in slow {
            // An error, such as a reset, is an end too.
            let _ = connection.read_to_end();
            longest = longest.max(began.elapsed());
        }
        closed.store(true, Ordering::SeqCst);
        normal.join().unwrap();
        assert!(longest < CLOSED_WITHIN, "one was closed after {longest:?}");
    });
    assert_eq!(ask(tally.address(), "GET /counters/a").count(), 0, "half a body counts nothing");
}

#[test]
fn a_body_that_does_not_arrive_is_answered_and_an_idle_connection_is_closed() {
    let sandbox = Sandbox::new();
    let times = ["--body-time-max", "100", "--idle-time-max", "100", "--head-time-max", "2000"];
    let tally = sandbox.start(&times);
    let mut connection = Connection::open(tally.address());
    let head = "POST /counters/a/inc HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n";
    connection.write(head.as_bytes()).unwrap();
    let answer = connection.answer().unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (408, "body-too-slow"));
    assert_eq!(connection.read_to_end().unwrap(), b"");

    let mut connection = Connection::open(tally.address());
    connection.write(b"POST /inc HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert_eq!(connection.answer().unwrap().count(), 1);
    assert!(connection.answer().is_none(), "closed after it was idle");
}

#[test]
fn connections_beyond_the_limit_wait_until_others_are_closed() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--connections-max", "2"]);
    let first = Connection::open(tally.address());
    let second = Connection::open(tally.address());
    let mut third = Connection::open(tally.address());
    third.write(b"POST /inc HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    drop((first, second));
    assert_eq!(third.answer().unwrap().count(), 1);
}

#[test]
fn who_is_refused_while_still_sending_gets_the_answer_all_the_same() {
    const MIB: usize = 1024 * 1024;
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin-file-max", "1"]);
    let request = |line: &str, length| {
        let head = tally.admin_head(line) + "content-type: application/wasm\r\n";
        format!("{head}content-length: {length}\r\n\r\n")
    };
    let endless = format!("GET /{}", "x".repeat(64 * 1024));
    for (address, sent, code) in [
        (tally.address(), request("POST /inc", MIB), "413 body-too-large"),
        (tally.address(), endless, "414 uri-too-long"),
        (tally.admin(), request("PUT /admin/plugins/mine", MIB + 1), "413 body-too-large"),
        (tally.admin(), request("PUT /admin/plugin", MIB), "413 body-too-large"),
    ] {
        let mut connection = Connection::open(address);
        connection.write(sent.as_bytes()).unwrap();
        connection.wait_for_bytes();
        connection.write(&vec![b'x'; MIB]).unwrap();
        let received = String::from_utf8(connection.read_to_end().unwrap()).unwrap();
        let answer = Answer::parse(&received);
        assert_eq!(format!("{} {}", answer.status, answer.problem()), code);
    }
}
