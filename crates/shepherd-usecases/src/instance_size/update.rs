//! A size is changed. Tickets that were approved keep the size they were approved with.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::{InstanceSize, SizePatch};
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::sizes::SizeRecord;

use super::validation;
use crate::system::update::expect_changed;
use crate::{Platform, UseCaseError};

/// How often a change is tried anew when somebody else changed the overrides while they were held against schemas.
const ATTEMPTS: usize = 3;

/// Changes the size. All rules hold for the row as it becomes, not for the change alone.
///
/// # Errors
/// FORBIDDEN, INSTANCE_SIZE_NOT_FOUND, PRECONDITION_FAILED{current_version}, those of [`InstanceSize::patched`],
/// SCHEMA_VALIDATION_FAILED, INSTANCE_SIZE_NAME_EXISTS; SERVICE_BUSY when others keep changing its overrides.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: InstanceSizeId,
    patch: SizePatch,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    for _ in 0..ATTEMPTS {
        let before = super::visible(platform, caller, Permission::InstanceSizeWrite, id).await?;
        let checked = merged(before, patch.clone(), version)?;
        validation::on_all_clusters(platform, &checked).await?;
        if write(platform, caller, &checked, patch.clone(), version).await? {
            return Ok(());
        }
    }
    Err(Problem::new(ErrorCode::ServiceBusy).into())
}

/// The size after the change.
///
/// # Errors
/// PRECONDITION_FAILED{current_version}, those of [`InstanceSize::patched`].
pub(super) fn merged(before: SizeRecord, patch: SizePatch, version: Option<i64>) -> Result<InstanceSize, Problem> {
    if version.is_some_and(|version| version != before.row_version) {
        return Err(Problem::new(ErrorCode::PreconditionFailed).with("current_version", before.row_version));
    }
    before.size.patched(patch)
}

/// Merges once more, into the row as it is now; `false` when its overrides are not those that were held against the
/// schemas.
async fn write(
    platform: &Platform,
    caller: &Caller,
    checked: &InstanceSize,
    patch: SizePatch,
    version: Option<i64>,
) -> Result<bool, UseCaseError> {
    let id = checked.id;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let before = uow.sizes().lock(id).await?.ok_or_else(|| super::not_found(id))?;
    let after = merged(before.clone(), patch, version)?;
    if after.spec_overrides != checked.spec_overrides {
        return Ok(false);
    }
    let changed = uow
        .sizes()
        .update(&after, version)
        .await
        .map_err(|error| super::name_taken(error, &after.name))?;
    expect_changed(changed, ErrorCode::InstanceSizeNotFound, id)?;
    let retired = before.size.enabled && !after.enabled;
    let action = if retired {
        AuditAction::InstanceSizeDeprecate
    } else {
        AuditAction::InstanceSizeUpdate
    };
    let entry = AuditEntry::new(action, super::RESOURCE, id)
        .named(&before.size.name)
        .details(super::changes(&before.size, &after)?);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(true)
}
