//! What a request says beside its method and path. Nothing is passed over that is not understood: a client that asks for
//! more than a path does would take the answer for an answer to that.

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{Uri, request::Parts},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::problem::Problem;
use crate::keys::{self, SCRATCH_KEY};

/// The key in the path.
pub struct Key(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let refused = || Problem::invalid_key("a key is UTF-8, percent-encoded");
        if !is_percent_encoded(parts.uri.path()) {
            return Err(refused());
        }
        let Path(key) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| refused())?;
        keys::check(&key).map_err(|why| Problem::invalid_key(&why))?;
        if key == SCRATCH_KEY {
            return Err(Problem::invalid_key(
                "plugins are tried on this counter, so it can't be used",
            ));
        }
        Ok(Self(key))
    }
}

/// A query without parameters.
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_none_or(str::is_empty) {
            return Ok(Self);
        }
        let detail = "this path takes no query parameters; \"by\" is for POST /counters/KEY/inc";
        Err(Problem::bad_request(detail.into()))
    }
}

/// A body that says nothing: an empty one, or the object `{}`, which some clients send where they have nothing to say.
pub struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self);
        }
        let body = Bytes::from_request(request, state).await.map_err(|_| Problem::body_broken())?;
        match object(&body) {
            Ok(Empty {}) => Ok(Self),
            Err(_) => Err(Problem::bad_request(
                "this path takes no body but an empty one or {}; \"by\" is for POST /counters/KEY/inc"
                    .into(),
            )),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// The parameters of a query; none if they are others.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Option<T> {
    is_percent_encoded(uri.query().unwrap_or_default())
        .then(|| Query::try_from_uri(uri).ok())?
        .map(|Query(parameters)| parameters)
}

/// The JSON object in a body, which says nothing where it is empty.
///
/// # Errors
///
/// What is wrong with it.
pub fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    // serde would also take an array for the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".into());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// A field that stands there has a value: null is none.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whether each `%` is followed by two hexadecimal digits (RFC 3986, section 2.1). Decoders take others as they are.
pub(super) fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after
            .as_bytes()
            .first_chunk::<2>()
            .is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    })
}
