//! Texts of a System.

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::SystemId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::systems::{Changed, TextsPatch};

use super::texts;
use crate::{Platform, UseCaseError};

/// Changes description and documentation; the audit row carries old and new.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN, VALIDATION_FAILED, PRECONDITION_FAILED{current_version}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: SystemId,
    patch: TextsPatch,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    let before = super::visible(platform, caller, Permission::SystemWrite, ResourceAction::Update, id).await?;
    check_patch(&patch)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    expect_changed(
        uow.systems().update_texts(id, &patch, version).await?,
        ErrorCode::SystemNotFound,
        id,
    )?;
    let details = changes(&patch, before.description.as_deref(), before.documentation.as_deref());
    let entry = AuditEntry::new(AuditAction::SystemUpdate, "system", id)
        .named(before.name)
        .details(details);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

/// Checks the texts of a patch.
///
/// # Errors
/// VALIDATION_FAILED.
pub fn check_patch(patch: &TextsPatch) -> Result<(), Problem> {
    texts::check(
        patch.description.as_ref().and_then(|text| text.as_deref()),
        patch.documentation.as_ref().and_then(|text| text.as_deref()),
    )
}

/// Turns the result of a conditional change into an answer.
///
/// # Errors
/// PRECONDITION_FAILED{current_version}, or the code of the missing object.
pub fn expect_changed(changed: Changed, not_found: ErrorCode, id: impl std::fmt::Display) -> Result<(), Problem> {
    match changed {
        Changed::Yes => Ok(()),
        Changed::VersionMismatch { current } => {
            Err(Problem::new(ErrorCode::PreconditionFailed).with("current_version", current))
        }
        Changed::Gone => Err(Problem::not_found(not_found, id)),
    }
}

/// Old and new of the changed texts, for the audit row.
pub fn changes(patch: &TextsPatch, description: Option<&str>, documentation: Option<&str>) -> serde_json::Value {
    let mut changes = serde_json::Map::new();
    if let Some(new) = &patch.description {
        changes.insert("description".to_owned(), json!({"old": description, "new": new}));
    }
    if let Some(new) = &patch.documentation {
        changes.insert("documentation".to_owned(), json!({"old": documentation, "new": new}));
    }
    changes.into()
}
