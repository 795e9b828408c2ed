//! What one connection is answered, for a table of requests that are as the RFCs say, or not.

mod bodies;
mod codings;
mod connections;
mod headers;
mod hosts;
mod lines;
mod targets;

use std::{borrow::Cow, net::SocketAddr};

use crate::support::{Connection, Sandbox, ask};

/// How many there are, at least.
const PROBES_MIN: usize = 150;

/// A sentence that says what is to happen, or what a request is, and where it stands.
#[derive(Clone, Copy)]
struct Rule(&'static str, &'static str);

/// What a probe leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    /// Of the final answers, in their order.
    statuses: &'static [u16],
    closes: bool,
    counted: i64,
}

/// It is answered, and the connection goes on.
const fn answered(statuses: &'static [u16], counted: i64) -> Outcome {
    Outcome { statuses, closes: false, counted }
}

/// It is answered, and nothing that follows it.
const fn last(statuses: &'static [u16], counted: i64) -> Outcome {
    Outcome { statuses, closes: true, counted }
}

/// It counts.
const COUNTED: Outcome = answered(&[200], 1);
/// It counts, and is the last of its connection.
const COUNTED_LAST: Outcome = last(&[200], 1);
/// It is refused as malformed.
const MALFORMED: Outcome = last(&[400], 0);

struct Probe {
    sent: Cow<'static, [u8]>,
    outcome: Outcome,
    rule: Rule,
}

fn probe(sent: impl Into<Cow<'static, [u8]>>, outcome: Outcome, rule: Rule) -> Probe {
    Probe { sent: sent.into(), outcome, rule }
}

/// `POST /inc` with these lines behind its request line, and this body.
fn inc(lines: &[u8], body: &[u8]) -> Vec<u8> {
    [b"POST /inc HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n", body].concat()
}

/// What follows a probe: where the connection is to go on it is answered, and where not it counts nothing.
const FOLLOWING: &[u8] = b"POST /inc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn what_is_ambiguous_closes_the_connection_and_counts_nothing() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--request-head-max", "8192"]);
    let themes = [
        lines::probes(),
        targets::probes(),
        hosts::probes(),
        headers::probes(),
        codings::probes(),
        bodies::probes(),
        connections::probes(),
    ];
    let probes: Vec<Probe> = themes.into_iter().flatten().collect();
    assert!(PROBES_MIN <= probes.len(), "{} probes", probes.len());
    let wrong: Vec<String> =
        probes.iter().filter_map(|probe| check(tally.address(), probe).err()).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), probes.len(), wrong.join("\n"));
}

#[test]
fn it_does_not_matter_in_which_pieces_a_request_comes() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let requests = [
        inc(b"Transfer-Encoding: chunked\r\n", b"1;x=y\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n"),
        b"\r\n".to_vec(),
        inc(b"Content-Length: 2\r\n", b"{}"),
        inc(b"", b""),
    ];
    let all = [&requests.concat(), FOLLOWING].concat();
    for first in 1..all.len() {
        let mut connection = Connection::open(tally.address());
        for piece in [&all[..first], &all[first..]] {
            connection.write(piece).unwrap();
            // So that each arrives by itself.
            std::thread::yield_now();
        }
        let received = connection.read_to_end().unwrap();
        let answers = answers(&received, false).unwrap();
        let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [200; 4], "cut behind {first} bytes");
    }
    let mut connection = Connection::open(tally.address());
    for byte in &all {
        connection.write(&[*byte]).unwrap();
    }
    assert_eq!(answers(&connection.read_to_end().unwrap(), false).unwrap().len(), 4);
}

#[test]
fn the_admin_listener_refuses_the_same_heads_and_says_why() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let admin = tally.admin();
    for (line, headers, expected) in [
        ("GET /admin/plugins HTTP/2.0", "", (505, "version-not-supported")),
        ("GET /admin/plugins#x HTTP/1.1", "", (400, "malformed-request")),
        ("GET /admin/plugins HTTP/1.1", "host: localhost\r\n", (400, "missing-host")),
        ("GET /admin/plugins HTTP/1.0", "host: localhost\r\n", (400, "missing-host")),
        (
            "POST /admin/increment HTTP/1.1",
            "content-length: 1\r\ncontent-length: 1\r\n",
            (400, "malformed-request"),
        ),
        (
            "POST /admin/increment HTTP/1.1",
            "transfer-encoding: gzip, chunked\r\n",
            (501, "unknown-coding"),
        ),
        ("GET /nowhere HTTP/1.0", "", (401, "unauthorized")),
        (
            "POST /admin/increment HTTP/1.1",
            "origin: http://b\r\ncontent-length: 20000\r\n",
            (403, "foreign-origin"),
        ),
    ] {
        let answer =
            crate::support::send(admin, format!("{line}\r\nhost: {admin}\r\n{headers}\r\n"));
        assert_eq!((answer.status, answer.problem().as_str()), expected, "{line} {headers}");
        assert!(answer.head.contains("connection: close"), "{line} {headers}: {answer:?}");
        assert!(answer.head.contains("\ndate: "), "{line} {headers}: {answer:?}");
    }
}

fn check(address: SocketAddr, probe: &Probe) -> Result<(), String> {
    let shown = String::from_utf8_lossy(&probe.sent[..probe.sent.len().min(160)]).into_owned();
    let Rule(section, sentence) = probe.rule;
    let wrong = |what: String| format!("{shown:?}: {what}, but {section} says: {sentence}");
    let before = ask(address, "GET /count").count();
    let mut connection = Connection::open(address);
    // Who is refused early may find the connection closed.
    let _ = connection.write(&probe.sent).and_then(|()| connection.write(FOLLOWING));
    let received = connection.read_to_end().map_err(|error| wrong(error.to_string()))?;
    let answers = answers(&received, probe.sent.starts_with(b"HEAD ")).map_err(wrong)?;
    let expected = probe.outcome;
    let mut statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    let mut counted = ask(address, "GET /count").count() - before;
    // What follows asks for the end of the connection, and so for the last answer.
    let closes = statuses.len() <= expected.statuses.len();
    if !closes && statuses.pop() == Some(200) {
        counted -= 1;
    }
    if statuses != expected.statuses || (closes, counted) != (expected.closes, expected.counted) {
        return Err(wrong(format!(
            "{statuses:?}, closes: {closes}, counted: {counted}; {expected:?}"
        )));
    }
    let last = answers.len() - 1;
    let says_so = |(idx, answer): (usize, &(u16, String))| {
        answer.1.contains("connection: close") == (idx == last)
    };
    if !answers.iter().enumerate().all(says_so) {
        return Err(wrong(format!("connection: close belongs into the last of {answers:?}")));
    }
    Ok(())
}

/// Status and head, in lower case, of all final answers in `bytes`; of a problem it is checked that it is one.
fn answers(mut bytes: &[u8], first_has_no_body: bool) -> Result<Vec<(u16, String)>, String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let shown = || String::from_utf8_lossy(bytes).into_owned();
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").ok_or_else(shown)?;
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status: u16 =
            head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(shown)?;
        bytes = &bytes[end + 4..];
        if status < 200 {
            continue;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize =
            length.and_then(|length| length.parse().ok()).ok_or_else(|| head.clone())?;
        let length = if first_has_no_body && answers.is_empty() { 0 } else { length };
        let body = bytes.get(..length).ok_or_else(|| head.clone())?;
        if 400 <= status && 0 < length && !body.starts_with(b"{\"type\":\"about:blank\"") {
            return Err(format!("no problem in {head}"));
        }
        bytes = &bytes[length..];
        answers.push((status, head));
    }
    if answers.is_empty() { Err("no answer".into()) } else { Ok(answers) }
}
