//! An administrator creates a template version.

use serde_json::Value;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::AuditAction;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use super::Stored;
use super::add::{Addition, add};
use super::content::{Content, Texts, check_fields};
use super::validation::Checks;
use crate::idempotency::{self, Answer};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CreateTemplate {
    /// Name of the template, at most 63 characters.
    pub name: String,
    /// Above the newest version; `None` takes the next number.
    pub version: Option<i32>,
    /// What people read.
    pub texts: Texts,
    /// The spec.
    pub spec: Value,
    /// Fields everybody sees; absent means none.
    pub quick_fields: Option<Value>,
    /// Fields for those who look closer; absent means none.
    pub advanced_fields: Option<Value>,
    /// Published at once, else a draft.
    pub enabled: bool,
}

/// Creates the version after its validation; an active one deprecates the active one before it in the same transaction.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, TEMPLATE_SPEC_VIOLATION, TEMPLATE_VALIDATION_FAILED, TEMPLATE_NAME_VERSION_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateTemplate,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Stored>, UseCaseError> {
    account::require_everywhere(caller, Permission::TemplateWrite)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    check_fields(&command.name, command.version, &command.texts)?;
    let content = Content::parse(
        &command.spec,
        command.quick_fields.as_ref(),
        command.advanced_fields.as_ref(),
    )?;
    let verdict = Checks::prepare(platform).await?.passed(platform, &content.spec).await?;

    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let addition = Addition {
        name: &command.name,
        version: command.version,
        texts: command.texts,
        content,
        publish: command.enabled,
        validated_at: verdict.validated_at(now),
        seeded: false,
        action: AuditAction::TemplateCreate,
        made_from: None,
    };
    let stored = Stored {
        id: add(platform, &mut *uow, &caller.context, addition, now).await?,
        warnings: verdict.warnings,
    };
    idempotency::store(platform, &mut *uow, request, &stored).await?;
    uow.commit().await?;
    Ok(Answer::fresh(stored))
}
