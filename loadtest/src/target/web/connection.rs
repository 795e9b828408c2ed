//! One HTTP/1.1 connection, driven by the task that uses it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for a connection, in seconds.
const CONNECT_TIMEOUT_S: u64 = 5;

/// Largest body of an answer that is read, in bytes. A counter's answers have well under 100.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A status and, unless the connection broke inside it, a body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Option<Bytes>,
}

/// Why there is no answer.
pub(super) enum CallError {
    /// Nothing of the request was written.
    NotSent { reason: String },
    /// The request was written, at least in part.
    Broken { reason: String },
}

/// An open connection.
///
/// hyper leaves it to its user who moves the bytes. A task of its own per connection would cost two switches between
/// tasks per call; here the calling task polls both the call and the connection.
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Moves the bytes. It is dropped as soon as it ends: a request that is still queued in it gets its answer, which is
    /// that it was not sent, from the drop and from nothing else.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>>,
}

impl Connection {
    /// Connects to the first of `addresses` that answers; the error is the reason in words.
    pub(super) async fn open(addresses: &[SocketAddr]) -> Result<Connection, String> {
        let stream = timeout(Duration::from_secs(CONNECT_TIMEOUT_S), TcpStream::connect(addresses))
            .await
            .map_err(|_| format!("no connection within {CONNECT_TIMEOUT_S} s"))?
            .map_err(|err| in_words(&err))?;
        // Without it a small request can wait 40 ms for the acknowledgement of the previous one.
        stream.set_nodelay(true).map_err(|err| in_words(&err))?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|err| err.to_string())?;
        Ok(Connection { sender, driver: Some(driver) })
    }

    /// Whether this connection can carry no further call, because either side closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_none() || self.sender.is_closed()
    }

    /// Sends `request` and waits for the whole answer, at most `call_timeout`.
    /// After an error the connection is of no more use.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Empty<Bytes>>,
        call_timeout: Duration,
    ) -> Result<Answer, CallError> {
        let Connection { sender, driver } = self;
        let call = async {
            sender.ready().await.map_err(|err| CallError::NotSent { reason: cause(&err) })?;
            match sender.try_send_request(request).await {
                Ok(response) => Ok(read_answer(response).await),
                // hyper hands the request back exactly when it had not begun to write it.
                Err(mut err) => Err(match err.take_message() {
                    Some(_) => CallError::NotSent { reason: cause(err.error()) },
                    None => CallError::Broken { reason: cause(err.error()) },
                }),
            }
        };
        let mut call = pin!(call);
        let driven = poll_fn(|cx| {
            if let Poll::Ready(done) = call.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if let Some(moving) = driver.as_mut()
                && Pin::new(moving).poll(cx).is_ready()
            {
                *driver = None;
            }
            // The driver may just have read the answer; asking again now saves a wake-up.
            call.as_mut().poll(cx)
        });
        match timeout(call_timeout, driven).await {
            Ok(exchanged) => exchanged,
            Err(_) => Err(CallError::Broken {
                reason: format!("no answer within {} s", call_timeout.as_secs_f64()),
            }),
        }
    }
}

async fn read_answer(response: Response<Incoming>) -> Answer {
    let status = response.status();
    Answer { status, body: read_body(response.into_body()).await }
}

/// The body, or `None` when it breaks off or is larger than any counter's.
async fn read_body(mut body: Incoming) -> Option<Bytes> {
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        if ANSWER_BYTES_MAX < whole.len() + data.len() {
            return None;
        }
        // Nearly always the first frame is the whole body, and no byte is copied.
        whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
        if body.is_end_stream() {
            break;
        }
    }
    Some(whole)
}

/// What lies behind an error of hyper, in words that are the same for each error of one kind.
fn cause(err: &hyper::Error) -> String {
    let mut source = std::error::Error::source(err);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return in_words(io);
        }
        source = inner.source();
    }
    err.to_string()
}

fn in_words(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::TimedOut => err.kind().to_string(),
        _ => err.to_string(),
    }
}
