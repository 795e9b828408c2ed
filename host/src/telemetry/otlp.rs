//! Sends traces to a collector: OTLP, as protobuf over plain HTTP.

use std::{env, str::FromStr, time::Duration};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::{net::TcpStream, runtime, task::JoinSet, time::timeout};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// How long the collector may take for one batch.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(3);

/// How long the end of the program waits for what has not been sent yet.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// Largest answer of a collector that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The only spans that are exported.
const TARGET: &str = "tally_host::telemetry::spans";

/// Where a collector accepts traces, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector(Option<Uri>);

impl FromStr for Collector {
    type Err = &'static str;

    /// Reads `http://HOST:PORT`, as other programs do from the same variable; nothing means none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a collector is written http://HOST:PORT; encryption is not supported";
        if text.is_empty() {
            return Ok(Self(None));
        }
        let uri: Uri =
            format!("{}/v1/traces", text.trim_end_matches('/')).parse().map_err(|_| FORM)?;
        let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
        let good = plain && uri.authority().is_some_and(|it| !it.as_str().contains('@'));
        if good { Ok(Self(Some(uri))) } else { Err(FORM) }
    }
}

/// Sends spans in batches, on a thread of its own.
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// The exporter to `collector`, if there is one, and the layer that hands spans to it.
    ///
    /// # Errors
    ///
    /// When one of the variables that OpenTelemetry defines is wrong.
    pub fn start<S>(collector: &Collector) -> anyhow::Result<Option<(Self, impl Layer<S>)>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(uri) = &collector.0 else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client)
            .with_endpoint(uri.to_string())
            .build()?;
        let mut resource = Resource::builder();
        if env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("tally");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("tally"))
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
        Ok(Some((Self(provider), layer)))
    }

    /// Sends what has not been sent yet, within [`STOP_TIME_MAX`].
    pub fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(STOP_TIME_MAX) {
            tracing::warn!("the last traces were not exported: {error}");
        }
    }
}

/// HTTP, one connection for each batch.
#[derive(Debug)]
struct Client;

#[async_trait]
impl HttpClient for Client {
    /// Blocks, and may: it is called on the exporter's own thread, which does nothing else and has no event loop.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match timeout(EXPORT_TIME_MAX, exchange(request)).await {
                Ok(answered) => answered,
                Err(_) => Err(format!("no answer within {EXPORT_TIME_MAX:?}").into()),
            }
        })
    }
}

async fn exchange(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let authority = uri.authority().ok_or("the collector's address is missing")?;
    // The customary port, where there is none, is that of HTTP.
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Moves the bytes, and ends with this function, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::try_from(authority.as_str())?);
    *request.uri_mut() = Uri::builder().path_and_query(uri.path()).build()?;
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_plain_url_and_nothing_means_none() {
        let uri = |text: &str| Collector::from_str(text).map(|it| it.0.map(|uri| uri.to_string()));
        assert_eq!(uri(""), Ok(None));
        assert_eq!(uri("http://a:4318"), Ok(Some("http://a:4318/v1/traces".into())));
        assert_eq!(uri("http://[::1]:4318/x/"), Ok(Some("http://[::1]:4318/x/v1/traces".into())));
        for wrong in ["https://a:4318", "a:4318", "/x", "http://", "http://u:p@a", "http://a?b=c"] {
            assert!(uri(wrong).is_err(), "{wrong}");
        }
    }
}
