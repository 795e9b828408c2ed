use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Answer, Connection, Sandbox, Tally, ask, events, wait_until};

const INC: &[u8] = b"POST /inc HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn a_signal_ends_the_host_with_status_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&[]);
        tally.signal(signal);
        assert_eq!(tally.wait().code(), Some(0));
    }
}

/// How long after its last answer the host waits, when it ends, for a request that it could answer with a goodbye.
const DRAIN_LINGER: Duration = Duration::from_millis(250);

#[test]
fn every_request_that_was_sent_before_the_host_said_goodbye_is_answered() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let address = tally.address();
    let acknowledged = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                let mut asked = Instant::now();
                loop {
                    let sending = Instant::now();
                    let sent = connection.write(INC);
                    // The answer before came later than it was asked for, so the host may have waited for so long.
                    let is_late = asked.elapsed() >= DRAIN_LINGER;
                    let Some(answer) = sent.ok().and_then(|()| connection.answer()) else {
                        assert!(is_late, "no answer to a request that was sent");
                        return;
                    };
                    asked = sending;
                    assert_eq!(answer.status, 200);
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    if answer.head.contains("connection: close") {
                        return;
                    }
                }
            });
        }
        while acknowledged.load(Ordering::SeqCst) < 1_000 {
            thread::yield_now();
        }
        tally.signal(Signal::TERM);
    });
    assert_eq!(tally.wait().code(), Some(0));
    let again = sandbox.start(&[]);
    assert_eq!(
        ask(again.address(), "GET /count").count(),
        acknowledged.load(Ordering::SeqCst) as i64
    );
}

/// More requests than the host reads at a time, and twice what a packet of 16 has.
const PIPELINED: usize = 600;

#[test]
fn every_pipelined_request_that_was_received_before_a_signal_is_answered() {
    for plugin in ["shared-memory-atomic", "disk-flock"] {
        let sandbox = Sandbox::new();
        // A disk may take long to have so many increments written.
        let tally = sandbox.start(&["--plugin", plugin, "--drain-time-max", "600000"]);
        let mut connections: Vec<_> = (0..4).map(|_| Connection::open(tally.address())).collect();
        for connection in &mut connections {
            connection.write(&INC.repeat(PIPELINED)).unwrap();
        }
        connections[0].wait_for_bytes();
        tally.signal(Signal::TERM);
        let mut counts = Vec::new();
        for connection in &mut connections {
            let answers: Vec<_> = std::iter::from_fn(|| connection.answer()).collect();
            assert_eq!(answers.len(), PIPELINED, "{plugin}");
            counts.extend(answers.iter().map(Answer::count));
        }
        counts.sort_unstable();
        assert_eq!(counts, (1..=4 * PIPELINED as i64).collect::<Vec<_>>(), "{plugin}");
        assert_eq!(tally.wait().code(), Some(0));
    }
}

#[test]
fn a_request_on_a_connection_that_is_only_just_open_at_a_signal_is_answered() {
    const HOSTS: usize = 10;
    for _ in 0..HOSTS {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&[]);
        let mut connections = [(); 8].map(|()| {
            let mut connection = Connection::open(tally.address());
            connection.write(INC).unwrap();
            connection
        });
        tally.signal(Signal::TERM);
        for connection in &mut connections {
            assert_eq!(connection.answer().expect("an answer").status, 200);
        }
        assert_eq!(tally.wait().code(), Some(0));
    }
}

/// Sends one batch after the other until an answer says that it was the last, and says how many there were; nothing where
/// it stopped for so long between two batches that the host need not have waited.
fn send_until_told(tally: &Tally) -> Option<i64> {
    let mut connection = Connection::open(tally.address());
    connection.write(&INC.repeat(16)).unwrap();
    tally.signal(Signal::TERM);
    let (mut answered, mut asked, mut is_late) = (0, Instant::now(), false);
    loop {
        let Some(answer) = connection.answer() else {
            assert!(is_late, "it is told before the connection ends");
            return None;
        };
        answered += 1;
        if answer.head.contains("connection: close") {
            assert_eq!(answer.count(), answered, "nothing behind the last answer is counted");
            assert!(connection.answer().is_none());
            return Some(answered);
        }
        if answered % 16 == 0 {
            let sent = connection.write(&INC.repeat(16));
            is_late = asked.elapsed() >= DRAIN_LINGER;
            assert!(is_late || sent.is_ok(), "{sent:?}");
            asked = Instant::now();
        }
    }
}

#[test]
fn a_client_that_never_stops_sending_is_told_to_and_holds_up_no_end() {
    let (sandbox, tally, answered) = (0..10)
        .find_map(|_| {
            let sandbox = Sandbox::new();
            let tally = sandbox.start(&["--drain-time-max", "600000"]);
            send_until_told(&tally).map(|answered| (sandbox, tally, answered))
        })
        .expect("it is quick enough in one of ten tries");
    assert_eq!(tally.wait().code(), Some(0));
    let again = sandbox.start(&[]);
    assert_eq!(ask(again.address(), "GET /count").count(), answered);
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let mut idle = Connection::open(tally.address());
    idle.write(INC).unwrap();
    assert_eq!(idle.answer().unwrap().count(), 1);
    let mut silent = Connection::open(tally.address());
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));
    assert!(idle.answer().is_none() && silent.answer().is_none());
}

#[test]
fn a_second_signal_stops_at_once() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--drain-time-max", "600000", "--body-time-max", "600000"]);
    let mut busy = Connection::open(tally.address());
    busy.write(b"POST /inc HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n").unwrap();
    // Once another connection is told to close, the host is draining.
    let mut other = Connection::open(tally.address());
    tally.signal(Signal::TERM);
    loop {
        other.write(INC).unwrap();
        match other.answer() {
            Some(answer) if !answer.head.contains("connection: close") => {}
            _ => break,
        }
    }
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(1));
}

#[test]
fn an_admin_request_under_way_is_answered_before_the_end() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let body = r#"{"plugin":"disk-flock"}"#;
    let mut asking = Connection::open(tally.admin());
    let (head, length) = (tally.admin_head("PUT /admin/plugin"), body.len());
    let head = format!("{head}expect: 100-continue\r\ncontent-type: application/json\r\n");
    asking.write(format!("{head}content-length: {length}\r\n\r\n").as_bytes()).unwrap();
    // The host says this once it has begun to answer.
    asking.read_until("100 Continue\r\n\r\n");
    tally.signal(Signal::TERM);
    wait_until("the admin listener is closed", || {
        std::net::TcpStream::connect(tally.admin()).is_err()
    });
    asking.write(body.as_bytes()).unwrap();
    // The threads that would swap have ended.
    assert_eq!(asking.answer().expect("an answer").problem(), "plugin-refused");
    assert_eq!(tally.wait().code(), Some(0));
    assert!(!sandbox.stderr().contains("cut off"), "{}", sandbox.stderr());
}

#[test]
fn those_who_watch_do_not_hold_up_the_end() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let mut watching = events(&tally);
    watching.read_until("event: sample");
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));
    assert!(!sandbox.stderr().contains("cut off"), "{}", sandbox.stderr());
}
