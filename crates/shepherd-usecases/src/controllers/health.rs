//! One look at every enabled cluster per interval (kubernetes.md §6).

use chrono::TimeDelta;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::{ClusterRecord, HealthResult};
use shepherd_ports::leases::{HeartbeatKind, Lease};

use crate::{Platform, UseCaseError};

/// Name of the lease.
pub const LEASE: &str = "health";

/// Takes part in the health loop until dropped.
pub async fn run(platform: &Platform) {
    let settings = &platform.settings.controllers;
    loop {
        if let Err(error) = round(platform).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a round of health checks failed"
            );
        }
        tokio::time::sleep(settings.tick).await;
    }
}

/// Checks the clusters that are due, if this replica holds the lease.
///
/// # Errors
/// When the store fails.
pub async fn round(platform: &Platform) -> Result<(), UseCaseError> {
    let settings = &platform.settings.controllers;
    // The checks of one round take at most their budget, so the lease outlives the round.
    let ttl = settings.lease_ttl.max(settings.health_timeout * 2);
    let Some(lease) = platform.leases.acquire(LEASE, &settings.instance, ttl).await? else {
        return Ok(());
    };
    platform
        .leases
        .beat(HeartbeatKind::Leader, &settings.instance, LEASE)
        .await?;
    let interval = TimeDelta::from_std(settings.health_interval).unwrap_or(TimeDelta::MAX);
    let now = platform.now();
    let clusters = platform.read.enabled_clusters().await?;
    let due = clusters
        .iter()
        .filter(|cluster| cluster.last_checked_at.is_none_or(|at| now - at >= interval));
    let mut checks: FuturesUnordered<_> = due.map(|cluster| check(platform, cluster, &lease)).collect();
    while let Some(result) = checks.next().await {
        if let Err(error) = result {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a health result could not be stored"
            );
        }
    }
    Ok(())
}

async fn check(platform: &Platform, cluster: &ClusterRecord, lease: &Lease) -> Result<(), RepositoryError> {
    let budget = platform.settings.controllers.health_timeout;
    let probed = tokio::time::timeout(budget, platform.provider.probe(cluster.id)).await;
    let at = platform.now();
    let result = match probed {
        Ok(Ok(facts)) => {
            let status = if facts.kubevirt_deployed {
                ClusterStatus::Healthy
            } else {
                ClusterStatus::Unhealthy
            };
            HealthResult {
                status,
                reason: facts.reason.clone(),
                facts: Some(facts),
                at,
            }
        }
        Ok(Err(error)) => {
            tracing::info!(cluster = %cluster.name, %error, "the cluster did not answer the health check");
            HealthResult {
                status: ClusterStatus::Unreachable,
                reason: Some("API_UNREACHABLE".to_owned()),
                facts: None,
                at,
            }
        }
        Err(_) => HealthResult {
            status: ClusterStatus::Unreachable,
            reason: Some("TIMEOUT".to_owned()),
            facts: None,
            at,
        },
    };
    store(platform, cluster, &result, lease).await
}

async fn store(
    platform: &Platform,
    cluster: &ClusterRecord,
    result: &HealthResult,
    lease: &Lease,
) -> Result<(), RepositoryError> {
    let mut uow = platform.begin().await?;
    let Some(before) = uow.clusters().record_health(cluster.id, result, lease).await? else {
        return Ok(());
    };
    if before != result.status {
        tracing::info!(cluster = %cluster.name, from = %before, to = %result.status, reason = result.reason, "cluster status changed");
        let lost = before == ClusterStatus::Healthy;
        // The first result of a new cluster alerts only when it is bad.
        if lost
            || (before != ClusterStatus::Unknown && result.status == ClusterStatus::Healthy)
            || result.status != ClusterStatus::Healthy
        {
            alert(platform, &mut *uow, cluster, before, result).await?;
        }
    }
    uow.commit().await
}

async fn alert(
    platform: &Platform,
    uow: &mut dyn shepherd_ports::UnitOfWork,
    cluster: &ClusterRecord,
    before: ClusterStatus,
    result: &HealthResult,
) -> Result<(), RepositoryError> {
    let severity = if result.status == ClusterStatus::Healthy {
        Severity::Info
    } else {
        Severity::Urgent
    };
    let title = format!("Cluster {} is {}", cluster.name, result.status);
    let message = format!("Cluster {} went from {before} to {}.", cluster.name, result.status);
    let draft = NotificationDraft::new(NotificationType::SystemAlert, severity, &title, &message).about("cluster", cluster.id).params(json!({
        "code": "CLUSTER_STATUS_CHANGED", "cluster": cluster.name, "from": before, "to": result.status, "reason": result.reason,
    }));
    platform
        .notifications
        .send(uow.notifications(), Audience::PlatformAdmins, draft, result.at)
        .await
}
