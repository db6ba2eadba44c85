//! Gauges: every process shows what it is doing and what the database says, again and again.
//!
//! No lease is needed, since nothing is written. While the database is away its gauges are not set, and after a while
//! they are gone, so that nobody takes an old number for a new one.

use std::time::Duration;

use shepherd_ports::RepositoryError;
use shepherd_ports::metrics::{clusters, show_process, state};

use crate::Platform;

/// Pause between two samples.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// Samples until dropped.
pub async fn run(platform: &Platform) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(error) = sample(platform).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the state that metrics show could not be read"
            );
        }
    }
}

/// Sets every gauge once.
///
/// # Errors
/// When the store fails; what this process knows by itself is set all the same.
pub async fn sample(platform: &Platform) -> Result<(), RepositoryError> {
    show_process();
    state::show_connections(&platform.read.pool_connections());
    let sample = platform.read.sample_state(platform.now()).await?;
    state::show_state(&sample);
    for cluster in &sample.clusters {
        clusters::load(&cluster.name, platform.provider.load(cluster.id));
    }
    Ok(())
}
