//! One request to a host's admin listener, for programs that ask for something and leave: `tally swap`, `tally health`
//! and the load client.
//!
//! Each request has a connection of its own. That costs a handshake, which is little beside what is asked for, and
//! leaves no idle connection that may break in the meantime.

mod made;
mod token;

use std::{
    error::Error,
    fmt, io,
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::timeout,
};

pub(crate) use made::MadeToken;
pub use token::Token;

use crate::directories;

/// Largest body of an answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What a request over a Unix socket says in its header host, which must be there and can't be the socket's path.
const UNIX_HOST: &str = "localhost";

/// What to do where an admin listener does not accept a request for want of its token.
pub const TOKEN_ADVICE: &str = "run this as the user of the host, with its --state-dir if it has one, or name the \
                                file of its token with --admin-token-file";

/// Where an admin listener is. Its `Display` is what [`Endpoint::parse`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Host and port, as in a URL.
    Tcp(String),
    Unix(PathBuf),
}

/// What was answered, with whatever status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The body; bytes that are no UTF-8 are replaced.
    pub body: String,
}

/// Why there is no answer, as a sentence that says what to do.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The request can't be written as HTTP, so it was not sent.
    Malformed(String),
    /// There was no connection, so nothing was asked for.
    NotSent(String),
    /// The connection broke, or the time ran out, after the request began to be sent: it may have been done.
    Unanswered(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Malformed(sentence) | Self::NotSent(sentence) | Self::Unanswered(sentence)) =
            self;
        f.write_str(sentence)
    }
}

impl Error for ClientError {}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Tcp(authority) => write!(f, "http://{authority}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Reads `http://HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    ///
    /// A sentence, when `text` is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let place = match text.strip_prefix("unix:") {
            Some("") => None,
            Some(path) => Some(Place::Unix(path.into())),
            None => authority(text).map(Place::Tcp),
        };
        place.map(Self).ok_or_else(|| {
            format!(
                "`{text}` is not the address of an admin listener: it is written http://HOST:PORT or unix:PATH"
            )
        })
    }

    /// What to ask, and with which token: that of `token_file`, or if this is empty, the one that the host of this user
    /// there has made for itself, in `state_dir` or the user's own; none if it has made none.
    ///
    /// The token is found by the address, and it is that address which is to be asked then: behind a name there may be
    /// others, where somebody else listens.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or holds what can't be a token.
    pub fn with_token(
        self,
        token_file: &Path,
        state_dir: Option<&Path>,
    ) -> anyhow::Result<(Self, Option<Token>)> {
        if let Some(token) = Token::read_if_given(token_file)? {
            return Ok((self, Some(token)));
        }
        let (Place::Tcp(authority), Some(state_dir)) = (&self.0, directories::of_state(state_dir))
        else {
            return Ok((self, None));
        };
        // What has no address can't be asked either, which is said then.
        for address in authority.to_socket_addrs().into_iter().flatten() {
            if let Some(token) = made::find(&state_dir, address)? {
                return Ok((Self(Place::Tcp(address.to_string())), Some(token)));
            }
        }
        Ok((self, None))
    }

    /// Makes one request and reads the whole answer, both together within `time_max`.
    ///
    /// # Errors
    ///
    /// When there is no whole answer. An answer that refuses is an [`Answer`].
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Token>,
        time_max: Duration,
    ) -> Result<Answer, ClientError> {
        let what = format!("{method} {path}");
        let advice = match method.is_safe() {
            true => "check that a host's admin listener is there",
            false => "whether it was done is unknown, so look before you ask again",
        };
        let request = self.write(method, path, body, token).map_err(|err| {
            ClientError::Malformed(format!("{what} can't be sent to {self}: {err}"))
        })?;
        let late = || format!("not within {} s", time_max.as_secs_f64());
        let begin = Instant::now();
        let not_sent = |reason| {
            ClientError::NotSent(format!(
                "nothing answers at {self} ({reason}): start the host, or give the address of its admin listener"
            ))
        };
        let unanswered = |reason| {
            ClientError::Unanswered(format!("{self} did not answer {what} ({reason}): {advice}"))
        };
        let connecting = timeout(time_max, self.connect());
        let stream = match connecting.await.map_err(|_| not_sent(late()))? {
            Ok(stream) => stream,
            Err(err) => return Err(not_sent(in_words(&err))),
        };
        let left = time_max.saturating_sub(begin.elapsed());
        match timeout(left, exchange(stream, request)).await {
            Ok(answered) => answered.map_err(unanswered),
            Err(_) => Err(unanswered(late())),
        }
    }

    fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        token: Option<&Token>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let host = match &self.0 {
            Place::Tcp(authority) => authority,
            Place::Unix(_) => UNIX_HOST,
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::from(body.map(Value::to_string).unwrap_or_default()))
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.0 {
            Place::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await?;
                // Nobody waits for a second packet here, and callers measure how long a request takes.
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

impl Answer {
    /// The status with its name, and why, where the answer is a problem that says so: `409 Conflict: it is taken`.
    pub fn reason(&self) -> String {
        let status = StatusCode::from_u16(self.status)
            .map_or_else(|_| self.status.to_string(), |it| it.to_string());
        match self.detail() {
            Some(detail) => format!("{status}: {detail}"),
            None => status,
        }
    }

    /// What a problem (RFC 9457) says for people.
    pub fn detail(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Problem {
            detail: String,
        }
        serde_json::from_str::<Problem>(&self.body).ok().map(|it| it.detail)
    }
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Host and port of a URL that has nothing else.
fn authority(url: &str) -> Option<String> {
    let uri = Uri::try_from(url).ok()?;
    let authority = uri.authority()?;
    let bare = uri.path_and_query().is_none_or(|it| it == "/") && !authority.as_str().contains('@');
    let good = bare && uri.scheme_str() == Some("http") && uri.port_u16().is_some_and(|it| it != 0);
    good.then(|| authority.to_string())
}

/// Sends `request` over `stream`; the error is the reason in words.
async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|err| cause(&err))?;
    // Moves the bytes, and ends with this function, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|err| cause(&err))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|err| match err.downcast_ref::<LengthLimitError>() {
        Some(_) => format!("the answer has more than {ANSWER_BYTES_MAX} bytes"),
        None => cause(err.as_ref()),
    })?;
    Ok(Answer { status, body: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
}

/// What the system says, where it lies behind `err`.
fn cause(err: &(dyn Error + 'static)) -> String {
    let mut source = Some(err);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return in_words(io);
        }
        source = inner.source();
    }
    err.to_string()
}

/// The kind of an error without the system's number, where it has one that says enough.
fn in_words(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::PermissionDenied => err.kind().to_string(),
        _ => err.to_string(),
    }
}

#[cfg(test)]
mod tests;
