//! An administrator creates an instance size.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::SizeDraft;
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use crate::idempotency::{self, Answer};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Creates the size.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, OVERCOMMIT_INVALID, DEDICATED_CPU_OVERCOMMIT_CONFLICT, INSTANCE_SIZE_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    draft: SizeDraft,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<InstanceSizeId>, UseCaseError> {
    account::require_everywhere(caller, Permission::InstanceSizeWrite)?;
    let size = draft.into_size(platform.ids.id())?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    uow.catalog()
        .insert_size(&size, &caller.context.actor)
        .await
        .map_err(|error| match &error {
            RepositoryError::Unique { .. } => Problem::new(ErrorCode::InstanceSizeNameExists)
                .with("name", size.name.as_str())
                .into(),
            RepositoryError::ForeignKey { .. }
            | RepositoryError::Busy(_)
            | RepositoryError::Unavailable(_)
            | RepositoryError::Other(_) => UseCaseError::from(error),
        })?;
    let entry = AuditEntry::new(AuditAction::InstanceSizeCreate, "instance_size", size.id).named(&size.name);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &size.id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(size.id))
}
