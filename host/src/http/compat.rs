//! The endpoints of the original web counter, which act on the default counter.
//!
//! * `POST /inc`: `{"status":"ok","count":N}`; the original sends only `status`.
//! * `POST /reset`: `{"status":"ok"}`
//! * `GET /count`: `{"count":N}`

use axum::{Json, extract::State};

use super::{
    Counter,
    counter::{Count, Done},
    input::{NoBody, NoQuery},
    problem::Problem,
};
use crate::{keys::DEFAULT_KEY, plugin::call::Operation};

pub async fn increment<C: Counter>(
    State(counter): State<C>,
    _: NoQuery,
    _: NoBody,
) -> Result<Json<Done>, Problem> {
    let count = counter.call(Operation::Increment(1), DEFAULT_KEY).await?;
    Ok(Json(Done::counted(count)))
}

pub async fn reset<C: Counter>(
    State(counter): State<C>,
    _: NoQuery,
    _: NoBody,
) -> Result<Json<Done>, Problem> {
    counter.call(Operation::Reset, DEFAULT_KEY).await?;
    Ok(Json(Done::ok()))
}

pub async fn count<C: Counter>(
    State(counter): State<C>,
    _: NoQuery,
    _: NoBody,
) -> Result<Json<Count>, Problem> {
    Ok(Json(Count { count: counter.call(Operation::Get, DEFAULT_KEY).await? }))
}
