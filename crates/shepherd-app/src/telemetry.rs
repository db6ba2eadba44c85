//! Logs and traces of the process.
//!
//! - `lines` writes logs: English, one JSON object per line unless text is asked for
//! - `level` says which lines are written
//! - `context` carries traces in from clients and from requests to their jobs
//! - `sampling` decides which traces are exported
//! - `export` sends them to a receiver, when one is configured
//!
//! Code describes its work by spans of `tracing` at info or above. Their fields that say what a line is about go to the
//! top of each line within them; the spans themselves, and no lines, are what is exported.

mod context;
mod export;
mod level;
mod lines;
mod sampling;

use opentelemetry_sdk::trace::SdkTracer;
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::{Config, LogConfig, LogFormat};

pub(crate) use context::{OpenTelemetryContext, accept};
use export::Exporter;
pub use level::LogLevel;
use lines::{JsonLines, TextLines};

/// The target of spans that only lines are interested in.
pub(crate) const NOT_EXPORTED: &str = "shepherd_app::quiet";

/// Traces while it lives; what was traced until then is sent when it is dropped.
pub struct Telemetry {
    _exporter: Option<Exporter>,
}

/// Starts logging to standard error, and tracing when there is somebody to send traces to; answers what changes the
/// level of logs, too. What is sent belongs to the given runtime, which has to outlive the first answer. A second call
/// changes nothing about logs.
///
/// # Errors
/// When traces cannot be sent to the configured address.
pub fn init(config: &Config, instance: &str, runtime: &Handle) -> anyhow::Result<(Telemetry, LogLevel)> {
    let exporter = Exporter::of(&config.tracing, instance, runtime)?;
    let (lines, level) = written(&config.log);
    let started = tracing_subscriber::registry()
        .with(exporter.as_ref().map(|exporter| exported(exporter.tracer())))
        .with(lines)
        .try_init();
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
    Ok((Telemetry { _exporter: exporter }, level))
}

/// Spans of the product itself: what a warning is about has to be known when only warnings are written.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("shepherd")
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    is_ours(metadata) && *metadata.level() <= Level::INFO && metadata.target() != NOT_EXPORTED
}

fn exported(tracer: SdkTracer) -> impl Layer<Registry> + Send + Sync {
    let layer: OpenTelemetryLayer<Registry, SdkTracer> = tracing_opentelemetry::layer().with_tracer(tracer);
    // Spans find their parents among those of `tracing`, so none has to begin before it is known whose child it is.
    layer
        .with_context_activation(false)
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_filter(filter_fn(is_exported))
}

fn written<S>(config: &LogConfig) -> (Box<dyn Layer<S> + Send + Sync>, LogLevel)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let (level, handle) = reload::Layer::<EnvFilter, S>::new(level::filter(&config.level));
    let filter = level.or(filter_fn(is_ours).with_max_level_hint(LevelFilter::INFO));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Both find the fields of spans in this form.
        .fmt_fields(JsonFields::new());
    let layer: Box<dyn Layer<S> + Send + Sync> = match config.format {
        LogFormat::Json => layer.event_format(JsonLines).with_filter(filter).boxed(),
        LogFormat::Text => layer.event_format(TextLines).with_filter(filter).boxed(),
    };
    (layer, LogLevel::of(handle))
}
