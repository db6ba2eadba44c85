//! What a cluster reports becomes what the rows say (kubernetes.md §3).

use serde_json::json;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::vm::{OBJECT_MISSING, ObservedVm, VmStatus};
use shepherd_ports::leases::Lease;
use shepherd_ports::vms::Projected;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::Platform;

/// Projects one observation.
///
/// # Errors
/// When the store fails.
pub async fn observed(
    platform: &Platform,
    cluster: ClusterId,
    vm: &ObservedVm,
    lease: &Lease,
) -> Result<Option<Projected>, RepositoryError> {
    let mut uow = platform.begin().await?;
    let projected = uow.vms().project(cluster, vm, platform.now(), lease).await?;
    finish(platform, uow, projected).await
}

/// Projects that an object is gone.
///
/// # Errors
/// When the store fails.
pub async fn absent(
    platform: &Platform,
    cluster: ClusterId,
    namespace: &str,
    name: &str,
    uid: &str,
    lease: &Lease,
) -> Result<Option<Projected>, RepositoryError> {
    let mut uow = platform.begin().await?;
    let projected = uow
        .vms()
        .project_absence(cluster, namespace, name, uid, platform.now(), lease)
        .await?;
    finish(platform, uow, projected).await
}

async fn finish(
    platform: &Platform,
    mut uow: Box<dyn UnitOfWork>,
    projected: Option<Projected>,
) -> Result<Option<Projected>, RepositoryError> {
    let Some(projected) = projected else { return Ok(None) };
    if let Some(severity) = worth_telling(&projected) {
        tell(platform, &mut *uow, &projected, severity).await?;
    }
    uow.commit().await?;
    if projected.before != projected.after {
        tracing::info!(vm = %projected.name, vm_id = %projected.vm, from = %projected.before, to = %projected.after, reason = projected.reason, "projected");
    }
    Ok(Some(projected))
}

/// The first RUNNING, failures, the unknown, and stops and disappearances that nobody asked for.
fn worth_telling(projected: &Projected) -> Option<Severity> {
    // A machine whose state was not known may turn out to be gone; that is news although the status stays.
    if projected.before == projected.after && !has_vanished(projected) {
        return None;
    }
    match projected.after {
        VmStatus::Running if projected.first_running => Some(Severity::Info),
        VmStatus::Failed | VmStatus::Unknown => Some(Severity::Warning),
        // A guest that shuts itself down is seen on its way as well.
        VmStatus::Stopped
            if matches!(
                projected.before,
                VmStatus::Running | VmStatus::Stopping | VmStatus::Paused | VmStatus::Migrating
            ) =>
        {
            Some(Severity::Warning)
        }
        VmStatus::Creating
        | VmStatus::Pending
        | VmStatus::Running
        | VmStatus::Stopping
        | VmStatus::Stopped
        | VmStatus::Paused
        | VmStatus::Migrating
        | VmStatus::Deleting => None,
    }
}

fn has_vanished(projected: &Projected) -> bool {
    projected.after == VmStatus::Unknown && projected.reason.as_deref() == Some(OBJECT_MISSING)
}

async fn tell(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    projected: &Projected,
    severity: Severity,
) -> Result<(), RepositoryError> {
    let (title, message) = if has_vanished(projected) {
        (
            format!("{} has disappeared", projected.name),
            format!("{} does not exist on its cluster any more.", projected.name),
        )
    } else {
        (
            format!("{} is {}", projected.name, projected.after),
            format!(
                "{} went from {} to {}.",
                projected.name, projected.before, projected.after
            ),
        )
    };
    let draft = NotificationDraft::new(NotificationType::VmStatusChange, severity, &title, &message)
        .about("vm", projected.vm)
        .params(json!({
            "vm_name": projected.name, "from": projected.before, "to": projected.after, "reason": projected.reason,
        }));
    let audience = Audience::VmOwner {
        owner: projected.owner.as_user(),
        system: projected.system,
    };
    platform
        .notifications
        .send(uow.notifications(), audience, draft, platform.now())
        .await
}
