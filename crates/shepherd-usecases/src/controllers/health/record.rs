//! What a look found becomes what the row says, with the alert and the fact that follow from it.

use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_ports::clusters::{ClusterRecord, HealthResult};
use shepherd_ports::events::NewEvent;
use shepherd_ports::leases::Lease;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::Platform;

/// Stores a result of a look that began with `cluster`; `false` when something newer is known.
pub(super) async fn store(
    platform: &Platform,
    cluster: &ClusterRecord,
    result: &HealthResult,
    lease: Option<&Lease>,
) -> Result<bool, RepositoryError> {
    let mut uow = platform.begin().await?;
    let Some(before) = uow.clusters().record_health(&cluster.seen(), result, lease).await? else {
        tracing::debug!(cluster = %cluster.name, "a health result came too late");
        return Ok(false);
    };
    let version = result
        .facts
        .as_ref()
        .and_then(|facts| facts.kubevirt_version.as_deref());
    if let Some(version) = version.filter(|version| before.kubevirt_version.as_deref() != Some(*version)) {
        let was = before.kubevirt_version.as_deref();
        let fact = version_changed(platform, cluster, was, version);
        uow.events().insert(fact).await?;
    }
    if before.status != result.status {
        tracing::info!(cluster = %cluster.name, from = %before.status, to = %result.status, reason = result.reason, "cluster status changed");
        if is_worth_telling(before.status, result.status) {
            alert(platform, &mut *uow, cluster, before.status, result).await?;
        }
    }
    uow.commit().await?;
    Ok(true)
}

/// The first result of a new cluster alerts only when it is bad.
fn is_worth_telling(before: ClusterStatus, after: ClusterStatus) -> bool {
    after != ClusterStatus::Healthy || before != ClusterStatus::Unknown
}

fn version_changed(platform: &Platform, cluster: &ClusterRecord, was: Option<&str>, is: &str) -> NewEvent {
    NewEvent {
        id: platform.ids.id(),
        event_type: EventType::ClusterKubevirtVersionChanged,
        aggregate_type: AggregateType::Cluster,
        aggregate_id: cluster.id.to_string(),
        payload: json!({"cluster_id": cluster.id, "cluster": cluster.name, "from": was, "to": is}),
        status: EventStatus::Completed,
        causation_id: None,
        environment: Some(cluster.environment),
        created_by: ActorId::system("health"),
        at: platform.now(),
        trace_id: None,
        trace_parent: None,
    }
}

async fn alert(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
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
        .send(uow.notifications(), Audience::PlatformAdmins, draft, platform.now())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_news_about_somebody_new_is_no_news() {
        use ClusterStatus::{Healthy, Unhealthy, Unknown, Unreachable};
        assert!(!is_worth_telling(Unknown, Healthy));
        for (before, after) in [
            (Unknown, Unreachable),
            (Healthy, Unhealthy),
            (Healthy, Unreachable),
            (Unhealthy, Healthy),
            (Unreachable, Healthy),
        ] {
            assert!(is_worth_telling(before, after), "{before} to {after}");
        }
    }
}
