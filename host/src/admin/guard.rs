//! Who may use the admin listener: nobody's web page, and only those with the token if there is one.
//!
//! A browser sends requests to the loopback on behalf of any page. So a request is refused whose host
//! is a name that somebody else may have pointed here (DNS rebinding), or whose origin is another page. Not all
//! browsers say the origin of each request, so a body must be of a kind that a page can't send unasked.

use std::{error::Error, net::IpAddr, time::Duration};

use axum::{
    Router,
    body::{self, Body},
    http::{HeaderMap, Request, Uri, header, uri::Authority},
    response::{IntoResponse, Response},
};
use http_body_util::LengthLimitError;
use hyper::body::{Body as _, Incoming};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tower::Service;

use super::{places::Place, plugins::UPLOAD_PATH};
use crate::{client::Token, http::problem::Problem};

/// Size of a request's body, in bytes, an upload aside.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Time for a request's body to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Paths that need no token, because they hold nothing but the pages that ask for it.
const OPEN_PATHS: [&str; 3] = ["/", "/api", "/openapi.json"];

/// Content types with which any page may send a body (CORS-safelisted, by the Fetch standard).
const SIMPLE_TYPES: [&str; 3] =
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];

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

    /// What `router` answers to a request that is let in, with a body that is there as a whole, so that nothing is done
    /// for one that never fully arrives. With the token, the connection keeps its `place`.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        place: &Place,
        mut router: Router,
    ) -> Response {
        let checked = self.check(request.uri(), request.headers(), !request.body().is_end_stream());
        let shown =
            checked.and_then(|has_token| if has_token { place.show_token() } else { Ok(()) });
        let read = match shown {
            Ok(()) => self.read_body(request).await,
            Err(problem) => Err(problem),
        };
        match read {
            // A router is always ready.
            Ok(request) => router.call(request).await.unwrap_or_else(|never| match never {}),
            Err(problem) => problem.into_response(),
        }
    }

    /// Whether a request that is let in has the token, or none is wanted.
    fn check(&self, uri: &Uri, headers: &HeaderMap, has_body: bool) -> Result<bool, Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            // A target that names a host is the one that counts (RFC 9112, section 3.2.2).
            (Some(host), None) => uri
                .authority()
                .cloned()
                .or_else(|| host.to_str().ok().and_then(|host| host.parse().ok())),
            _ => return Err(Problem::missing_host()),
        };
        let host = host.filter(|host| self.is_ours(host)).ok_or_else(Problem::foreign_host)?;
        if let Some(origin) = headers.get(header::ORIGIN) {
            let same = origin.as_bytes() == format!("http://{host}").as_bytes();
            if !same {
                return Err(Problem::foreign_origin());
            }
        }
        let has_token = self.has_token(headers);
        if OPEN_PATHS.contains(&uri.path()) {
            return Ok(has_token);
        }
        if !is_same_site(headers) {
            return Err(Problem::foreign_origin());
        }
        if !has_token {
            return Err(Problem::unauthorized());
        }
        if has_body && !has_own_type(headers) {
            return Err(Problem::unsupported_media_type());
        }
        Ok(true)
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
        let (scheme, token) = given.and_then(|value| value.split_once(' ')).unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer") && digest(token.trim()) == *wanted
    }

    async fn read_body(&self, request: Request<Incoming>) -> Result<Request<Body>, Problem> {
        let (head, body) = request.into_parts();
        let is_upload = head.uri.path().starts_with(UPLOAD_PATH);
        let bytes_max = if is_upload { self.upload_bytes_max } else { BODY_BYTES_MAX };
        let too_large = || Problem::body_too_large(u32::try_from(bytes_max).unwrap_or(u32::MAX));
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large());
        }
        match timeout(BODY_TIME_MAX, body::to_bytes(Body::new(body), bytes_max)).await {
            Ok(Ok(body)) => Ok(Request::from_parts(head, Body::from(body))),
            Ok(Err(error))
                if error.source().is_some_and(|source| source.is::<LengthLimitError>()) =>
            {
                Err(too_large())
            }
            Ok(Err(_)) => Err(Problem::body_broken()),
            Err(_) => {
                let time_ms_max = u32::try_from(BODY_TIME_MAX.as_millis()).unwrap_or(u32::MAX);
                Err(Problem::body_too_slow(time_ms_max))
            }
        }
    }
}

/// Whether a browser, if it is one, says that the page is the listener's own or that its user asked.
fn is_same_site(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.all(|site| site == "same-origin" || site == "none")
}

/// Whether a body is said to be something that no foreign page can send unasked.
fn has_own_type(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter().peekable();
    types.peek().is_some()
        && types.all(|value| {
            let kind = value.to_str().ok().and_then(|value| value.split(';').next());
            kind.map(str::trim).is_some_and(|kind| {
                !kind.is_empty() && !SIMPLE_TYPES.iter().any(|it| it.eq_ignore_ascii_case(kind))
            })
        })
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
        let has_body = map.contains_key(header::CONTENT_LENGTH);
        let checked = guard.check(&path.parse().unwrap(), &map, has_body);
        checked.err().map(|problem| problem.code().to_owned())
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
    fn a_page_of_another_site_reaches_nothing_but_the_pages() {
        let guard = Guard::new(None, Vec::new(), 0);
        let site = header::HeaderName::from_static("sec-fetch-site");
        for (sites, refused) in [
            (&[][..], None),
            (&["same-origin"], None),
            (&["none"], None),
            (&["cross-site"], Some("foreign-origin")),
            // Such as that of another program on this machine.
            (&["same-site"], Some("foreign-origin")),
            (&["none", "cross-site"], Some("foreign-origin")),
            (&[""], Some("foreign-origin")),
        ] {
            let mut headers = vec![(header::HOST, "localhost")];
            headers.extend(sites.iter().map(|value| (site.clone(), *value)));
            for path in ["/metrics", "/admin/plugins", "/admin/nothing"] {
                assert_eq!(check(&guard, path, &headers).as_deref(), refused, "{path} {sites:?}");
            }
            assert_eq!(
                check(&guard, "/", &headers),
                None,
                "a link to the dashboard may be followed"
            );
        }
    }

    #[test]
    fn a_body_says_what_it_is_and_is_nothing_that_any_page_may_send() {
        let guard = Guard::new(None, Vec::new(), 0);
        let length = (header::CONTENT_LENGTH, "2");
        for (types, accepted) in [
            (&["application/json"][..], true),
            (&["application/json; charset=utf-8"], true),
            (&["application/wasm"], true),
            (&["application/octet-stream"], true),
            (&[], false),
            (&[""], false),
            (&["; charset=utf-8"], false),
            (&["text/plain"], false),
            (&["Text/Plain;charset=UTF-8"], false),
            (&["application/x-www-form-urlencoded"], false),
            (&["multipart/form-data; boundary=x"], false),
            (&["application/json", "text/plain"], false),
        ] {
            let mut headers = vec![(header::HOST, "localhost"), length.clone()];
            headers.extend(types.iter().map(|value| (header::CONTENT_TYPE, *value)));
            let refused = (!accepted).then_some("unsupported-media-type");
            let path = "/admin/rollback";
            assert_eq!(check(&guard, path, &headers).as_deref(), refused, "{types:?}");
            // Without a body there is nothing to say.
            headers.remove(1);
            assert_eq!(check(&guard, path, &headers), None, "{types:?}");
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
            ("/admin/plugins", Some("bearer 0123456789abcdef"), true),
            ("/admin/plugins", Some("BEARER  0123456789abcdef "), true),
            ("/admin/plugins", Some("Bearer 0123456789abcde"), false),
            ("/admin/plugins", Some("Bearer0123456789abcdef"), false),
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
