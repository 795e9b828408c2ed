//! Requests with any key, any addition and any text of a plugin, through the router.

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;
use tower::ServiceExt;

use super::{
    problem::Problem,
    reference::{self, Recorder, encoded},
    router,
};
use crate::{
    bindings::exports::tally::counter::counter::Error as Refusal,
    plugin::call::{CallError, Operation},
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn json_of(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = block_on(to_bytes(response.into_body(), usize::MAX)).unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Sends a request and compares what was asked of the counter with what the request means. No request at all where its
/// target is none.
fn check(method: &str, target: &str, body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
    let expected = reference::meaning(method, uri.path(), uri.query().unwrap_or_default(), body);
    let request = Request::builder().method(method).uri(uri).body(Body::from(body.to_vec()));
    let recorder = Recorder::default();
    let response = block_on(router(recorder.clone()).oneshot(request.unwrap())).unwrap();
    prop_assert_eq!(recorder.calls(), Vec::from_iter(expected.clone()));
    let (status, json) = json_of(response);
    if expected.is_some() {
        prop_assert_eq!(status, StatusCode::OK);
    } else {
        prop_assert!(status.is_client_error() && json["detail"].is_string(), "{status} {json}");
    }
    Ok(())
}

/// A whole number, or what looks like one.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<i64>().prop_map(|number| number.to_string()),
        2 => "-?[0-9]{1,22}",
        1 => "[-+0-9.eE ]{0,6}",
        1 => select(&["null", "\"1\"", "true", "[1]"][..]).prop_map(String::from),
    ]
}

/// Mostly one, sometimes none or two.
fn few<S: Strategy>(item: impl Fn() -> S) -> impl Strategy<Value = Vec<S::Value>> {
    prop_oneof![3 => vec(item(), 1), 1 => vec(item(), 0..3)]
}

/// An object with fields called "by", and others, as JSON with blanks in it.
fn object() -> impl Strategy<Value = String> {
    let field = || {
        ("by|by|by|by|by|BY|b\\\\u0079|[a-z]{0,3}", number())
            .prop_map(|(name, value)| format!("\"{name}\" :{value}"))
    };
    (few(field), "[ \n]{0,2}")
        .prop_map(|(fields, blank)| format!("{blank}{{{}}}{blank}", fields.join(",")))
}

/// A query with parameters called "by", and others.
fn query() -> impl Strategy<Value = String> {
    let parameter = || {
        ("(by|by|by|by|%62y|b%59|[a-z]{0,3})(=|=|=|=|=|)", number(), any::<bool>())
            .prop_map(|(name, value, plain)| name + &if plain { value } else { encoded(&value) })
    };
    few(parameter).prop_map(|parameters| parameters.join("&"))
}

proptest! {
    #[test]
    fn each_key_is_found_under_its_encoded_name_and_no_other_is_called(
        key in "(?s).{0,70}|[a-c/%]{250,260}|tally-probe|\\PC{1,8}",
        what in select(&["", "/inc", "/reset"][..]),
    ) {
        let method = if what.is_empty() { "GET" } else { "POST" };
        check(method, &format!("/counters/{}{what}", encoded(&key)), b"")?;
    }

    #[test]
    fn any_path_is_that_of_a_key_or_refused(
        path in "/counters/([%0-9a-fA-F./c]{0,12}|\\PC{0,8})(/inc|/reset|/|)",
        method in select(&["GET", "POST", "PUT"][..]),
    ) {
        check(method, &path, b"")?;
    }

    #[test]
    fn any_addition_is_a_whole_number_or_refused(
        query in prop_oneof![1 => Just(String::new()), 3 => query(), 1 => "[by=&+%0-9]{0,8}"],
        body in prop_oneof![1 => Just(String::new()), 3 => object(), 1 => "[{}\":,by0-9 ]{0,12}", 1 => select(&["[5]", "[]", " [1]", "null", "5", "{}{}"][..]).prop_map(String::from)],
        path in select(&["/counters/k/inc", "/counters/k/inc", "/inc", "/reset", "/counters/k/reset"][..]),
    ) {
        check("POST", &format!("{path}?{query}"), body.as_bytes())?;
    }

    #[test]
    fn a_body_of_any_bytes_is_an_addition_or_refused(body in object(), idx: prop::sample::Index, byte: u8) {
        let mut body = body.into_bytes();
        *idx.get_mut(&mut body) = byte;
        check("POST", "/counters/k/inc", &body)?;
    }

    #[test]
    fn an_addition_that_is_meant_so_is_made(by: i64) {
        for (query, body) in [(format!("by={by}"), String::new()), (String::new(), format!("{{\"by\":{by}}}"))] {
            let expected = Some((Operation::Increment(by), "k".to_owned()));
            prop_assert_eq!(reference::meaning("POST", "/counters/k/inc", &query, body.as_bytes()), expected);
            check("POST", &format!("/counters/k/inc?{query}"), body.as_bytes())?;
        }
    }

    #[test]
    fn any_text_of_a_plugin_is_told_as_text(text in "(?s).{0,200}|[\\x00-\\x1f\"\\\\<]{0,20}", kind in 0..6_u8) {
        let error = match kind {
            0 => CallError::Refused(Refusal::Other(text.clone())),
            1 => CallError::Refused(Refusal::Unavailable(text.clone())),
            2 => CallError::Refused(Refusal::OutcomeUnknown(text.clone())),
            3 => CallError::Refused(Refusal::InvalidKey(text.clone())),
            4 => CallError::Refused(Refusal::OutOfRange(text.clone())),
            _ => CallError::InvalidCursor(text.clone()),
        };
        let response = Problem::from(error).into_response();
        let headers = response.headers().clone();
        let (status, json) = json_of(response);
        prop_assert!(status.is_client_error() || status.is_server_error());
        prop_assert_eq!(&json["status"], status.as_u16());
        prop_assert!(json["detail"].as_str().is_some_and(|detail| detail.contains(&text)), "{json}");
        // Nothing of it stands in the head, where a line feed would begin another header.
        let known = ["content-type", "retry-after", "connection"];
        prop_assert!(headers.keys().all(|name| known.contains(&name.as_str())), "{headers:?}");
    }
}
