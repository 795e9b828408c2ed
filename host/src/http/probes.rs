//! The endpoints by which a supervisor sees how the host is.
//!
//! * `GET /livez`: the process answers; says nothing of the storage, whose failure no restart mends.
//! * `GET /readyz`: the plugin answers too, so that traffic may come.

use axum::{Json, extract::State};
use serde::Serialize;
use tokio::time::timeout;

use super::{Counter, problem::Problem};
use crate::{
    plugin::{DEFAULT_KEY, call::Operation},
    readiness::READY_TIME_MAX,
};

#[derive(Serialize)]
pub struct Live {
    status: &'static str,
}

#[derive(Serialize)]
pub struct Ready {
    status: &'static str,
    plugin: String,
}

pub async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

pub async fn ready<C: Counter>(State(counter): State<C>) -> Result<Json<Ready>, Problem> {
    match timeout(READY_TIME_MAX, counter.call(Operation::Get, DEFAULT_KEY)).await {
        Ok(Ok(_)) => Ok(Json(Ready { status: "ready", plugin: counter.plugin().to_owned() })),
        Ok(Err(error)) => Err(Problem::not_ready(&error.to_string())),
        Err(_) => Err(Problem::not_ready("the plugin did not answer within 1 s")),
    }
}
