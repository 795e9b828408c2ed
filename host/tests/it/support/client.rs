//! HTTP as bytes, so that tests can send what no client library would.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// How long an answer may take: that to a carry may come after its pause of a minute.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);

/// What a host answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The whole of a message.
    pub fn parse(text: &str) -> Self {
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The value in a successful answer.
    pub fn count(&self) -> i64 {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["count"].as_i64().unwrap()
    }

    /// As [`Self::problem`]; empty where it is none.
    pub fn problem_if_any(&self) -> String {
        if self.status == 200 { String::new() } else { self.problem() }
    }

    /// The code of a problem, whose form is checked.
    pub fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 9), "{self:?}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Sends `METHOD /path` without a body on a connection of its own.
pub fn ask(address: SocketAddr, request: &str) -> Answer {
    send(address, format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
}

/// Sends `bytes` on a connection of its own and reads until the host closes it.
pub fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let mut connection = Connection::open(address);
    connection.write(bytes.as_ref()).unwrap();
    let received = connection.read_to_end().unwrap();
    Answer::parse(&String::from_utf8(received).unwrap())
}

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).unwrap();
        Self { stream }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that nothing more will be sent. Answers can still come.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Waits until something has come, and leaves it there.
    pub fn wait_for_bytes(&self) {
        assert_eq!(self.stream.peek(&mut [0]).unwrap(), 1, "the host closed the connection");
    }

    /// Whatever comes until the host closes the connection.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        self.stream.read_to_end(&mut received)?;
        Ok(received)
    }

    /// What comes until `text` has come.
    pub fn read_until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        let mut received = String::new();
        while !received.contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {received}");
            let mut bytes = [0; 4096];
            let length = self.stream.read(&mut bytes).unwrap();
            assert!(length > 0, "the connection ended before {text:?}: {received}");
            received.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        received
    }

    /// One answer that says how long it is; none when the connection ends before it is whole.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut received = Vec::new();
        let mut byte = [0];
        while !received.ends_with(b"\r\n\r\n") {
            self.read_exact(&mut byte)?;
            received.push(byte[0]);
        }
        let head = String::from_utf8(received).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.read_exact(&mut body)?;
        Some(Answer::parse(&(head + &String::from_utf8(body).unwrap())))
    }

    /// None when the connection ends first.
    fn read_exact(&mut self, bytes: &mut [u8]) -> Option<()> {
        let outcome = self.stream.read_exact(bytes);
        if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            panic!(
                "the host neither answered nor closed the connection within {ANSWER_TIME_MAX:?}"
            );
        }
        outcome.ok()
    }
}
