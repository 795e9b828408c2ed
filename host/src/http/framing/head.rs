//! What the head of a request must be, by RFC 9112, and what it says of the body.

use super::{Problem, body::Body, host, target};

/// Bytes at the end of a line.
const CRLF_BYTES: usize = 2;

/// Headers of one request. hyper takes no more.
const HEADERS_MAX: usize = 100;

/// The header by which a client offers to go on in another protocol.
const UPGRADE: &[u8] = b"upgrade";
/// What it is called for hyper, which would end such a connection without the end of an answer, and without ours.
const IGNORED: &[u8; UPGRADE.len()] = b"ignored";

/// What follows `head`, which begins with the request line and ends with an empty line, all ended by CRLF.
///
/// A minor version beyond 1 is made 1 (RFC 9110, section 2.5), and an offer of another protocol is not taken (section 7.8).
///
/// # Errors
///
/// What is wrong with it.
pub fn check(head: &mut [u8]) -> Result<Body, Problem> {
    let line_end = |byte: &u8| *byte == b'\n';
    let mut lines = head.split(line_end).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    let minor = request_line_of(request_line)?;
    let minor_at = request_line.len() - 1;
    let mut at = request_line.len() + CRLF_BYTES;
    let (mut fields, mut offers) = (Fields::default(), Vec::new());
    for (idx, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        if idx == HEADERS_MAX {
            return Err(Problem::head_too_large());
        }
        if fields.add(line)?.eq_ignore_ascii_case(UPGRADE) {
            offers.push(at);
        }
        at += line.len() + CRLF_BYTES;
    }
    let body = fields.body(minor)?;
    head[minor_at] = minor.min(b'1');
    for at in offers {
        head[at..at + UPGRADE.len()].copy_from_slice(IGNORED);
    }
    Ok(body)
}

/// The digit of the minor version.
fn request_line_of(line: &[u8]) -> Result<u8, Problem> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Problem::malformed(
            "the first line is METHOD TARGET VERSION, with one space between them",
        ));
    };
    if !is_token(method) {
        return Err(Problem::malformed("the method is no token"));
    }
    let &[b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] = version
    else {
        return Err(Problem::malformed("the version is written HTTP/1.1"));
    };
    if major != b'1' {
        return Err(Problem::version_not_supported());
    }
    target::check(method, target)?;
    Ok(minor)
}

fn is_token(text: &[u8]) -> bool {
    let is_mark = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// What the headers say of where the request goes, and of its body.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    codings: Option<Codings>,
}

/// The transfer codings, those of several headers one after the other.
#[derive(Default)]
struct Codings {
    chunked: usize,
    others: usize,
    ends_chunked: bool,
}

impl Fields {
    /// Takes note of a header; returns its name.
    fn add<'a>(&mut self, line: &'a [u8]) -> Result<&'a [u8], Problem> {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return Err(Problem::malformed("a header is written NAME: VALUE, on one line"));
        };
        if !is_token(name) {
            return Err(Problem::malformed(
                "the name of a header is a token, with the colon right behind it",
            ));
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if !host::is_valid(value) {
                return Err(Problem::malformed(
                    "the header host is a name or an address, maybe with :PORT",
                ));
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.replace(length(value)?).is_some() {
                return Err(Problem::malformed("there are several headers content-length"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings.get_or_insert_default().add(value)?;
        }
        Ok(name)
    }

    fn body(self, minor: u8) -> Result<Body, Problem> {
        if 1 < self.hosts || self.hosts == 0 && minor != b'0' {
            return Err(Problem::missing_host());
        }
        match (self.length, self.codings) {
            (length, None) => Ok(Body::of_length(length.unwrap_or_default())),
            (_, Some(_)) if minor == b'0' => {
                Err(Problem::malformed("transfer-encoding is not a part of HTTP/1.0"))
            }
            (Some(_), Some(_)) => {
                Err(Problem::malformed("there are both content-length and transfer-encoding"))
            }
            (None, Some(codings)) => codings.body(),
        }
    }
}

impl Codings {
    fn add(&mut self, value: &[u8]) -> Result<(), Problem> {
        for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let name =
                coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
            if !is_token(name) {
                return Err(Problem::malformed("transfer-encoding is no list of codings"));
            }
            self.ends_chunked = coding.eq_ignore_ascii_case(b"chunked");
            if self.ends_chunked {
                self.chunked += 1;
            } else {
                self.others += 1;
            }
        }
        Ok(())
    }

    fn body(self) -> Result<Body, Problem> {
        match self {
            Self { chunked: 1, others: 0, .. } => Ok(Body::chunked()),
            Self { chunked: 1, ends_chunked: true, .. } => Err(Problem::unknown_coding()),
            _ => Err(Problem::malformed(
                "chunked is the last of the transfer codings, and there once",
            )),
        }
    }
}

fn length(value: &[u8]) -> Result<u64, Problem> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Problem::malformed("content-length is a number of bytes"));
    }
    let length = str::from_utf8(value).ok().and_then(|digits| digits.parse::<i64>().ok());
    length.map(i64::cast_unsigned).ok_or_else(Problem::body_beyond_all_limits)
}
