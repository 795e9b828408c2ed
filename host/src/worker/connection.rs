//! One connection: its requests, its deadlines, and its end.

use std::{convert::Infallible, future, io, net::TcpStream, pin::pin, rc::Rc};

use axum::{
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, Version, header},
    response::IntoResponse,
};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net,
    time::{Instant, sleep_until},
};
use tower::Service;

use super::{
    Served,
    drain::Drain,
    io::ClientIo,
    limits::ServerLimits,
    progress::{DRAIN_LINGER, Phase, Progress},
};
use crate::{
    http::{self, admission, framing::Checked, lingering::Unread},
    telemetry::spans::RequestSpan,
};

/// What the connections of one worker have in common.
pub struct Shared {
    served: Served,
    limits: ServerLimits,
    drain: Drain,
}

impl Shared {
    /// Connections answered by `served`.
    pub fn new(served: Served, limits: ServerLimits) -> Self {
        Self { served, limits, drain: Drain::default() }
    }

    /// By which the connections learn that they are to end.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The limits on clients.
    pub fn limits(&self) -> &ServerLimits {
        &self.limits
    }
}

/// Serves one connection to its end.
pub async fn serve(stream: TcpStream, shared: &Shared) {
    // An error is the client's doing, and the client has been told, if it still listens.
    if let Err(error) = try_serve(stream, shared).await {
        tracing::debug!("a connection ended early: {error}");
    }
}

async fn try_serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let stream = net::TcpStream::from_std(stream)?;
    let progress = Rc::new(Progress::new());
    let unread = Unread::default();
    let head_bytes_max = shared.limits.request_head_max as usize;
    let refused = |status: StatusCode| shared.served.metrics.refused(status.as_u16());
    let io = ClientIo::new(stream, progress.clone(), unread.clone());
    let io = TokioIo::new(Checked::new(io, head_bytes_max, unread.clone(), refused));
    let service = service_fn(|request: Request<Incoming>| {
        let (progress, unread) = (progress.clone(), unread.clone());
        async move {
            progress.enter(Phase::Busy);
            let has_body = !request.body().is_end_stream();
            let is_only = request.version() == Version::HTTP_10;
            let mut response = answer(request, shared).await;
            if is_only || progress.is_last() {
                // So the client knows that it must not send its next request here. hyper says so by itself only where
                // the client has asked for it.
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            unread.answered(has_body, response.status());
            progress.enter(Phase::Idle);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            // A client may say that it has sent its last request before it reads the answer.
            .half_close(true)
            .max_buf_size(head_bytes_max)
            .serve_connection(io, service)
    );
    let mut draining = pin!(shared.drain.wait());
    let mut is_draining = false;
    let mut timer = pin!(sleep_until(progress.deadline(&shared.limits)));
    loop {
        tokio::select! {
            // What has come is read before the time is up that it has waited for.
            biased;
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = draining.as_mut(), if !is_draining => {
                is_draining = true;
                progress.drain();
                timer.as_mut().reset(Instant::now() + DRAIN_LINGER);
            }
            () = timer.as_mut() => {
                let (now, mut deadline) = (Instant::now(), progress.deadline(&shared.limits));
                if deadline <= now {
                    return Ok(());
                }
                if is_draining {
                    match progress.lingers_until() {
                        Some(end) if end <= now => connection.as_mut().graceful_shutdown(),
                        end => deadline = deadline.min(end.unwrap_or(now + DRAIN_LINGER)),
                    }
                }
                timer.as_mut().reset(deadline);
            }
        }
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let began = Instant::now();
    let path = http::route_of(request.uri().path());
    let span = RequestSpan::new(path, &request);
    let answered = async {
        match admission::admit(request, &shared.limits).await {
            Ok(request) => route(request, shared).await,
            Err(problem) => problem.into_response(),
        }
    };
    let response = span.cover(answered).await;
    shared.served.metrics.answered(path, response.status().as_u16(), began.elapsed());
    response
}

async fn route(request: Request<Body>, shared: &Shared) -> Response<Body> {
    let mut router = shared.served.router.clone();
    // A router is always ready, but its contract wants to be asked.
    let ready = future::poll_fn(|cx| Service::<Request<Body>>::poll_ready(&mut router, cx)).await;
    let Ok(()) = ready;
    let Ok(response) = router.call(request).await;
    response
}
