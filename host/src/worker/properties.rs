//! Any bytes on a connection, cut anywhere: what is answered is HTTP, what is counted was a whole request, and what is a
//! request by the letter of RFC 9112 is answered.

use std::{rc::Rc, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task,
    time::timeout,
};

use super::{
    Served,
    connection::{self, Shared},
    strict::{self, Answer, End},
};
use crate::{
    config::Cli,
    http::{
        self,
        reference::{Call, Recorder},
    },
    metrics::Metrics,
};

/// How long one stream may take to be answered, in which nothing is waited for.
const TIME_MAX: Duration = Duration::from_secs(20);

/// The counters of the requests in one stream, so different that a few damaged bytes turn none into another.
const KEYS: [&str; 3] = ["aaaaaaaa", "bbbbbbbb", "cccccccc"];

/// Serves one connection on which a client sends `stream` in parts and then says that this was all.
fn serve(stream: &[u8], cuts: &[usize]) -> (Vec<Call>, Vec<u8>) {
    let recorder = Recorder::default();
    let served = Served {
        router: http::router(recorder.clone()),
        metrics: Rc::new(Metrics::new(None).of_worker()),
    };
    let limits = Cli::load(&["tally".into()]).unwrap().config.server_limits;
    let shared = Shared::new(served, limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let received = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let connection = listener.accept().await.unwrap().0.into_std().unwrap();
        // Both on this thread: a panic of the connection is one of the test.
        let both = async {
            tokio::join!(connection::serve(connection, &shared), talk(client, stream, cuts)).1
        };
        timeout(TIME_MAX, both).await.expect("the connection comes to its end")
    });
    (recorder.calls(), received)
}

/// Sends the parts of `stream` between the cuts one by one, and returns what comes back.
async fn talk(mut client: TcpStream, stream: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut rest = stream;
    for cut in cuts.iter().chain([&usize::MAX]) {
        let (part, after) = rest.split_at((*cut).min(rest.len()));
        rest = after;
        // A host that has refused the rest may have closed already; what it has answered is there all the same.
        if client.write_all(part).await.is_err() {
            break;
        }
        // The other side reads this part before the next one comes.
        task::yield_now().await;
        task::yield_now().await;
    }
    let _ = client.shutdown().await;
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.expect("the answers are not lost");
    received
}

/// Holds what was done with a stream against what stands in it.
fn check(stream: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let (expected, end) = strict::requests(stream);
    let (calls, received) = serve(stream, cuts);
    let shown = String::from_utf8_lossy(&received);
    let answers = strict::answers(&received);
    prop_assert!(answers.is_some(), "no answers: {shown:?}");
    let answers = answers.unwrap_or_default();
    let counted = answers.iter().filter(|answer| has_counted(answer)).count();
    prop_assert_eq!(counted, calls.len(), "{}", &shown);
    // A refusal may end the connection, if it says so: then nothing that comes after it is expected.
    let ended = answers.last().is_some_and(|last| last.is_last && 400 <= last.status);
    let (expected, end) = match expected.get(..answers.len()) {
        Some(answered) if ended => (answered, End::Whole),
        _ => (&expected[..], end),
    };
    for (answer, call) in answers.iter().zip(expected) {
        prop_assert_eq!(has_counted(answer), call.is_some(), "{}", &shown);
    }
    let asked: Vec<Call> = expected.iter().flatten().cloned().collect();
    prop_assert_eq!(&calls[..asked.len().min(calls.len())], &asked[..], "{:?}, {}", end, &shown);
    let further = &calls[asked.len()..];
    match end {
        End::Whole => {
            prop_assert!(further.is_empty(), "{further:?}");
            prop_assert_eq!(answers.len(), expected.len(), "{}", &shown);
        }
        End::Half => prop_assert!(further.is_empty(), "half a request counted: {further:?}"),
        End::Refused(call) => {
            let counts = call.is_some_and(|call| further.contains(&call));
            prop_assert!(!counts, "a refused request counted: {further:?}");
        }
        // A server may be more lenient, but not find requests where there is no version.
        End::Odd => {
            let versions =
                stream.windows(7).filter(|bytes| bytes.eq_ignore_ascii_case(b"HTTP/1.")).count();
            prop_assert!(calls.len() <= versions, "{calls:?}");
        }
    }
    Ok(())
}

fn has_counted(answer: &Answer) -> bool {
    answer.status == 200 && (answer.body["status"] == "ok" || answer.body["count"].is_i64())
}

/// A body, and how it is announced: mostly as it should be.
fn framed() -> impl Strategy<Value = (String, String)> {
    let body =
        select(&["", "{}", "{\"by\":5}", "{ \"by\" : -1 }\r\n", "GET /count HTTP/1.1\r\n\r\n"][..]);
    let chunked = |body: &str, size: usize| {
        let chunk =
            |part: &[u8]| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part));
        body.as_bytes().chunks(size).map(chunk).collect::<String>() + "0\r\n\r\n"
    };
    (body, 1..9_usize, 0..14_u8).prop_map(move |(body, size, how)| {
        let length = body.len();
        let (announced, sent) = match how {
            0..4 => (format!("content-length: {length}\r\n"), body.to_owned()),
            4..7 => ("Transfer-Encoding: chunked\r\n".into(), chunked(body, size)),
            7 => (format!("content-length: {}\r\n", length + size), body.to_owned()),
            8 => {
                ("content-length: 3\r\ntransfer-encoding: chunked\r\n".into(), chunked(body, size))
            }
            9 => ("content-length: 2\r\ncontent-length: 5\r\n".into(), body.to_owned()),
            10 => {
                (format!("content-length: +{length}\r\nexpect: 100-continue\r\n"), body.to_owned())
            }
            _ => (String::new(), String::new()),
        };
        (announced, sent)
    })
}

/// One request, mostly valid, to the counter `KEY`.
fn request() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => select(&["?by=3", "", "?", "?by=x"][..])
            .prop_map(|query| format!("POST /counters/KEY/inc{query}")),
        1 => Just("GET /counters/KEY".to_owned()),
        1 => select(&["GET /livez", "DELETE /inc", "POST /nowhere", "OPTIONS *", "get /count"][..])
            .prop_map(String::from),
    ];
    let version =
        select(&["1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.0", "2.0"][..]);
    let hosts =
        prop_oneof![8 => Just("host: x\r\n"), 1 => Just(""), 1 => Just("Host: x\r\nhost: x\r\n")];
    let other = prop_oneof![
        12 => Just(""),
        2 => Just("x-anything: GET /count HTTP/1.1\r\n"),
        1 => Just("connection: close\r\n"),
        1 => Just("X: y\r\n folded\r\n"),
        1 => Just("content-length : 5\r\n"),
        1 => Just("connection: upgrade\r\nUpgrade: h2c\r\n"),
    ];
    (line, version, hosts, other, framed()).prop_map(
        |(line, version, hosts, other, (announced, body))| {
            format!("{line} HTTP/{version}\r\n{hosts}{other}{announced}\r\n{body}")
        },
    )
}

/// What becomes of the bytes at a place.
#[derive(Clone, Debug)]
enum Damage {
    Replace(u8),
    Insert(u8),
    Remove,
    /// Nothing comes from here on.
    End,
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![select(&b"\r\n\t :;,?%/0\0"[..]), any::<u8>()];
    prop_oneof![
        byte().prop_map(Damage::Replace),
        byte().prop_map(Damage::Insert),
        Just(Damage::Remove),
        Just(Damage::End),
    ]
}

fn damaged(mut stream: Vec<u8>, damages: &[(prop::sample::Index, Damage)]) -> Vec<u8> {
    for (idx, damage) in damages {
        if stream.is_empty() {
            break;
        }
        let idx = idx.index(stream.len());
        match damage {
            Damage::Replace(byte) => stream[idx] = *byte,
            Damage::Insert(byte) => stream.insert(idx, *byte),
            Damage::Remove => drop(stream.remove(idx)),
            Damage::End => stream.truncate(idx),
        }
    }
    stream
}

#[test]
fn a_client_that_has_offered_another_protocol_is_told_why_its_next_request_is_refused() {
    let offer = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let stream = [offer, "POST /inc HTTP/1.1\r\n\r\n"].concat();
    let (calls, received) = serve(stream.as_bytes(), &[offer.len()]);
    let statuses = strict::answers(&received)
        .map(|answers| answers.iter().map(|answer| answer.status).collect());
    assert_eq!((calls, statuses), (vec![], Some(vec![200, 400])));
}

proptest! {
    #[test]
    fn requests_on_a_connection_are_read_by_the_letter_however_they_are_damaged_and_cut(
        requests in vec(request(), 1..=KEYS.len()),
        damages in vec((any::<prop::sample::Index>(), damage()), 0..3),
        cuts in vec(1..60_usize, 0..12),
    ) {
        let requests: String = requests.iter().zip(KEYS).map(|(request, key)| request.replace("KEY", key)).collect();
        let stream = damaged(requests.into_bytes(), &damages);
        check(&stream, &cuts)?;
    }

    #[test]
    fn any_bytes_on_a_connection_are_answered_or_not_and_count_nothing(
        stream in prop_oneof![vec(any::<u8>(), 0..300), vec(select(&b"\r\n :GETPOS/HTP1.0inc"[..]), 0..80)],
        cuts in vec(1..40_usize, 0..8),
    ) {
        check(&stream, &cuts)?;
    }
}
