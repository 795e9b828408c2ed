use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    thread::{self, JoinHandle},
};

use serde_json::json;

use super::*;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

fn ask(
    endpoint: &Endpoint,
    body: Option<&Value>,
    token: Option<&Token>,
    time_max: Duration,
) -> Result<Answer, ClientError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(endpoint.request(Method::PUT, "/admin/plugin", body, token, time_max))
}

/// What is read from a file with `content`.
fn read_token(content: &[u8]) -> anyhow::Result<Token> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), content).expect("a file");
    Token::read(file.path())
}

/// Reads one request to its end, answers, and returns what it read.
fn answer(mut stream: impl Read + Write, answer: &str, body_bytes: usize) -> String {
    let mut request = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole request");
        request.push(byte[0]);
        let head = request.windows(4).position(|it| it == b"\r\n\r\n");
        if head.is_some_and(|it| it + 4 + body_bytes == request.len()) {
            break;
        }
    }
    // A client that has left is part of some tests.
    let _ = stream.write_all(answer.as_bytes());
    String::from_utf8(request).expect("UTF-8")
}

/// A server for one request with a body of `body_bytes`.
fn tcp(text: String, body_bytes: usize) -> (Endpoint, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        answer(stream, &text, body_bytes)
    });
    (Endpoint::parse(&format!("http://{address}")).expect("an endpoint"), served)
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn an_endpoint_is_a_url_with_a_port_or_a_path_and_nothing_else() {
    for text in ["http://127.0.0.1:8081", "http://[::1]:1", "http://host:65535", "unix:/run/a b"] {
        let endpoint = Endpoint::parse(text).expect("an endpoint");
        assert_eq!(endpoint.to_string(), text);
    }
    let slash = Endpoint::parse("http://host:1/").expect("an endpoint");
    assert_eq!(slash.to_string(), "http://host:1");
    for text in [
        "",
        "unix:",
        "127.0.0.1:8081",
        "http://",
        "http://host",
        "http://host:0",
        "http://host:70000",
        "http://host:1/admin",
        "http://host:1/?a",
        "http://user:word@host:1",
        "https://host:1",
    ] {
        let error = Endpoint::parse(text).expect_err(text);
        assert!(error.contains("http://HOST:PORT or unix:PATH"), "{error}");
    }
}

#[test]
fn a_request_has_host_body_and_token_and_the_answer_comes_back() {
    let body = json!({"plugin": "a"});
    let (endpoint, served) = tcp(http("200 OK", "done"), body.to_string().len());
    let token = read_token(b" 0123456789abcdef\n").expect("a token");
    let answer = ask(&endpoint, Some(&body), Some(&token), LONG).expect("an answer");
    assert_eq!(answer, Answer { status: 200, body: "done".to_owned() });
    let request = served.join().expect("a request");
    let (head, sent) = request.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("PUT /admin/plugin HTTP/1.1\r\n"), "{head}");
    let address = endpoint.to_string().replace("http://", "");
    for line in [
        &format!("host: {address}"),
        "content-type: application/json",
        "authorization: Bearer 0123456789abcdef",
        "content-length: 14",
    ] {
        assert!(head.lines().any(|it| it == line), "{line} in {head}");
    }
    assert_eq!(sent, r#"{"plugin":"a"}"#);
}

#[test]
fn a_request_without_body_or_token_does_not_speak_of_them_over_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let served = thread::spawn(move || {
        answer(listener.accept().expect("a connection").0, &http("204 No Content", ""), 0)
    });
    let endpoint = Endpoint::parse(&format!("unix:{}", path.display())).expect("an endpoint");
    let answer = ask(&endpoint, None, None, LONG).expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let head = served.join().expect("a request");
    assert!(head.contains("\r\nhost: localhost\r\n"), "{head}");
    assert!(!head.contains("content-type") && !head.contains("authorization"), "{head}");
}

#[test]
fn a_refusal_is_an_answer_that_says_why() {
    let problem = r#"{"title":"Conflict","detail":"a swap is under way"}"#;
    let (endpoint, _) = tcp(http("409 Conflict", problem), 0);
    let answer = ask(&endpoint, None, None, LONG).expect("an answer");
    assert_eq!(answer.detail().as_deref(), Some("a swap is under way"));
    assert_eq!(answer.reason(), "409 Conflict: a swap is under way");
    for body in ["", "no", "{}", r#"{"detail":7}"#] {
        let answer = Answer { status: 404, body: body.to_owned() };
        assert_eq!((answer.detail(), answer.reason()), (None, "404 Not Found".to_owned()));
    }
}

#[test]
fn a_listener_that_is_not_there_was_not_asked() {
    let cases = [
        ("http://127.0.0.1:1".to_owned(), "connection refused"),
        ("unix:/nowhere/admin.sock".to_owned(), "there is no such socket"),
    ];
    for (endpoint, reason) in cases {
        let endpoint = Endpoint::parse(&endpoint).expect("an endpoint");
        let error = ask(&endpoint, None, None, LONG).expect_err("nothing listens");
        assert_eq!(
            error,
            ClientError::NotSent(format!(
                "nothing answers at {endpoint} ({reason}): start the host, or give the address of its admin listener"
            ))
        );
    }
}

#[test]
fn without_a_whole_answer_the_outcome_is_unknown() {
    let cases = [
        (String::new(), LONG, "connection closed before message completed"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_owned(), LONG, "("),
        (http("200 OK", &"x".repeat(ANSWER_BYTES_MAX + 1)), LONG, "more than 1048576 bytes"),
    ];
    for (text, time_max, reason) in cases {
        let (endpoint, _served) = tcp(text, 0);
        let error = ask(&endpoint, None, None, time_max).expect_err("no whole answer");
        assert!(matches!(&error, ClientError::Unanswered(it) if it.contains(reason)), "{error}");
    }
}

#[test]
fn a_server_that_is_silent_is_waited_for_only_so_long() {
    // The kernel accepts for it.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let endpoint = Endpoint::parse(&format!("http://{address}")).expect("an endpoint");
    let error = ask(&endpoint, None, None, SHORT).expect_err("no answer");
    assert!(
        matches!(&error, ClientError::Unanswered(it) if it.contains("not within 0.1 s")),
        "{error}"
    );
}

#[test]
fn an_answer_of_the_largest_size_is_read() {
    let (endpoint, _) = tcp(http("200 OK", &"x".repeat(ANSWER_BYTES_MAX)), 0);
    let answer = ask(&endpoint, None, None, LONG).expect("an answer");
    assert_eq!(answer.body.len(), ANSWER_BYTES_MAX);
}

#[test]
fn what_cannot_stand_in_a_header_or_could_be_guessed_is_no_token() {
    for content in ["", "short", "0123456789abcdef\n0123456789abcdef", "0123456789\u{e9}bcdef"] {
        let error = read_token(content.as_bytes()).expect_err("no token").to_string();
        assert!(error.contains("holds no token"), "{error}");
        assert!(content.is_empty() || !error.contains(content), "{error}");
    }
    assert!(read_token(&[b'a'; 4096]).is_ok());
    assert!(read_token(&[b'a'; 4097]).is_err());
    let token = read_token(&[b'a'; 16]).expect("a token");
    assert_eq!(format!("{token:?}"), "hidden");
}
