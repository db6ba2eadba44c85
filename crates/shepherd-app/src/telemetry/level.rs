//! Which lines are written, which changes while the process runs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// The filter of a level.
pub(super) fn filter(level: &str) -> EnvFilter {
    // The queue library logs every poll at info, sqlx every slow statement with its text, and kube the whole of an
    // answer it cannot read.
    EnvFilter::try_new(format!(
        "{level},graphile_worker=warn,sqlx=warn,kube_client=error,rustls=warn"
    ))
    .unwrap_or_else(|_| EnvFilter::new("info"))
}

/// `log.level` of the running process.
pub struct LogLevel(Box<dyn Fn(&str) + Send + Sync>);

impl LogLevel {
    /// The level of the filter behind this handle.
    pub(super) fn of<S: 'static>(handle: Handle<EnvFilter, S>) -> Self {
        Self(Box::new(move |level| {
            // Nobody listens where logging was started before by somebody else.
            if let Err(error) = handle.reload(filter(level)) {
                tracing::debug!(%error, "the level of logs stays as it is");
            }
        }))
    }

    /// Writes the lines of another level from now on.
    pub fn set(&self, level: &str) {
        (self.0)(level);
    }
}
