//! Requests and answers by the letter of RFC 9112, without any leniency that it allows: what tests hold a connection against.

use crate::http::reference::{self, Call};

/// The longest body that is read.
const BODY_BYTES_MAX: usize = 4_096;

/// Where the reading of a stream of requests came to its end.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Behind the last byte, or behind a request that asks for the end of the connection.
    Whole,
    /// In a request whose rest does not come.
    Half,
    /// Behind a request without exactly one host, which asks for this.
    Refused(Option<Call>),
    /// At bytes that RFC 9112 does not describe, or that this does not read.
    Odd,
}

/// The requests in a stream and what each asks a counter for, up to the end.
pub fn requests(stream: &[u8]) -> (Vec<Option<Call>>, End) {
    let (mut rest, mut found) = (stream, Vec::new());
    while !rest.is_empty() {
        match request(&mut rest) {
            Ok(request) if request.hosts != 1 => return (found, End::Refused(request.call)),
            Ok(request) => {
                found.push(request.call);
                if request.is_last {
                    break;
                }
            }
            Err(end) => return (found, end),
        }
    }
    (found, End::Whole)
}

struct Request {
    call: Option<Call>,
    hosts: usize,
    is_last: bool,
}

/// Takes one request off the front of `rest`.
fn request(rest: &mut &[u8]) -> Result<Request, End> {
    let head = head(rest)?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let (method, target) = request_line(line).ok_or(End::Odd)?;
    let (mut hosts, mut lengths, mut is_chunked, mut is_last) = (0, Vec::new(), false, false);
    for line in lines {
        let (name, value) = header(line).ok_or(End::Odd)?;
        match (name.to_ascii_lowercase().as_str(), value) {
            ("host", "x") => hosts += 1,
            ("content-length", digits) if (1..=4).contains(&digits.len()) => {
                lengths.push(number(digits, 10).ok_or(End::Odd)?);
            }
            ("transfer-encoding", "chunked") if !is_chunked => is_chunked = true,
            ("connection", "close") => is_last = true,
            // An offer need not be taken.
            ("x-anything" | "upgrade", _) | ("connection", "upgrade") => {}
            _ => return Err(End::Odd),
        }
    }
    let body = match (&lengths[..], is_chunked) {
        ([], true) => chunks(rest)?,
        ([], false) => Vec::new(),
        ([length], false) if *length <= BODY_BYTES_MAX => take(rest, *length)?.to_vec(),
        _ => return Err(End::Odd),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let call = reference::meaning(method, path, query, &body);
    Ok(Request { call, hosts, is_last })
}

/// The lines of a head, without the empty one behind them.
fn head<'a>(rest: &mut &'a [u8]) -> Result<&'a str, End> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(length) = rest.windows(END.len()).position(|bytes| bytes == END) else {
        // A server may take a line feed alone for the end of a line.
        let is_odd = rest
            .iter()
            .enumerate()
            .any(|(idx, byte)| *byte == b'\n' && (idx == 0 || rest[idx - 1] != b'\r'));
        return Err(if is_odd { End::Odd } else { End::Half });
    };
    let head = std::str::from_utf8(&rest[..length]).map_err(|_| End::Odd)?;
    *rest = &rest[length + END.len()..];
    let is_plain = |c: char| c == '\t' || c == ' ' || c.is_ascii_graphic();
    let mut lines = head.split("\r\n");
    if lines.all(|line| line.chars().all(is_plain)) { Ok(head) } else { Err(End::Odd) }
}

fn request_line(line: &str) -> Option<(&str, &str)> {
    let (method, rest) = line.split_once(' ')?;
    let target = rest.strip_suffix(" HTTP/1.1")?;
    let in_path = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%?".contains(c);
    let is_valid = !method.is_empty()
        && method.chars().all(|c| c.is_ascii_uppercase())
        && method != "CONNECT"
        && target.starts_with('/')
        && target.chars().all(in_path);
    is_valid.then_some((method, target))
}

fn header(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_valid.then(|| (name, value.trim_matches([' ', '\t'])))
}

/// The content of chunks without extensions, and no trailers.
fn chunks(rest: &mut &[u8]) -> Result<Vec<u8>, End> {
    let mut content = Vec::new();
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(take(rest, digits)?).ok().filter(|size| size.len() <= 3);
        crlf(rest)?;
        let size = size.and_then(|size| number(size, 16)).ok_or(End::Odd)?;
        content.extend_from_slice(take(rest, size)?);
        crlf(rest)?;
        match size {
            0 if content.len() <= BODY_BYTES_MAX => return Ok(content),
            0 => return Err(End::Odd),
            _ => {}
        }
    }
}

fn crlf(rest: &mut &[u8]) -> Result<(), End> {
    let is_begun = rest.is_empty() || *rest == b"\r";
    match take(rest, 2) {
        Ok(b"\r\n") => Ok(()),
        Err(end) if is_begun => Err(end),
        _ => Err(End::Odd),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], End> {
    let (taken, after) = rest.split_at_checked(length).ok_or(End::Half)?;
    *rest = after;
    Ok(taken)
}

fn number(digits: &str, radix: u32) -> Option<usize> {
    digits.chars().all(|digit| digit.is_digit(radix)).then_some(())?;
    usize::from_str_radix(digits, radix).ok()
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, which is JSON.
    pub body: serde_json::Value,
    /// Whether it says that it is the last one.
    pub is_last: bool,
}

/// The answers in what came on a connection, interim ones left out; none if it is anything else, or not whole.
pub fn answers(mut received: &[u8]) -> Option<Vec<Answer>> {
    let mut answers = Vec::new();
    while !received.is_empty() {
        let head = head(&mut received).ok()?;
        let mut lines = head.split("\r\n");
        let (version, status) = lines.next()?.split_once(' ')?;
        let status = number(status.get(..3)?, 10)? as u16;
        let headers: Vec<_> = lines.map(header).collect::<Option<_>>()?;
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return None;
        }
        if status / 100 == 1 {
            continue;
        }
        let mut lengths =
            headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let (Some((_, length)), None) = (lengths.next(), lengths.next()) else { return None };
        let body = take(&mut received, number(length, 10)?).ok()?;
        let body = serde_json::from_slice(body).ok()?;
        let is_close = |(name, value): &(&str, &str)| {
            name.eq_ignore_ascii_case("connection") && *value == "close"
        };
        answers.push(Answer { status, body, is_last: headers.iter().any(is_close) });
    }
    Some(answers)
}
