//! The endpoints for counters by key.
//!
//! * `POST /counters/{key}/inc`, with `?by=N` or the body `{"by":N}`: `{"status":"ok","count":N}`
//! * `POST /counters/{key}/reset`: `{"status":"ok"}`
//! * `GET /counters/{key}`: `{"count":N}`

use axum::{
    Json,
    body::Bytes,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use serde::{Deserialize, Serialize};

use super::{Counter, problem::Problem};
use crate::{
    keys::{self, SCRATCH_KEY},
    plugin::call::Operation,
};

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
pub struct Addition {
    by: Option<i64>,
}

type KeyInPath = Result<Path<String>, PathRejection>;

pub async fn get<C: Counter>(
    State(counter): State<C>,
    key: KeyInPath,
) -> Result<Json<Count>, Problem> {
    Ok(Json(Count { count: counter.call(Operation::Get, &valid(key)?).await? }))
}

pub async fn increment<C: Counter>(
    State(counter): State<C>,
    key: KeyInPath,
    query: Result<Query<Addition>, QueryRejection>,
    body: Bytes,
) -> Result<Json<Done>, Problem> {
    let key = valid(key)?;
    let delta = addition(query, &body)?;
    let count = counter.call(Operation::Increment(delta), &key).await?;
    Ok(Json(Done::counted(count)))
}

pub async fn reset<C: Counter>(
    State(counter): State<C>,
    key: KeyInPath,
) -> Result<Json<Done>, Problem> {
    counter.call(Operation::Reset, &valid(key)?).await?;
    Ok(Json(Done::ok()))
}

fn valid(key: KeyInPath) -> Result<String, Problem> {
    let Path(key) = key.map_err(|_| Problem::invalid_key("a key is UTF-8, percent-encoded"))?;
    keys::check(&key).map_err(|why| Problem::invalid_key(&why))?;
    if key == SCRATCH_KEY {
        return Err(Problem::invalid_key("plugins are tried on this counter, so it can't be used"));
    }
    Ok(key)
}

fn addition(query: Result<Query<Addition>, QueryRejection>, body: &[u8]) -> Result<i64, Problem> {
    let refused = |what: &str| {
        Problem::bad_request(format!(
            "{what} must hold nothing but \"by\", a whole number from {} to {}",
            i64::MIN,
            i64::MAX
        ))
    };
    let Query(in_query) = query.map_err(|_| refused("the query"))?;
    let in_body = match body {
        [] => Addition { by: None },
        body => serde_json::from_slice(body).map_err(|_| refused("the body, a JSON object,"))?,
    };
    match (in_query.by, in_body.by) {
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "\"by\" stands in the query and in the body; choose one".into(),
        )),
        (by, None) | (None, by) => Ok(by.unwrap_or(1)),
    }
}
