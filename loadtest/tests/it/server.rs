//! A counter server small enough to be trusted, which can be told to be wrong.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tally_loadtest::WebTarget;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

/// What the server does with increments. "Some" are every tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Play {
    Right,
    /// As a server of the original contract: right, but the answer to an increment has no `count`.
    NoValue,
    /// Some increments are answered as if they counted, and are not stored.
    LosesSome,
    /// Loses some, and answers without `count`.
    LosesSomeNoValue,
    /// Some increments count twice.
    DoublesSome,
    /// Some increments are refused with a 503 problem.
    RefusesSome,
    /// All are refused with 503.
    RefusesAll,
    /// Some increments count, and then the connection breaks without an answer.
    BreaksSome,
    /// Some increments count, and are answered 500.
    FailsAfterSome,
    /// Some increments count, and are never answered.
    HangsAfterSome,
    /// Every answer asks for the connection to be closed.
    Closes,
    /// The first connection to send a request is closed after it, and nobody else is ever accepted.
    DiesAfter(u64),
    /// `/reset` is acknowledged and does nothing.
    IgnoresReset,
    /// Right, and says which plugin counts.
    NamesPlugin,
    /// Knows no path at all.
    Unrelated,
    /// Swaps its plugin when a client with the token asks; an increment takes [`SLOW_MS`], so that a run lasts.
    Swaps,
    /// The same, but a swap takes [`SLOW_SWAP_MS`].
    SwapsSlowly,
    /// The same, but every swap is refused.
    RefusesSwaps,
}

/// The token of the plays that swap.
pub(crate) const TOKEN: &str = "s3cret-s3cret-s3cret";

/// How long an increment takes in the plays that swap, in milliseconds.
pub(crate) const SLOW_MS: u64 = 1;

/// How long a slow swap takes, in milliseconds.
pub(crate) const SLOW_SWAP_MS: u64 = 30;

/// A running server; dropping it stops it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    swaps: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(play: Play) -> Server {
        Server::start_at(play, 0)
    }

    /// A server whose counter begins at `count`.
    pub(crate) fn start_at(play: Play, count: i64) -> Server {
        let (tell_address, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let swaps = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&swaps);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            LocalSet::new().block_on(&runtime, async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                tell_address
                    .send(listener.local_addr().expect("an address"))
                    .expect("the test waits");
                let counter = Rc::new(Counter {
                    play,
                    count: Cell::new(count),
                    calls: Cell::new(0),
                    swaps: asked,
                });
                tokio::select! {
                    () = accept(listener, counter) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("the server binds a port");
        Server { address, swaps, stop: Some(stop), thread: Some(thread) }
    }

    /// The bodies of all swaps that were asked for with the token.
    pub(crate) fn swaps(&self) -> Vec<String> {
        self.swaps.lock().expect("no panic").clone()
    }

    pub(crate) fn target(&self) -> WebTarget {
        let host = self.address.ip().to_string();
        WebTarget::resolve(&host, self.address.port(), None).expect("an address needs no resolver")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
    }
}

struct Counter {
    play: Play,
    count: Cell<i64>,
    /// Increments that were asked for.
    calls: Cell<u64>,
    /// The bodies of the swaps that were asked for.
    swaps: Arc<Mutex<Vec<String>>>,
}

async fn accept(listener: TcpListener, counter: Rc<Counter>) {
    loop {
        if counter.is_dead() {
            // Returning drops the listener and, with the runtime, every connection.
            return;
        }
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("a connection");
                spawn_local(serve(stream, Rc::clone(&counter)));
            }
            // Nothing else wakes this loop when the counter dies.
            () = sleep(Duration::from_millis(1)) => {}
        }
    }
}

async fn serve(stream: TcpStream, counter: Rc<Counter>) {
    stream.set_nodelay(true).expect("a socket");
    let service = service_fn(|request| {
        let counter = Rc::clone(&counter);
        async move { counter.answer(request).await }
    });
    // A connection that the client or the part breaks off is part of the play.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error makes hyper close the connection without an answer.
type Answer = Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>>;

impl Counter {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if self.play == Play::Unrelated || !request.headers().contains_key("host") {
            return Ok(json(StatusCode::NOT_FOUND, "{}".to_owned()));
        }
        let path =
            request.uri().path().strip_prefix("/counters/a%20b").unwrap_or(request.uri().path());
        match (request.method(), path) {
            (&Method::POST, "/inc") => self.increment().await,
            (&Method::POST, "/reset") => {
                if self.play != Play::IgnoresReset {
                    self.count.set(0);
                }
                Ok(self.ok(r#"{"status":"ok"}"#.to_owned()))
            }
            (&Method::GET, "/count" | "") => {
                Ok(self.ok(format!(r#"{{"count":{}}}"#, self.count.get())))
            }
            (&Method::GET, "/readyz") if self.play == Play::NamesPlugin => {
                Ok(self.ok(r#"{"status":"ready","plugin":"x"}"#.to_owned()))
            }
            (_, "/admin/plugin" | "/admin/plugins") if self.swaps_at_all() => {
                self.administer(request).await
            }
            _ => Ok(json(StatusCode::NOT_FOUND, "{}".to_owned())),
        }
    }

    fn swaps_at_all(&self) -> bool {
        matches!(self.play, Play::Swaps | Play::SwapsSlowly | Play::RefusesSwaps)
    }

    async fn administer(&self, request: Request<Incoming>) -> Answer {
        let token = request.headers().get(AUTHORIZATION).and_then(|it| it.to_str().ok());
        if token != Some(&format!("Bearer {TOKEN}")) {
            return Ok(refusal(StatusCode::UNAUTHORIZED, "this needs the token"));
        }
        let method = request.method().clone();
        let body = request.into_body().collect().await?.to_bytes();
        if method == Method::GET {
            return Ok(self.ok("[]".to_owned()));
        }
        let generation = {
            let mut swaps = self.swaps.lock().expect("no panic");
            swaps.push(String::from_utf8(body.to_vec())?);
            swaps.len()
        };
        match self.play {
            Play::RefusesSwaps => {
                return Ok(refusal(StatusCode::CONFLICT, "the old plugin does not drain"));
            }
            Play::SwapsSlowly => sleep(Duration::from_millis(SLOW_SWAP_MS)).await,
            _ => {}
        }
        Ok(self.ok(format!(
            r#"{{"generation":{generation},"plugin":"x","fenced":true,"paused_us":{generation},"drained_us":2}}"#
        )))
    }

    async fn increment(&self) -> Answer {
        if self.swaps_at_all() {
            sleep(Duration::from_millis(SLOW_MS)).await;
        }
        self.calls.set(self.calls.get() + 1);
        let special = self.calls.get().is_multiple_of(10);
        let next = self.count.get() + 1;
        let stored = match self.play {
            Play::LosesSome | Play::LosesSomeNoValue if special => next - 1,
            Play::DoublesSome if special => next + 1,
            Play::RefusesSome if special => next - 1,
            Play::RefusesAll => next - 1,
            _ => next,
        };
        self.count.set(stored);
        match self.play {
            Play::DoublesSome => Ok(self.counted(stored)),
            Play::NoValue | Play::LosesSomeNoValue => Ok(self.ok(r#"{"status":"ok"}"#.to_owned())),
            Play::RefusesAll => Ok(problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded")),
            Play::RefusesSome if special => {
                Ok(problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded"))
            }
            Play::FailsAfterSome if special => {
                Ok(problem(StatusCode::INTERNAL_SERVER_ERROR, "trapped"))
            }
            Play::BreaksSome if special => Err("broken off".into()),
            Play::HangsAfterSome if special => {
                std::future::pending::<Result<_, Infallible>>().await.map_err(Into::into)
            }
            Play::DiesAfter(_) if self.is_dead() => Err("dead".into()),
            _ => Ok(self.counted(next)),
        }
    }

    fn is_dead(&self) -> bool {
        matches!(self.play, Play::DiesAfter(calls) if calls <= self.calls.get())
    }

    fn counted(&self, count: i64) -> Response<Full<Bytes>> {
        self.ok(format!(r#"{{"status":"ok","count":{count}}}"#))
    }

    fn ok(&self, body: String) -> Response<Full<Bytes>> {
        let mut response = json(StatusCode::OK, body);
        if self.play == Play::Closes {
            response.headers_mut().insert(CONNECTION, "close".parse().expect("a header value"));
        }
        response
    }
}

fn problem(status: StatusCode, title: &str) -> Response<Full<Bytes>> {
    json(status, format!(r#"{{"status":{},"title":"{title}"}}"#, status.as_u16()))
}

/// A problem that says why.
fn refusal(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    json(status, format!(r#"{{"status":{},"detail":"{detail}"}}"#, status.as_u16()))
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
