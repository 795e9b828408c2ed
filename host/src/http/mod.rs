//! The counter over HTTP: which requests there are and how they are answered.

pub mod admission;
mod compat;
pub(crate) mod counter;
pub(crate) mod framing;
pub(crate) mod input;
pub(crate) mod lingering;
mod listing;
mod probes;
pub mod problem;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod reference;

use axum::{
    Router,
    routing::{get, post},
};

use crate::{
    bindings::optional::exports::tally::counter::entries::Page,
    plugin::call::{CallError, Operation},
};
use problem::Problem;

/// What the handlers need of a counter.
pub trait Counter: Clone + Send + Sync + 'static {
    /// Performs `operation` on the counter called `key`, which is 1 to 256 bytes long.
    fn call(
        &self,
        operation: Operation,
        key: &str,
    ) -> impl Future<Output = Result<i64, CallError>> + Send;

    /// One page of the counters; see `list` in `entries.wit`.
    fn list(
        &self,
        cursor: Option<String>,
        entries_max: u32,
    ) -> impl Future<Output = Result<Page, CallError>> + Send;

    /// The value of the default counter, to see whether the storage answers in time and has room; why not otherwise.
    fn look(&self) -> impl Future<Output = Result<i64, String>> + Send;

    /// The name of the plugin that counts.
    fn plugin(&self) -> String;

    /// Whether a swap holds calls back at the moment, which has a bound.
    fn is_held_back(&self) -> bool;

    /// Whether the host was asked to stop.
    fn is_stopping(&self) -> bool;
}

/// The route that a path belongs to, for metrics: keys are no part of it.
pub fn route_of(path: &str) -> &'static str {
    const PLAIN: [&str; 6] = ["/inc", "/count", "/reset", "/counters", "/livez", "/readyz"];
    if let Some(route) = PLAIN.into_iter().find(|route| *route == path) {
        return route;
    }
    match path.strip_prefix("/counters/").and_then(|rest| rest.split_once('/').or(Some((rest, ""))))
    {
        Some((_, "")) => "/counters/{key}",
        Some((_, "inc")) => "/counters/{key}/inc",
        Some((_, "reset")) => "/counters/{key}/reset",
        _ => "other",
    }
}

/// All routes of the main listener.
pub fn router<C: Counter>(counter: C) -> Router {
    Router::new()
        .route("/inc", post(compat::increment::<C>))
        .route("/reset", post(compat::reset::<C>))
        .route("/count", get(compat::count::<C>))
        .route("/counters", get(listing::list::<C>))
        .route("/counters/{key}", get(counter::get::<C>))
        .route("/counters/{key}/inc", post(counter::increment::<C>))
        .route("/counters/{key}/reset", post(counter::reset::<C>))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready::<C>))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(counter)
}
