//! An unused entry is deleted; the Kubernetes namespace is left alone.

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::NamespaceId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use crate::confirmation::{self, Confirmation, Target};
use crate::{Platform, UseCaseError};

/// Deletes the entry, synchronously.
///
/// # Errors
/// NAMESPACE_NOT_FOUND, FORBIDDEN, CONFIRMATION_*, NAMESPACE_IN_USE.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: NamespaceId,
    given: &Confirmation,
) -> Result<(), UseCaseError> {
    let namespace = super::visible(platform, caller, Permission::ClusterWrite, id).await?;
    let id_text = id.to_string();
    let target = Target {
        entity: "namespace",
        id: &id_text,
        name: &namespace.name,
        environment: Some(namespace.environment),
        by_name: true,
    };
    confirmation::check(platform, caller, given, target).await?;

    let now = platform.now();
    let mut uow = platform.begin().await?;
    let used = uow
        .namespaces()
        .lock_and_count_use(id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::NamespaceNotFound, id))?;
    if used.vm_count > 0 || used.pending_request_count > 0 {
        return Err(Problem::new(ErrorCode::NamespaceInUse)
            .with("vm_count", used.vm_count)
            .with("pending_request_count", used.pending_request_count)
            .into());
    }
    uow.namespaces().delete(id).await?;
    let entry = AuditEntry::new(AuditAction::NamespaceDelete, "namespace", id)
        .named(namespace.name)
        .environment(namespace.environment);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
