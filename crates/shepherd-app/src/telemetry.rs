//! Logs: English, one JSON object per line unless text is asked for.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogConfig, LogFormat};

/// Starts logging to standard error. A second call changes nothing.
pub fn init(config: &LogConfig) {
    // The queue library logs every poll at info, sqlx every slow statement with its text, and kube the whole of an
    // answer it cannot read.
    let filter = EnvFilter::try_new(format!(
        "{},graphile_worker=warn,sqlx=warn,kube_client=error,rustls=warn",
        config.level
    ))
    .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let started = match config.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
        LogFormat::Text => builder.compact().try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
