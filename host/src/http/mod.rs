//! The counter over HTTP: which requests there are and how they are answered.

pub mod admission;
mod compat;
mod counter;
mod probes;
pub mod problem;

use axum::{
    Router,
    routing::{get, post},
};

use crate::plugin::call::{CallError, Operation};
use problem::Problem;

/// What the handlers need of a counter.
pub trait Counter: Clone + Send + Sync + 'static {
    /// Performs `operation` on the counter called `key`, which is 1 to 256 bytes long.
    fn call(
        &self,
        operation: Operation,
        key: &str,
    ) -> impl Future<Output = Result<i64, CallError>> + Send;

    /// The name of the plugin that counts.
    fn plugin(&self) -> &str;
}

/// All routes of the main listener.
pub fn router<C: Counter>(counter: C) -> Router {
    Router::new()
        .route("/inc", post(compat::increment::<C>))
        .route("/reset", post(compat::reset::<C>))
        .route("/count", get(compat::count::<C>))
        .route("/counters/{key}", get(counter::get::<C>))
        .route("/counters/{key}/inc", post(counter::increment::<C>))
        .route("/counters/{key}/reset", post(counter::reset::<C>))
        .route("/livez", get(probes::live))
        .route("/readyz", get(probes::ready::<C>))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(counter)
}
