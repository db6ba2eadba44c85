//! Logs: English, one JSON object per line unless text is asked for.

mod level;

use std::error::Error;

use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogConfig, LogFormat};

pub use level::LogLevel;

/// Starts logging to standard error; answers what changes its level. A second call changes nothing.
pub fn init(config: &LogConfig) -> LogLevel {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(level::filter(&config.level))
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    match config.format {
        LogFormat::Json => {
            let builder = builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .with_filter_reloading();
            let level = LogLevel::of(builder.reload_handle());
            note(builder.try_init());
            level
        }
        LogFormat::Text => {
            let builder = builder.compact().with_filter_reloading();
            let level = LogLevel::of(builder.reload_handle());
            note(builder.try_init());
            level
        }
    }
}

fn note(started: Result<(), Box<dyn Error + Send + Sync>>) {
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
