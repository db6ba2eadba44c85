//! What a cluster reports becomes what the rows say (kubernetes.md §3), and whoever owns a machine is told.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::ids::{ClusterId, VmId};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::vm::{OBJECT_MISSING, VmStatus};
use shepherd_ports::leases::Lease;
use shepherd_ports::vms::{Projected, Sighting};
use shepherd_ports::watches::Announced;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::Platform;

/// For so long the same news of a machine is not told again.
const NEWS_LASTS: TimeDelta = TimeDelta::minutes(5);

/// Projects what was seen of a cluster's machines, all of it in one transaction; answers what changed.
///
/// # Errors
/// When the store fails; then nothing was projected, and the same sightings can be projected again.
pub async fn project(
    platform: &Platform,
    cluster: ClusterId,
    sightings: &[Sighting],
    lease: &Lease,
) -> Result<Vec<Projected>, RepositoryError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let changed = uow.vms().project(cluster, sightings, now, lease).await?;
    if changed.is_empty() {
        return Ok(changed);
    }
    announce(platform, &mut *uow, &changed, now).await?;
    uow.commit().await?;
    for projected in changed.iter().filter(|projected| projected.before != projected.after) {
        tracing::debug!(vm = %projected.name, vm_id = %projected.vm, from = %projected.before, to = %projected.after, reason = projected.reason, "projected");
    }
    Ok(changed)
}

/// Tells owners what is news, in the transaction that changed their machines: it holds the rows, so nobody else tells
/// the same at the same time.
///
/// # Errors
/// When the store fails.
pub(crate) async fn announce(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    changed: &[Projected],
    now: DateTime<Utc>,
) -> Result<(), RepositoryError> {
    let news: Vec<(&Projected, Severity)> = changed
        .iter()
        .filter_map(|projected| worth_telling(projected).map(|severity| (projected, severity)))
        .collect();
    if news.is_empty() {
        return Ok(());
    }
    let vms: Vec<VmId> = news.iter().map(|(projected, _)| projected.vm).collect();
    let known = uow.watches().announced(&vms, now - NEWS_LASTS).await?;
    let known: HashSet<Announced> = known.into_iter().collect();
    let messages: Vec<_> = news
        .into_iter()
        .filter(|(projected, _)| !known.contains(&announcement(projected)))
        .map(|(projected, severity)| message(projected, severity))
        .collect();
    if messages.is_empty() {
        return Ok(());
    }
    platform
        .notifications
        .send_many(uow.notifications(), messages, now)
        .await
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
        VmStatus::Stopped if !projected.stop_asked && was_up(projected.before) => Some(Severity::Warning),
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

/// Whether the machine was up, or on its way down: a guest that shuts itself down is seen on its way as well.
fn was_up(before: VmStatus) -> bool {
    match before {
        VmStatus::Running | VmStatus::Stopping | VmStatus::Paused | VmStatus::Migrating => true,
        VmStatus::Creating
        | VmStatus::Pending
        | VmStatus::Stopped
        | VmStatus::Deleting
        | VmStatus::Failed
        | VmStatus::Unknown => false,
    }
}

fn has_vanished(projected: &Projected) -> bool {
    projected.after == VmStatus::Unknown && projected.reason.as_deref() == Some(OBJECT_MISSING)
}

fn announcement(projected: &Projected) -> Announced {
    Announced {
        vm: projected.vm,
        status: projected.after,
        missing: has_vanished(projected),
    }
}

fn message(projected: &Projected, severity: Severity) -> (Audience, NotificationDraft) {
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
    (audience, draft)
}

#[cfg(test)]
mod tests {
    use shepherd_domain::ActorId;
    use shepherd_domain::ids::SystemId;

    use super::*;

    fn projected(before: VmStatus, after: VmStatus) -> Projected {
        Projected {
            vm: VmId::from_bits(1),
            name: "web".to_owned(),
            before,
            after,
            first_running: false,
            owner: ActorId::system("test"),
            system: SystemId::from_bits(2),
            reason: None,
            stop_asked: false,
        }
    }

    #[test]
    fn only_stops_that_nobody_asked_for_are_news() {
        let stopped = projected(VmStatus::Running, VmStatus::Stopped);
        assert_eq!(worth_telling(&stopped), Some(Severity::Warning));
        let asked = Projected {
            stop_asked: true,
            ..stopped
        };
        assert_eq!(worth_telling(&asked), None);
        assert_eq!(worth_telling(&projected(VmStatus::Creating, VmStatus::Stopped)), None);
    }

    #[test]
    fn the_first_running_is_news_and_later_ones_are_not() {
        let again = projected(VmStatus::Pending, VmStatus::Running);
        assert_eq!(worth_telling(&again), None);
        let first = Projected {
            first_running: true,
            ..again
        };
        assert_eq!(worth_telling(&first), Some(Severity::Info));
    }

    #[test]
    fn a_disappearance_is_news_of_its_own() {
        let unknown = projected(VmStatus::Unknown, VmStatus::Unknown);
        assert_eq!(worth_telling(&unknown), None);
        let gone = Projected {
            reason: Some(OBJECT_MISSING.to_owned()),
            ..unknown.clone()
        };
        assert_eq!(worth_telling(&gone), Some(Severity::Warning));
        assert_ne!(announcement(&gone), announcement(&unknown));
    }
}
