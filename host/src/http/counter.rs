//! The endpoints for counters by key.
//!
//! * `POST /counters/{key}/inc`, with `?by=N` or the body `{"by":N}`: `{"status":"ok","count":N}`
//! * `POST /counters/{key}/reset`: `{"status":"ok"}`
//! * `GET /counters/{key}`: `{"count":N}`

use axum::{Json, body::Bytes, extract::State, http::Uri};
use serde::{Deserialize, Serialize};

use super::{
    Counter,
    input::{self, Key, NoBody, NoQuery},
    problem::Problem,
};
use crate::plugin::call::Operation;

/// The answer to a request that changed a counter.
#[derive(Serialize)]
pub struct Done {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<i64>,
}

impl Done {
    /// Done, and this is the value now.
    pub fn counted(count: i64) -> Self {
        Self { status: "ok", count: Some(count) }
    }

    /// Done.
    pub fn ok() -> Self {
        Self { status: "ok", count: None }
    }
}

/// The answer to a request for a value.
#[derive(Serialize)]
pub struct Count {
    pub(super) count: i64,
}

/// How much to add, in the query or in the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    #[serde(default, deserialize_with = "input::given")]
    by: Option<i64>,
}

pub async fn get<C: Counter>(
    State(counter): State<C>,
    Key(key): Key,
    _: NoQuery,
    _: NoBody,
) -> Result<Json<Count>, Problem> {
    Ok(Json(Count { count: counter.call(Operation::Get, &key).await? }))
}

pub async fn increment<C: Counter>(
    State(counter): State<C>,
    Key(key): Key,
    uri: Uri,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let count = counter.call(Operation::Increment(addition(&uri, &body)?), &key).await?;
    Ok(Json(Done::counted(count)))
}

pub async fn reset<C: Counter>(
    State(counter): State<C>,
    Key(key): Key,
    _: NoQuery,
    _: NoBody,
) -> Result<Json<Done>, Problem> {
    counter.call(Operation::Reset, &key).await?;
    Ok(Json(Done::ok()))
}

fn addition(uri: &Uri, body: &[u8]) -> Result<i64, Problem> {
    let refused = |what: &str| {
        Problem::bad_request(format!(
            "{what} must hold nothing but \"by\", a whole number from {} to {}",
            i64::MIN,
            i64::MAX
        ))
    };
    let in_query: Addition = input::query(uri).ok_or_else(|| refused("the query"))?;
    let in_body: Addition = input::object(body).map_err(|_| refused("the body, a JSON object,"))?;
    match (in_query.by, in_body.by) {
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "\"by\" stands in the query and in the body; choose one".into(),
        )),
        (by, None) | (None, by) => Ok(by.unwrap_or(1)),
    }
}
