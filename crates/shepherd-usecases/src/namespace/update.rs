//! Description and availability of a registered namespace.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::NamespaceId;
use shepherd_domain::problem::ErrorCode;
use shepherd_ports::context::Caller;
use shepherd_ports::namespaces::NamespacePatch;

use crate::system::texts;
use crate::system::update::expect_changed;
use crate::{Platform, UseCaseError};

/// Changes the entry. A disabled namespace takes no new requests; its machines stay manageable.
///
/// # Errors
/// NAMESPACE_NOT_FOUND, FORBIDDEN, VALIDATION_FAILED, PRECONDITION_FAILED{current_version}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: NamespaceId,
    patch: NamespacePatch,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    let before = super::visible(platform, caller, Permission::ClusterWrite, id).await?;
    texts::check(patch.description.as_ref().and_then(|text| text.as_deref()), None)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    expect_changed(
        uow.namespaces().update(id, &patch, version).await?,
        ErrorCode::NamespaceNotFound,
        id,
    )?;
    let mut details = serde_json::Map::new();
    if let Some(new) = &patch.description {
        details.insert("description".to_owned(), json!({"old": before.description, "new": new}));
    }
    if let Some(new) = patch.enabled {
        details.insert("enabled".to_owned(), json!({"old": before.enabled, "new": new}));
    }
    let entry = AuditEntry::new(AuditAction::NamespaceUpdate, "namespace", id)
        .named(before.name)
        .environment(before.environment)
        .details(details.into());
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
