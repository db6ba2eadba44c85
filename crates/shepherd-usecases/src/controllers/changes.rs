//! What other replicas changed takes effect here without waiting for the next look (kubernetes.md §5).
//!
//! Runs in every process that talks to clusters. It is a hint: credentials are looked up again from time to time all the
//! same.

use std::time::Duration;

use futures::StreamExt;
use shepherd_ports::changes::Change;

use crate::{Platform, encryption};

/// Pause before listening is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Silence after which keys are looked at all the same; credentials are by the provider.
const POLL: Duration = Duration::from_secs(30);

/// Passes on what changed, until dropped.
pub async fn run(platform: &Platform) {
    loop {
        match platform.changes.changes().await {
            Ok(mut changes) => {
                // What changed before somebody listened was not heard.
                apply(platform, Change::Everything).await;
                loop {
                    match tokio::time::timeout(POLL, changes.next()).await {
                        Ok(Some(change)) => {
                            tracing::debug!(?change, "a change was announced");
                            apply(platform, change).await;
                        }
                        Ok(None) => break,
                        Err(_) => hold_keys(platform).await,
                    }
                }
                tracing::warn!("no more changes are announced; listening again");
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "changes cannot be heard");
                hold_keys(platform).await;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn apply(platform: &Platform, change: Change) {
    match change {
        Change::Cluster(cluster) => platform.provider.invalidate(cluster),
        Change::Everything => {
            platform.provider.invalidate_all();
            hold_keys(platform).await;
        }
        Change::Keys => hold_keys(platform).await,
    }
}

async fn hold_keys(platform: &Platform) {
    if let Err(error) = encryption::reload(&*platform.keys, &*platform.read).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the encryption keys could not be loaded; sealing goes on with those that are held"
        );
    }
}
