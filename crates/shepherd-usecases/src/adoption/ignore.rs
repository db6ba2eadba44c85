//! An administrator leaves a machine alone, or takes that back. The object is not touched.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::adoption::AdoptionStatus;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::AdoptionId;
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;

use super::{decided_otherwise, not_pending, visible};
use crate::{Platform, UseCaseError};

/// Most characters of a reason.
pub const MAX_REASON: usize = 512;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct IgnoreAdoption {
    /// Why.
    pub reason: Option<String>,
    /// Makes a machine that was ignored PENDING again.
    pub restore: bool,
}

/// PENDING becomes IGNORED, or IGNORED becomes PENDING. One that is to be restored and is PENDING stays as it is.
///
/// # Errors
/// FORBIDDEN, ADOPTION_NOT_FOUND, VALIDATION_FAILED, ADOPTION_NOT_PENDING{status}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: AdoptionId,
    command: IgnoreAdoption,
) -> Result<(), UseCaseError> {
    caller.require(Permission::AdoptionManage)?;
    let record = visible(platform, caller, id).await?;
    let IgnoreAdoption { reason, restore } = command;
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > MAX_REASON)
    {
        let error = FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON);
        return Err(Problem::invalid(vec![error]).into());
    }
    let wanted = if restore {
        AdoptionStatus::Ignored
    } else {
        AdoptionStatus::Pending
    };
    if restore && record.status == AdoptionStatus::Pending {
        return Ok(());
    }
    if record.status != wanted {
        return Err(not_pending(record.status));
    }
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let moved = if restore {
        uow.adoptions().restore(id).await?
    } else {
        uow.adoptions().ignore(id, &caller.context.actor, now).await?
    };
    if !moved {
        drop(uow);
        return Err(decided_otherwise(platform, id).await);
    }
    let entry = AuditEntry::new(AuditAction::AdoptionIgnore, "pending_adoption", id)
        .named(&record.resource_name)
        .environment(record.environment)
        .details(json!({
            "cluster": record.cluster_name, "namespace": record.namespace, "reason": reason, "restored": restore,
        }));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
