//! The second listener, for those who operate the host.
//!
//! * `GET /`: the dashboard. `GET /api`, `GET /openapi.json`: what can be asked of both listeners.
//! * `GET /metrics`: for Prometheus.
//! * `GET /admin/plugins`: known plugins, the generation that serves, the last failures.
//! * `PUT /admin/plugin`: swap. `POST /admin/rollback`: go back to the generation before.
//! * `PUT /admin/plugins/{name}`: put a component into the plugin directory.
//! * `POST /admin/increment`: one increment of the default counter.
//! * `GET /admin/events`: what happens, as server-sent events.

mod events;
mod exposition;
mod guard;
pub mod listener;
pub mod places;
mod plugins;
pub mod settings;
mod swaps;

use std::{rc::Rc, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::header,
    middleware::from_extractor,
    response::{Html, IntoResponse},
    routing::{get, post, put},
};
use tokio::{sync::watch, task::spawn_local};

use self::events::Feed;
use crate::{
    http::{
        Counter,
        counter::Done,
        input::{NoBody, NoQuery},
        problem::Problem,
    },
    keys::DEFAULT_KEY,
    metrics::Metrics,
    panics::essential,
    plugin::{call::Operation, dispatch::Dispatcher},
    readiness::STOPPING,
    shutdown::Stopping,
    swap::{candidate::Compilers, journal::Journal, request::SwapHandle, status::Status},
    worker::counter::PluginCounter,
};

/// What the pages may do: nothing but what they bring themselves, and requests to this listener.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'";

/// What is shown and can be done here.
pub struct Admin {
    /// By which swaps are made.
    pub swaps: SwapHandle,
    /// What they have come to.
    pub status: Arc<Status>,
    /// Where counts were carried to.
    pub journal: Arc<Journal>,
    /// What is counted.
    pub metrics: Metrics,
    /// The value of the default counter, or why there is none.
    pub looked: watch::Receiver<Result<i64, String>>,
    /// How many threads have instances of the plugin.
    pub threads: usize,
    /// Who may have a plugin compiled.
    pub compilers: Compilers,
    /// Whether the host was asked to stop.
    pub stopping: Stopping,
}

/// The same as the handlers share it.
#[derive(Clone)]
struct Shared {
    admin: Arc<Admin>,
    feed: Arc<Feed>,
    /// Of the thread that serves the admin listener.
    counter: PluginCounter,
    /// Whose other end is gone once the host stops.
    stopped: watch::Receiver<()>,
}

impl Admin {
    /// Why the host is not ready, as `/readyz` says it; none if it is.
    fn why_not_ready(&self) -> Option<String> {
        if self.stopping.has_begun() {
            return Some(STOPPING.to_owned());
        }
        self.looked.borrow().clone().err()
    }

    /// All routes, for the thread to which `dispatcher` belongs. Event streams end when nobody holds the
    /// other end of `stopped`.
    pub fn router(self, dispatcher: Rc<Dispatcher>, stopped: watch::Receiver<()>) -> Router {
        let metrics = Rc::new(self.metrics.of_worker());
        let counter = PluginCounter::new(dispatcher, self.stopping.clone(), metrics);
        let admin = Arc::new(self);
        let feed = Arc::new(Feed::default());
        spawn_local(essential(events::sample_each_second(admin.clone(), feed.clone())));
        Router::new()
            .route("/", get(async || page(include_str!("assets/dashboard.html"))))
            .route("/api", get(async || page(include_str!("assets/api.html"))))
            .route("/openapi.json", get(openapi))
            .route("/metrics", get(exposition::metrics))
            .merge(operations())
            .fallback(async || Problem::not_found())
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Shared { admin, feed, counter, stopped })
    }
}

/// What the dashboard and the commands ask for: none of it takes query parameters.
fn operations() -> Router<Shared> {
    Router::new()
        .route("/admin/plugins", get(plugins::list))
        .route("/admin/plugin", put(swaps::swap))
        .route("/admin/rollback", post(swaps::rollback))
        .route("/admin/plugins/{name}", put(plugins::upload))
        .route("/admin/increment", post(increment))
        .route("/admin/events", get(events::stream))
        .route_layer(from_extractor::<NoQuery>())
}

fn page(html: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(html))
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("assets/openapi.json"))
}

async fn increment(State(shared): State<Shared>, _: NoBody) -> Result<Json<Done>, Problem> {
    Ok(Json(Done::counted(shared.counter.call(Operation::Increment(1), DEFAULT_KEY).await?)))
}
