//! An administrator asks for a scan.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use crate::authorization::{Guarded, require_in};
use crate::idempotency::{self, Answer};
use crate::upkeep::PeriodicJob;
use crate::{Platform, UseCaseError};

/// Asks for a scan of the enabled, HEALTHY clusters of the caller's environments, or of one; answers how many will be
/// scanned.
///
/// # Errors
/// FORBIDDEN, CLUSTER_NOT_FOUND.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    cluster: Option<ClusterId>,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<u32>, UseCaseError> {
    caller.require(Permission::AdoptionManage)?;
    let mut entry = match cluster {
        None => AuditEntry::new(AuditAction::AdoptionScan, "adoption_scan", "all"),
        Some(id) => {
            let cluster = platform
                .read
                .get_cluster(id)
                .await?
                .ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, id))?;
            let object = Guarded {
                not_found: ErrorCode::ClusterNotFound,
                id: &id,
                read: Permission::ClusterRead,
            };
            require_in(caller, Permission::AdoptionManage, cluster.environment, object)?;
            AuditEntry::new(AuditAction::AdoptionScan, "adoption_scan", id)
                .named(cluster.name)
                .environment(cluster.environment)
        }
    };
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let environments = caller.subject.environments(Permission::AdoptionManage, None);
    let scheduled = uow.adoptions().request_scan(environments, cluster).await?;
    uow.jobs().enqueue_periodic(PeriodicJob::AdoptionScan.as_str()).await?;
    entry = entry.details(json!({"scheduled": scheduled}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &scheduled).await?;
    uow.commit().await?;
    Ok(Answer::fresh(scheduled))
}
