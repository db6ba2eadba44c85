//! A size is deleted. Machines that have it keep their numbers, and tickets their snapshots of it.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Deletes the size, unless an open ticket refers to it.
///
/// # Errors
/// FORBIDDEN, INSTANCE_SIZE_NOT_FOUND, INSTANCE_SIZE_IN_USE{reference_count}.
pub async fn execute(platform: &Platform, caller: &Caller, id: InstanceSizeId) -> Result<(), UseCaseError> {
    account::require_everywhere(caller, Permission::InstanceSizeWrite)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // A request that was submitted before has the row until its ticket is there; a later one finds it gone.
    let record = uow.sizes().lock(id).await?.ok_or_else(|| super::not_found(id))?;
    let references = uow.sizes().count_open_tickets(id).await?;
    if references > 0 {
        return Err(Problem::new(ErrorCode::InstanceSizeInUse)
            .with("reference_count", references)
            .into());
    }
    uow.sizes().delete(id).await?;
    let entry = AuditEntry::new(AuditAction::InstanceSizeDelete, super::RESOURCE, id)
        .named(&record.size.name)
        .details(super::columns(&record.size)?.into());
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
