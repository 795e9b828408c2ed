//! Errors as clients see them: RFC 9457 problem details. The only place that chooses a status.

use std::time::SystemTime;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    bindings::exports::tally::counter::counter::Error as Refusal, plugin::call::CallError,
    swap::error::SwapError, utc,
};

/// Seconds after which a client may try again what was refused for a passing reason.
const RETRY_AFTER_S: &str = "1";

/// A request that was not done, or of which nobody knows whether it was.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// What happened, for programs.
    code: &'static str,
    /// What happened, for people.
    detail: String,
    retry: bool,
    close: bool,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry: false, close: false }
    }

    /// The same, to be tried again later.
    fn retry(self) -> Self {
        Self { retry: true, ..self }
    }

    /// The same, after which the connection can't be used for another request.
    fn close(self) -> Self {
        Self { close: true, ..self }
    }

    /// Nothing is at this path.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path")
    }

    /// Something is, for other methods.
    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this path has no such method; see the header allow";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    /// A request that can't be understood.
    pub(crate) fn bad_request(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(super) fn invalid_key(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-key", detail)
    }

    /// An admin request addressed to a name that may be anybody's.
    pub(crate) fn foreign_host() -> Self {
        let detail =
            "the admin listener is addressed as localhost, by its address, or by an --admin-host";
        Self::new(StatusCode::FORBIDDEN, "foreign-host", detail)
    }

    /// An admin request that another web page made.
    pub(crate) fn foreign_origin() -> Self {
        let detail = "only the admin listener's own pages may send requests to it";
        Self::new(StatusCode::FORBIDDEN, "foreign-origin", detail)
    }

    /// An admin request without the token.
    pub(crate) fn unauthorized() -> Self {
        let detail = "this needs the header authorization: Bearer TOKEN, with the token that the host has made at its \
                      start, or that of its --admin-token-file";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// An admin request with a body that a foreign web page could have sent, too.
    pub(crate) fn unsupported_media_type() -> Self {
        let detail = "a body needs a content-type that says what it is: application/json, or application/wasm for a plugin";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    /// As many are connected already as may.
    pub(crate) fn too_many_connections(max: usize) -> Self {
        let detail = format!("{max} connections to the admin listener are open: close one of them");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-busy", detail).retry().close()
    }

    /// As many watch already as may.
    pub(crate) fn too_many_watchers(max: usize) -> Self {
        let detail = format!("{max} clients watch already: close one of them");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-busy", detail).retry()
    }

    /// A request without a host, or with several.
    pub(crate) fn missing_host() -> Self {
        let detail = "a request has one header host, or none with HTTP/1.0 (RFC 9112, section 3.2)";
        Self::new(StatusCode::BAD_REQUEST, "missing-host", detail).close()
    }

    /// A head that is not as RFC 9112 says, so that nobody knows where the request ends.
    pub(super) fn malformed(why: &str) -> Self {
        let detail = format!("the head of the request is not valid HTTP/1.1: {why}");
        Self::new(StatusCode::BAD_REQUEST, "malformed-request", detail).close()
    }

    /// A version of another major number than 1.
    pub(super) fn version_not_supported() -> Self {
        let detail = "requests are read as HTTP/1.1 or HTTP/1.0";
        Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "version-not-supported", detail).close()
    }

    /// A body in codings beside `chunked`.
    pub(super) fn unknown_coding() -> Self {
        let detail = "chunked is the only transfer coding that is known here";
        Self::new(StatusCode::NOT_IMPLEMENTED, "unknown-coding", detail).close()
    }

    /// CONNECT, which would leave the connection to another protocol.
    pub(super) fn unknown_method() -> Self {
        let detail = "CONNECT is for proxies, and this is none";
        Self::new(StatusCode::NOT_IMPLEMENTED, "unknown-method", detail).close()
    }

    /// A target that is longer than a head may be.
    pub(super) fn uri_too_long() -> Self {
        let detail = "the request's target is too long";
        Self::new(StatusCode::URI_TOO_LONG, "uri-too-long", detail).close()
    }

    /// A head with more bytes or headers than it may have.
    pub(super) fn head_too_large() -> Self {
        let detail = "the head of the request has too many bytes or headers";
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail).close()
    }

    /// A body of a size that no limit allows.
    pub(super) fn body_beyond_all_limits() -> Self {
        let detail = "the body is larger than any that is read here";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail).close()
    }

    /// A body beyond its limit.
    pub(crate) fn body_too_large(bytes_max: u32) -> Self {
        let detail = format!("the body is larger than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail).close()
    }

    /// A body that takes too long to arrive.
    pub(crate) fn body_too_slow(time_ms_max: u32) -> Self {
        let detail = format!("the body did not arrive within {time_ms_max} ms");
        Self::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail).close()
    }

    /// The body of a request ended too early, or is not encoded as it should be.
    pub fn body_broken() -> Self {
        let detail = "the body could not be read to its end";
        Self::new(StatusCode::BAD_REQUEST, "body-broken", detail).close()
    }

    pub(super) fn not_ready(why: &str) -> Self {
        let detail = format!("not ready: {why}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).retry()
    }

    /// What happened, for programs.
    #[cfg(test)]
    pub fn code(&self) -> &str {
        self.code
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// As the last HTTP/1.1 message of a connection, for where no HTTP library is in between.
    pub fn to_message(&self, has_body: bool) -> Vec<u8> {
        let (status, json) = (self.status, self.json());
        let reason = status.canonical_reason().unwrap_or_default();
        let mut message = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: {CONTENT_TYPE}\r\nconnection: close\r\ncontent-length: {}\r\n\
             date: {}\r\n\r\n",
            status.as_u16(),
            json.len(),
            utc::format(utc::unix_ms(SystemTime::now())),
        )
        .into_bytes();
        message.extend_from_slice(if has_body { &json } else { &[] });
        message
    }

    fn json(&self) -> Vec<u8> {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: &self.detail,
        };
        serde_json::to_vec(&body).expect("texts and numbers are always JSON")
    }
}

const CONTENT_TYPE: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if self.retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        use StatusCode as Status;
        let (status, code) = match &error {
            CallError::Refused(Refusal::Overflow | Refusal::OutOfRange(_)) => {
                (Status::CONFLICT, "overflow")
            }
            CallError::Refused(Refusal::Conflict) => (Status::SERVICE_UNAVAILABLE, "conflict"),
            CallError::Refused(Refusal::Unavailable(_)) => {
                (Status::SERVICE_UNAVAILABLE, "storage-unavailable")
            }
            CallError::Refused(Refusal::Full(_)) => (Status::INSUFFICIENT_STORAGE, "storage-full"),
            CallError::Refused(Refusal::InvalidKey(_)) => (Status::BAD_REQUEST, "invalid-key"),
            CallError::Refused(Refusal::OutcomeUnknown(_)) => {
                (Status::INTERNAL_SERVER_ERROR, "outcome-unknown")
            }
            CallError::Refused(Refusal::Other(_)) => {
                (Status::INTERNAL_SERVER_ERROR, "storage-error")
            }
            CallError::InvalidCursor(_) => (Status::BAD_REQUEST, "invalid-cursor"),
            CallError::Trapped(_) => (Status::INTERNAL_SERVER_ERROR, "plugin-trapped"),
            CallError::BrokenOff => (Status::INTERNAL_SERVER_ERROR, "broken-off"),
            CallError::TimedOut => (Status::GATEWAY_TIMEOUT, "call-timed-out"),
            CallError::QueueFull | CallError::QueuedTooLong => {
                (Status::SERVICE_UNAVAILABLE, "too-busy")
            }
            CallError::NoInstance(_) => (Status::SERVICE_UNAVAILABLE, "no-instance"),
            CallError::HeldBackTooLong => (Status::SERVICE_UNAVAILABLE, "swapping"),
            CallError::NotExported(_) => (Status::NOT_IMPLEMENTED, "not-listable"),
        };
        let problem = Self::new(status, code, error.to_string());
        // What is unavailable was not begun, so trying again can't count twice.
        if status == Status::SERVICE_UNAVAILABLE { problem.retry() } else { problem }
    }
}

impl From<SwapError> for Problem {
    fn from(error: SwapError) -> Self {
        use StatusCode as Status;
        let (status, code) = match &error {
            SwapError::BadRequest(_) => (Status::BAD_REQUEST, "bad-request"),
            SwapError::UnknownPlugin(_) => (Status::NOT_FOUND, "unknown-plugin"),
            SwapError::Busy => (Status::CONFLICT, "swap-under-way"),
            SwapError::NothingToRollBack => (Status::CONFLICT, "nothing-to-roll-back"),
            SwapError::CarryOrLeave(_) => (Status::CONFLICT, "carry-or-leave"),
            SwapError::Refused(_) => (Status::UNPROCESSABLE_ENTITY, "plugin-refused"),
            SwapError::NotNow(_) => (Status::SERVICE_UNAVAILABLE, "not-now"),
            SwapError::Stopping => (Status::SERVICE_UNAVAILABLE, "stopping"),
        };
        let problem = Self::new(status, code, error.to_string());
        if status == Status::SERVICE_UNAVAILABLE { problem.retry() } else { problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::call::TrapReason;

    #[test]
    fn every_code_is_in_the_description_of_the_api() {
        let document = include_str!("../admin/assets/openapi.json");
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        let codes: Vec<&str> =
            codes.as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
        let text = String::new;
        let refused = [
            Refusal::Overflow,
            Refusal::OutOfRange(text()),
            Refusal::Conflict,
            Refusal::Unavailable(text()),
            Refusal::Full(text()),
            Refusal::InvalidKey(text()),
            Refusal::OutcomeUnknown(text()),
            Refusal::Other(text()),
        ];
        let of_calls = refused.map(CallError::Refused).into_iter().chain([
            CallError::InvalidCursor(text()),
            CallError::Trapped(TrapReason::Other),
            CallError::TimedOut,
            CallError::BrokenOff,
            CallError::QueueFull,
            CallError::QueuedTooLong,
            CallError::NoInstance(text()),
            CallError::HeldBackTooLong,
            CallError::NotExported("x"),
        ]);
        let of_swaps = [
            SwapError::BadRequest(text()),
            SwapError::UnknownPlugin(text()),
            SwapError::Busy,
            SwapError::NothingToRollBack,
            SwapError::CarryOrLeave(text()),
            SwapError::Refused(text()),
            SwapError::NotNow(text()),
            SwapError::Stopping,
        ];
        let others = [
            Problem::not_found(),
            Problem::method_not_allowed(),
            Problem::foreign_host(),
            Problem::foreign_origin(),
            Problem::unauthorized(),
            Problem::unsupported_media_type(),
            Problem::too_many_connections(1),
            Problem::missing_host(),
            Problem::body_too_large(1),
            Problem::body_too_slow(1),
            Problem::body_broken(),
            Problem::not_ready(""),
            Problem::malformed(""),
            Problem::version_not_supported(),
            Problem::unknown_coding(),
            Problem::unknown_method(),
            Problem::uri_too_long(),
            Problem::head_too_large(),
            Problem::body_beyond_all_limits(),
        ];
        let problems = of_calls.map(Problem::from).chain(of_swaps.map(Problem::from)).chain(others);
        for problem in problems {
            assert!(codes.contains(&problem.code), "{} is not described", problem.code);
        }
    }
}
