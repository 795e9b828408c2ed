//! The spans of traces: one for each request on the main listener, and one for each swap.
//!
//! The log never shows them, and without a collector none is made. `no_spans.rs` stands for this in a program without
//! the feature `otlp`.

use axum::{
    body::Body,
    http::{Method, Request},
    response::Response,
};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Instrument, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{plugin::generation::Trigger, swap::error::SwapError};

/// The header in which a client says to which span of its own the request belongs (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// What a failed span is marked with.
const FAILED: &str = "ERROR";

/// The span of one request. Its fields are named by OpenTelemetry's conventions.
pub struct RequestSpan(Span);

impl RequestSpan {
    /// Begins the span of `request`, as a part of the client's trace where it brings one.
    pub fn new<B>(route: &'static str, request: &Request<B>) -> Self {
        let method = method_name(request.method());
        let span = info_span!(
            "request",
            otel.name = %format_args!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
        );
        if !span.is_disabled() && request.headers().contains_key(TRACEPARENT) {
            let parent = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers()));
            // It fails only where there is no collector, or when the span has begun to be used.
            let _ = span.set_parent(parent);
        }
        Self(span)
    }

    /// Ends the span with the answer, and notes its status.
    pub async fn cover(self, answered: impl Future<Output = Response<Body>>) -> Response<Body> {
        let response = answered.instrument(self.0.clone()).await;
        self.0.record("http.response.status_code", response.status().as_u16());
        if response.status().is_server_error() {
            self.0.record("otel.status_code", FAILED);
        }
        response
    }
}

/// The span of one swap, which is `swap`.
pub async fn cover_swap<T>(from: &str, trigger: Trigger, swap: impl Future<Output = T>) -> T {
    let span = info_span!(
        "swap",
        from,
        %trigger,
        plugin = Empty,
        outcome = Empty,
        otel.status_code = Empty,
    );
    swap.instrument(span).await
}

/// Notes in the span of the swap under way to which plugin it was, and what became of it.
pub fn swap_ended(plugin: &str, outcome: Result<&'static str, &SwapError>) {
    let span = Span::current();
    span.record("plugin", plugin);
    match outcome {
        Ok(outcome) => span.record("outcome", outcome),
        Err(error) => span.record("otel.status_code", FAILED).record("outcome", error.to_string()),
    };
}

/// Clients may invent methods, which must not become names of spans.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
