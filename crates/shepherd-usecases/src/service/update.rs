//! Texts of a Service.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::problem::ErrorCode;
use shepherd_ports::context::Caller;
use shepherd_ports::systems::TextsPatch;

use crate::system::update::{changes, check_patch, expect_changed};
use crate::{Platform, UseCaseError};

/// Changes description and documentation; the audit row carries old and new.
///
/// # Errors
/// SYSTEM_NOT_FOUND, SERVICE_NOT_FOUND, FORBIDDEN, VALIDATION_FAILED, PRECONDITION_FAILED{current_version}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    system: SystemId,
    id: ServiceId,
    patch: TextsPatch,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    let before = super::visible(
        platform,
        caller,
        Permission::ServiceCreate,
        ResourceAction::Update,
        system,
        id,
    )
    .await?;
    check_patch(&patch)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    expect_changed(
        uow.services().update_texts(id, &patch, version).await?,
        ErrorCode::ServiceNotFound,
        id,
    )?;
    let details = changes(&patch, before.description.as_deref(), before.documentation.as_deref());
    let entry = AuditEntry::new(AuditAction::ServiceUpdate, "service", id)
        .named(before.name)
        .parent("system", system)
        .details(details);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
