//! What a request must be before any handler sees it: arrived as a whole, in time.

use axum::{body::Body, http::Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::problem::Problem;
use crate::worker::limits::ServerLimits;

/// Reads the request's body, so that nothing is done for a request that never fully arrives.
///
/// # Errors
///
/// The problem to answer with.
pub async fn admit(
    request: Request<Incoming>,
    limits: &ServerLimits,
) -> Result<Request<Body>, Problem> {
    if request.body().is_end_stream() {
        return Ok(request.map(|_| Body::empty()));
    }
    let (head, body) = request.into_parts();
    let size_max = limits.request_body_max;
    if body.size_hint().lower() > u64::from(size_max) {
        return Err(Problem::body_too_large(size_max));
    }
    let body = Limited::new(body, size_max as usize);
    match timeout(limits.body_time(), body.collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::body_too_large(size_max)),
        Ok(Err(_)) => Err(Problem::body_broken()),
        Err(_) => Err(Problem::body_too_slow(limits.body_time_max)),
    }
}
