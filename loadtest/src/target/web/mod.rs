//! A counter server over HTTP: one raw connection per client.

mod address;
mod answer;
mod connection;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};

use self::connection::{Answer, CallError, Connection};
use super::{Client, Outcome, Target};

/// Longest wait for the answer to one call, in seconds. After it the outcome of an increment is unknown.
const CALL_TIMEOUT_S: u64 = 30;

/// Where a host says which plugin counts. Other servers do not have it.
const READINESS: &str = "/readyz";

/// A counter server at one address, and which of its counters is driven.
#[derive(Clone, Debug)]
pub struct WebTarget {
    addresses: Vec<SocketAddr>,
    base: String,
    call_timeout: Duration,
    endpoints: Endpoints,
}

/// Everything a request is made of, made once; cloning it per call copies no bytes.
#[derive(Clone, Debug)]
struct Endpoints {
    host: HeaderValue,
    increment: Uri,
    read: Uri,
    reset: Uri,
}

impl WebTarget {
    /// A server by host name or address and port. With `key`, the counter of that name instead of the default one.
    ///
    /// The name is resolved here, once, so that no client waits for it later.
    ///
    /// # Errors
    ///
    /// When the name cannot be resolved or cannot stand in a URL.
    pub fn resolve(host: &str, port: u16, key: Option<&str>) -> anyhow::Result<WebTarget> {
        let addresses = address::resolve(host, port)?;
        let authority = address::authority(host, port);
        let (increment, read, reset) = match key {
            None => ("/inc".to_owned(), "/count".to_owned(), "/reset".to_owned()),
            Some(key) => {
                let counter = format!("/counters/{}", address::path_segment(key));
                (format!("{counter}/inc"), counter.clone(), format!("{counter}/reset"))
            }
        };
        let endpoints = Endpoints {
            host: HeaderValue::try_from(authority.as_str())?,
            increment: Uri::try_from(increment)?,
            read: Uri::try_from(read)?,
            reset: Uri::try_from(reset)?,
        };
        let call_timeout = Duration::from_secs(CALL_TIMEOUT_S);
        Ok(WebTarget { addresses, base: format!("http://{authority}"), call_timeout, endpoints })
    }

    /// The same target with another bound on the wait for one answer; the default is 30 seconds.
    pub fn with_call_timeout(self, call_timeout: Duration) -> WebTarget {
        WebTarget { call_timeout, ..self }
    }
}

impl Target for WebTarget {
    type Client = WebClient;

    fn name(&self) -> String {
        self.base.clone()
    }

    async fn connect(&self, _client: usize) -> anyhow::Result<WebClient> {
        match Connection::open(&self.addresses).await {
            Ok(connection) => Ok(WebClient { target: self.clone(), connection: Some(connection) }),
            Err(reason) => bail!("{}", address::nothing_answers(&self.base, &reason)),
        }
    }
}

/// One client of a counter server. It keeps its connection open from call to call and makes a new one when the server
/// closed it.
pub struct WebClient {
    target: WebTarget,
    /// `None` after the connection broke, until the next call.
    connection: Option<Connection>,
}

impl Client for WebClient {
    async fn increment(&mut self) -> Outcome {
        let request = self.request(Method::POST, &self.target.endpoints.increment);
        match self.call(request).await {
            Ok(answer) => answer::outcome(answer.status, answer.body.as_deref()),
            Err(CallError::NotSent { reason }) => Outcome::Disconnected { reason },
            Err(CallError::Broken { reason }) => Outcome::Unknown { reason },
        }
    }

    async fn read(&mut self) -> anyhow::Result<i64> {
        let body = self.ask(Method::GET, &self.target.endpoints.read.clone()).await?;
        let Some(count) = answer::count(&body) else {
            bail!(
                "{} answered GET {} without a count",
                self.target.base,
                self.target.endpoints.read
            );
        };
        Ok(count)
    }

    async fn reset(&mut self) -> anyhow::Result<()> {
        self.ask(Method::POST, &self.target.endpoints.reset.clone()).await.map(drop)
    }

    async fn plugin(&mut self) -> Result<String, String> {
        let asked = format!("GET {READINESS}");
        let request = self.request(Method::GET, &Uri::from_static(READINESS));
        let base = self.target.base.clone();
        match self.call(request).await {
            Ok(Answer { status: StatusCode::OK, body: Some(body) }) => answer::plugin(&body)
                .ok_or_else(|| format!("{base} answered {asked} without the name of a plugin")),
            Ok(Answer { status, body }) => Err(format!(
                "{base} answered {asked} with {}",
                answer::reason(status, body.as_deref())
            )),
            Err(CallError::NotSent { reason } | CallError::Broken { reason }) => {
                Err(format!("{base} did not answer {asked}: {reason}"))
            }
        }
    }
}

impl WebClient {
    fn request(&self, method: Method, uri: &Uri) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        request.headers_mut().insert(HOST, self.target.endpoints.host.clone());
        request
    }

    /// Makes a call that must succeed, and returns the body of the answer.
    async fn ask(&mut self, method: Method, uri: &Uri) -> anyhow::Result<Bytes> {
        let base = self.target.base.clone();
        let what = format!("{method} {uri}");
        match self.call(self.request(method, uri)).await {
            Ok(Answer { status: StatusCode::OK, body: Some(body) }) => Ok(body),
            Ok(Answer { status, body }) => {
                let reason = answer::reason(status, body.as_deref());
                bail!(
                    "{base} answered {what} with {reason}: check that a counter server listens there"
                )
            }
            Err(CallError::NotSent { reason }) => {
                bail!("{}", address::nothing_answers(&base, &reason))
            }
            Err(CallError::Broken { reason }) => bail!("{base} did not answer {what}: {reason}"),
        }
    }

    /// Makes one call, on a new connection if the old one is gone.
    ///
    /// The request goes out at most once. Where the connection turns out to have been closed while it was idle, nothing of
    /// the request was written, so writing it to a new connection is the first try and not a second one.
    async fn call(&mut self, request: Request<Empty<Bytes>>) -> Result<Answer, CallError> {
        if let Some(connection) = &mut self.connection {
            match connection.exchange(request.clone(), self.target.call_timeout).await {
                Err(CallError::NotSent { .. }) => self.connection = None,
                exchanged => return self.settle(exchanged),
            }
        }
        match Connection::open(&self.target.addresses).await {
            Ok(connection) => {
                let connection = self.connection.insert(connection);
                let exchanged = connection.exchange(request, self.target.call_timeout).await;
                self.settle(exchanged)
            }
            Err(reason) => Err(CallError::NotSent { reason }),
        }
    }

    /// Gives up a connection that cannot carry another call.
    fn settle(&mut self, exchanged: Result<Answer, CallError>) -> Result<Answer, CallError> {
        if exchanged.is_err() || self.connection.as_ref().is_some_and(Connection::is_closed) {
            self.connection = None;
        }
        exchanged
    }
}
