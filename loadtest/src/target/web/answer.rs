//! What an answer says about the increment.

use hyper::StatusCode;
use serde::Deserialize;

use crate::target::Outcome;

/// The part of a successful answer that matters here; servers of the original contract answer an increment without it.
#[derive(Deserialize)]
struct Counted {
    count: Option<i64>,
}

/// The part of a host's readiness that matters here.
#[derive(Deserialize)]
struct Ready {
    plugin: String,
}

/// The parts of a problem (RFC 9457) that say why.
#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

/// How an increment ended that was answered with `status`. `body` is `None` when the connection broke inside it.
///
/// A client error (4xx), 503 and 507 say that the increment was refused. Any other error may have struck after the counter was
/// changed, and an answer that is neither success nor error is none that the contract knows: the outcome is unknown.
pub(super) fn outcome(status: StatusCode, body: Option<&[u8]>) -> Outcome {
    match (status, body) {
        (StatusCode::OK, Some(body)) => Outcome::Acknowledged { value: count(body) },
        (StatusCode::OK, None) => {
            Outcome::Unknown { reason: "the connection broke inside the answer".to_owned() }
        }
        (StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE, _) => {
            Outcome::Failed { reason: reason(status, body) }
        }
        _ if status.is_client_error() => Outcome::Failed { reason: reason(status, body) },
        _ => Outcome::Unknown { reason: reason(status, body) },
    }
}

/// The count in an answer, if it has one.
pub(super) fn count(body: &[u8]) -> Option<i64> {
    serde_json::from_slice::<Counted>(body).ok()?.count
}

/// The plugin that a host says is ready.
pub(super) fn plugin(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Ready>(body).ok().map(|it| it.plugin)
}

/// Why a call was not answered with success: the status, and what its problem says.
pub(super) fn reason(status: StatusCode, body: Option<&[u8]>) -> String {
    let mut reason = status.to_string();
    if let Some(problem) = body.and_then(|it| serde_json::from_slice::<Problem>(it).ok()) {
        let title = problem.title.filter(|it| Some(it.as_str()) != status.canonical_reason());
        for part in [title, problem.detail].into_iter().flatten() {
            reason.push_str(": ");
            reason.push_str(&part);
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(value: Option<i64>) -> Outcome {
        Outcome::Acknowledged { value }
    }
    fn failed(reason: &str) -> Outcome {
        Outcome::Failed { reason: reason.to_owned() }
    }
    fn unknown(reason: &str) -> Outcome {
        Outcome::Unknown { reason: reason.to_owned() }
    }

    #[test]
    fn only_a_refusal_is_surely_not_applied_and_only_200_surely_is() {
        let cases = [
            (200, Some(r#"{"status":"ok","count":7}"#), acknowledged(Some(7))),
            (200, Some(r#"{"count":-3,"more":[]}"#), acknowledged(Some(-3))),
            (200, Some(r#"{"status":"ok"}"#), acknowledged(None)),
            (200, Some(r#"{"count":1.5}"#), acknowledged(None)),
            (200, Some(r#"{"count":9223372036854775808}"#), acknowledged(None)),
            (200, Some("ok"), acknowledged(None)),
            (200, Some(""), acknowledged(None)),
            (200, None, unknown("the connection broke inside the answer")),
            (202, Some(""), unknown("202 Accepted")),
            (302, Some(""), unknown("302 Found")),
            (404, Some("no"), failed("404 Not Found")),
            (
                409,
                Some(r#"{"title":"Conflict","detail":"the counter is full"}"#),
                failed("409 Conflict: the counter is full"),
            ),
            (429, None, failed("429 Too Many Requests")),
            (
                503,
                Some(r#"{"title":"overloaded","status":503}"#),
                failed("503 Service Unavailable: overloaded"),
            ),
            (507, None, failed("507 Insufficient Storage")),
            (
                500,
                Some(r#"{"detail":"the plugin trapped"}"#),
                unknown("500 Internal Server Error: the plugin trapped"),
            ),
            (502, Some(""), unknown("502 Bad Gateway")),
            (504, Some(""), unknown("504 Gateway Timeout")),
        ];
        for (status, body, expected) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(outcome(status, body.map(str::as_bytes)), expected, "{status} {body:?}");
        }
    }
}
