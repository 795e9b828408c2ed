//! What the program tells those who operate it: the log, as lines on standard error, and traces, where it is built
//! with the feature `otlp`. Where both outputs are collected as one, all lines have one form.

#[cfg(feature = "otlp")]
mod otlp;
#[cfg_attr(not(feature = "otlp"), path = "no_spans.rs")]
pub mod spans;

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::{
    EnvFilter, Layer, fmt::writer::MakeWriterExt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Target of the event that says where the host serves, where lines of the log are JSON. It goes to standard output, as
/// the same words do for people, and RUST_LOG does not choose whether.
pub const ANNOUNCEMENT: &str = "tally::start";

/// What is logged where `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str = "info";

/// Notices of a database are written by the statements of plugins, which have a log of their own, with a limit.
/// Spans are for traces; lines of the log do without them.
const NEVER_LOGGED: [&str; 2] = ["sqlx::postgres::notice=off", "tally_host::telemetry::spans=off"];

/// What is told, and how.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Log and traces")]
pub struct TelemetrySettings {
    /// How lines of the log look. RUST_LOG chooses which there are.
    #[arg(long, env, value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// Collector that traces of requests and swaps are sent to, by OTLP over HTTP: http://HOST:PORT.
    #[cfg(feature = "otlp")]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    pub otlp_endpoint: otlp::Collector,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object each, for programs.
    Json,
    /// Text where standard error is a terminal, otherwise JSON.
    Auto,
}

/// The log and the traces, started.
pub struct Telemetry {
    json: bool,
    #[cfg(feature = "otlp")]
    exporter: Option<otlp::Exporter>,
}

/// Starts the log and, where they are wanted, the traces.
///
/// # Errors
///
/// When the exporter of traces can't be made.
pub fn start(settings: &TelemetrySettings) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| DEFAULT_FILTER.into());
    let filter = NEVER_LOGGED
        .into_iter()
        .fold(filter, |all, never| all.add_directive(never.parse().expect("it is a directive")));
    let always = format!("{ANNOUNCEMENT}=info");
    let filter = filter.add_directive(always.parse().expect("it is a directive"));
    let is_terminal = io::stderr().is_terminal();
    let json = match settings.log_format {
        LogFormat::Text => false,
        LogFormat::Json => true,
        LogFormat::Auto => !is_terminal,
    };
    let writer = io::stdout.with_filter(|event| event.target() == ANNOUNCEMENT).or_else(io::stderr);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match json {
        true => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_ansi(false)
            .boxed(),
        false => lines.with_ansi(is_terminal).boxed(),
    };
    let log = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "otlp")]
    let exporter = match otlp::Exporter::start(&settings.otlp_endpoint)? {
        Some((exporter, traces)) => {
            log.with(traces).init();
            Some(exporter)
        }
        // Without this layer no span is ever made.
        None => {
            log.init();
            None
        }
    };
    #[cfg(not(feature = "otlp"))]
    log.init();
    Ok(Telemetry {
        json,
        #[cfg(feature = "otlp")]
        exporter,
    })
}

impl Telemetry {
    /// Whether lines of the log are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Sends what has not been sent yet, within a few seconds.
    pub fn stop(self) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter {
            exporter.stop();
        }
    }
}
