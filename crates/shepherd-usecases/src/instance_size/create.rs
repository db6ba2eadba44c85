//! A size is created: by an administrator, or by `shepherd seed`.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::{InstanceSize, SizeDraft};
use shepherd_domain::ids::InstanceSizeId;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::validation;
use crate::idempotency::{self, Answer};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Creates the size.
///
/// # Errors
/// FORBIDDEN, those of [`SizeDraft::into_size`], SCHEMA_VALIDATION_FAILED, INSTANCE_SIZE_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    draft: SizeDraft,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<InstanceSizeId>, UseCaseError> {
    account::require_everywhere(caller, Permission::InstanceSizeWrite)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let size = draft.into_size(platform.ids.id())?;
    validation::on_all_clusters(platform, &size).await?;
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    insert(platform, &mut *uow, &caller.context, &size).await?;
    idempotency::store(platform, &mut *uow, request, &size.id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(size.id))
}

/// Creates the size of a seed unless there is one of its name; answers whether it did.
///
/// # Errors
/// Those of [`SizeDraft::into_size`], SCHEMA_VALIDATION_FAILED.
pub(crate) async fn seed(
    platform: &Platform,
    context: &RequestContext,
    draft: SizeDraft,
) -> Result<bool, UseCaseError> {
    // What is there stays, also when the seed does not suit the clusters of today.
    if exists(platform, &draft.name).await? {
        return Ok(false);
    }
    let size = draft.into_size(platform.ids.id())?;
    validation::on_all_clusters(platform, &size).await?;
    let mut uow = platform.begin().await?;
    if uow.sizes().exists(&size.name).await? {
        return Ok(false);
    }
    insert(platform, &mut *uow, context, &size).await?;
    uow.commit().await?;
    Ok(true)
}

/// Whether the name is taken at this moment.
pub(super) async fn exists(platform: &Platform, name: &str) -> Result<bool, UseCaseError> {
    let mut uow = platform.begin().await?;
    Ok(uow.sizes().exists(name).await?)
}

async fn insert(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    context: &RequestContext,
    size: &InstanceSize,
) -> Result<(), UseCaseError> {
    uow.sizes()
        .insert(size, &context.actor)
        .await
        .map_err(|error| super::name_taken(error, &size.name))?;
    let entry = AuditEntry::new(AuditAction::InstanceSizeCreate, super::RESOURCE, size.id)
        .named(&size.name)
        .details(super::columns(size)?.into());
    Ok(platform.audit(uow, context, platform.now(), [entry]).await?)
}
