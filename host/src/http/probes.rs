//! The endpoints by which a supervisor sees how the host is.
//!
//! * `GET /livez`: the process answers; says nothing of the storage, whose failure no restart mends.
//! * `GET /readyz`: the plugin answers too, and its storage has room, so that traffic may come.

use axum::{Json, extract::State};
use serde::Serialize;

use super::{Counter, problem::Problem};
use crate::readiness::STOPPING;

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
    if counter.is_stopping() {
        return Err(Problem::not_ready(STOPPING));
    }
    // A swap is no reason to send traffic elsewhere: it is undone when it takes too long.
    if counter.is_held_back() {
        return Ok(Json(Ready { status: "ready", plugin: counter.plugin() }));
    }
    match counter.look().await {
        Ok(_) => Ok(Json(Ready { status: "ready", plugin: counter.plugin() })),
        Err(why) => Err(Problem::not_ready(&why)),
    }
}
