use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Sandbox, Tally, ask, send, swap};

/// Accepts traces and keeps them.
struct Collector {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let messages = Arc::default();
        let this = Self { address, messages: Arc::clone(&messages) };
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let message = take(&mut stream);
                messages.lock().unwrap().extend(message);
                // Behind it the host may end, and what it has sent be looked for.
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        this
    }

    /// Whether `part` was in what it has received so far.
    fn has(&self, part: impl AsRef<[u8]>) -> bool {
        let (messages, part) = (self.messages.lock().unwrap(), part.as_ref());
        messages.windows(part.len()).any(|window| window == part)
    }
}

/// One request, head and body.
fn take(stream: &mut TcpStream) -> Vec<u8> {
    let mut message = Vec::new();
    let mut length = None;
    while length.is_none_or(|length| message.len() < length) {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "the request is whole");
        message.extend(&bytes[..read]);
        if let Some(end) = message.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).to_lowercase();
            let body = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            length = Some(end + 4 + body.parse::<usize>().unwrap());
        }
    }
    message
}

fn start(sandbox: &Sandbox, collector: SocketAddr) -> Tally {
    let mut command = sandbox.command(&[]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
    command.env("RUST_LOG", "trace");
    sandbox.start_command(command)
}

#[test]
fn requests_and_swaps_are_exported_before_the_host_ends() {
    let (sandbox, collector) = (Sandbox::new(), Collector::start());
    let tally = start(&sandbox, collector.address);
    let in_trace = |request: &str, sampled: &str| {
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{sampled}");
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close");
        send(tally.address(), format!("{head}\r\ntraceparent: {parent}\r\n\r\n"))
    };
    assert_eq!(in_trace("POST /inc", "01").count(), 1);
    assert_eq!(in_trace("POST /reset", "00").status, 200);
    assert_eq!(ask(tally.address(), "GET /counters/secret").count(), 0);
    assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    assert_eq!(swap(&tally, "no-such-plugin").status, 404);
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));

    for part in [
        "POST /v1/traces HTTP/1.1\r\n",
        "application/x-protobuf",
        "service.name",
        "POST /inc",
        "GET /counters/{key}",
        "http.route",
        "http.response.status_code",
        "shared-memory-atomic",
        "shared-memory-flock",
        "trigger",
        "swapped",
        "no-such-plugin",
        "unknown plugin",
    ] {
        assert!(collector.has(part), "{part} was exported; the log: {}", sandbox.stderr());
    }
    assert!(collector.has(b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"));
    assert!(collector.has(b"\xb7\xad\x6b\x71\x69\x20\x33\x31"), "the client's span is the parent");
    assert!(!collector.has("POST /reset"), "the client did not want it traced");
    assert!(!collector.has("secret"), "keys are nobody's business");
    assert!(!sandbox.stderr().contains("http.route"), "spans are not logged");
}

#[test]
fn a_collector_that_does_not_answer_does_not_hold_up_the_end() {
    let sandbox = Sandbox::new();
    // It accepts connections, by its backlog, and does nothing else.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tally = start(&sandbox, silent.local_addr().unwrap());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let began = Instant::now();
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(sandbox.stderr().contains("no answer within 3s"), "{}", sandbox.stderr());
}

#[test]
fn a_wrong_collector_is_refused_by_the_name_of_its_variable() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&[]);
    let output = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("the environment variable OTEL_EXPORTER_OTLP_ENDPOINT"), "{message}");
}
