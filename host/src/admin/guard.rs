//! Who may use the admin listener: nobody's web page, and only those with the token if there is one.
//!
//! A browser sends requests to the loopback on behalf of any page. So a request is refused whose host
//! is a name that somebody else may have pointed here (DNS rebinding), or whose origin is another page.

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{self, Body},
    extract::{Request, State},
    http::{HeaderMap, Uri, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http_body_util::LengthLimitError;
use hyper::body::Body as _;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::plugins::UPLOAD_PATH;
use crate::{client::Token, http::problem::Problem};

/// Size of a request's body, in bytes, an upload aside.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Time for a request's body to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Paths that need no token, because they hold nothing but the pages that ask for it.
const OPEN_PATHS: [&str; 3] = ["/", "/api", "/openapi.json"];

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Lets requests in.
pub struct Guard {
    /// Digest of the token. Digests are compared, so that the time it takes says nothing of the token.
    token: Option<[u8; 32]>,
    hosts: Vec<String>,
    /// Size of an uploaded plugin, in bytes.
    upload_bytes_max: usize,
}

impl Guard {
    /// Wants `token`, if there is one; `hosts` are names beside localhost and addresses.
    pub fn new(token: Option<&Token>, hosts: Vec<String>, upload_bytes_max: usize) -> Self {
        Self { token: token.map(|token| digest(token.reveal())), hosts, upload_bytes_max }
    }

    /// `router` behind this guard.
    pub fn protect(self: &Arc<Self>, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), admit))
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
            _ => return Err(Problem::missing_host()),
        };
        let host = host.filter(|host| self.is_ours(host)).ok_or_else(Problem::foreign_host)?;
        if let Some(origin) = headers.get(header::ORIGIN) {
            let same = origin.as_bytes() == format!("http://{host}").as_bytes();
            if !same {
                return Err(Problem::foreign_origin());
            }
        }
        if !OPEN_PATHS.contains(&uri.path()) && !self.has_token(headers) {
            return Err(Problem::unauthorized());
        }
        Ok(())
    }

    /// An address can't be pointed elsewhere by anybody, and localhost neither.
    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer "));
        given.is_some_and(|token| digest(token.trim()) == *wanted)
    }

    fn body_bytes_max(&self, uri: &Uri) -> usize {
        if uri.path().starts_with(UPLOAD_PATH) { self.upload_bytes_max } else { BODY_BYTES_MAX }
    }
}

/// Checks a request and reads its body, so that nothing is done for one that never fully arrives.
async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Err(problem) = guard.check(request.uri(), request.headers()) {
        return problem.into_response();
    }
    let (head, body) = request.into_parts();
    let bytes_max = guard.body_bytes_max(&head.uri);
    let declared = body.size_hint().lower();
    let too_large = || Problem::body_too_large(u32::try_from(bytes_max).unwrap_or(u32::MAX));
    if declared > bytes_max as u64 {
        return too_large().into_response();
    }
    match timeout(BODY_TIME_MAX, body::to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            too_large().into_response()
        }
        Ok(Err(_)) => Problem::body_broken().into_response(),
        Err(_) => {
            let time_ms_max = u32::try_from(BODY_TIME_MAX.as_millis()).unwrap_or(u32::MAX);
            Problem::body_too_slow(time_ms_max).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    type Headers<'a> = &'a [(header::HeaderName, &'a str)];

    fn check(guard: &Guard, path: &str, headers: Headers) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        guard.check(&path.parse().unwrap(), &map).err().map(|problem| problem.code().to_owned())
    }

    #[test]
    fn only_requests_that_no_foreign_page_can_send_are_let_in() {
        let guard = Guard::new(None, vec!["admin.example".into()], 0);
        let cases: [(Headers, Option<&str>); 14] = [
            (&[(header::HOST, "localhost:8081")], None),
            (&[(header::HOST, "LOCALHOST")], None),
            (&[(header::HOST, "127.0.0.1:8081")], None),
            (&[(header::HOST, "[::1]:8081")], None),
            (&[(header::HOST, "admin.example")], None),
            (&[(header::HOST, "evil.example:8081")], Some("foreign-host")),
            (&[(header::HOST, "localhost.evil.example")], Some("foreign-host")),
            (&[(header::HOST, "127.0.0.1.evil.example")], Some("foreign-host")),
            (&[(header::HOST, "")], Some("foreign-host")),
            (&[], Some("missing-host")),
            (&[(header::HOST, "localhost"), (header::HOST, "localhost")], Some("missing-host")),
            (&[(header::HOST, "localhost:1"), (header::ORIGIN, "http://localhost:1")], None),
            (
                &[(header::HOST, "localhost:1"), (header::ORIGIN, "http://evil.example")],
                Some("foreign-origin"),
            ),
            (&[(header::HOST, "localhost:1"), (header::ORIGIN, "null")], Some("foreign-origin")),
        ];
        for (headers, expected) in cases {
            assert_eq!(
                check(&guard, "/admin/plugins", headers).as_deref(),
                expected,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn where_a_token_is_wanted_nothing_but_the_pages_is_open_without_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
        let token = Token::read(file.path()).unwrap();
        let guard = Guard::new(Some(&token), Vec::new(), 0);
        for (path, authorization, open) in [
            ("/", None, true),
            ("/api", None, true),
            ("/openapi.json", None, true),
            ("/metrics", None, false),
            ("/admin/plugins", None, false),
            ("/admin/plugins", Some("Bearer 0123456789abcdef"), true),
            ("/admin/plugins", Some("Bearer 0123456789abcde"), false),
            ("/admin/plugins", Some("Bearer "), false),
            ("/admin/plugins", Some("0123456789abcdef"), false),
            ("/admin/plugins", Some("Basic 0123456789abcdef"), false),
            ("//admin/plugins", None, false),
        ] {
            let mut headers = vec![(header::HOST, "localhost")];
            headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
            let refused = check(&guard, path, &headers);
            let expected = if open { None } else { Some("unauthorized") };
            assert_eq!(refused.as_deref(), expected, "{path} {authorization:?}");
        }
    }
}
