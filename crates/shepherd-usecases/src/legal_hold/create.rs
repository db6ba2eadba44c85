//! From now on no matching audit row is purged.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry, HoldFilter};
use shepherd_domain::ids::LegalHoldId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::legal_holds::NewLegalHold;

use crate::idempotency::{self, Answer};
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// Most characters of a name.
pub const MAX_NAME: usize = 255;

/// What is asked for.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of domain.md §3.16")]
pub struct CreateLegalHold {
    pub name: String,
    pub filter: HoldFilter,
}

/// Creates the hold. A purge that is running is waited for, and every later one honours the hold.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, LEGAL_HOLD_NAME_EXISTS{name}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateLegalHold,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<LegalHoldId>, UseCaseError> {
    account::require_everywhere(caller, Permission::AuditManage)?;
    check_name(&command.name)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let hold = NewLegalHold {
        id: platform.ids.id(),
        name: command.name,
        filter: command.filter,
        created_by: caller.context.actor.clone(),
        at: now,
    };
    uow.legal_holds().insert(&hold).await.map_err(|error| {
        if error.is_unique("uq_audit_legal_holds_name") {
            Problem::new(ErrorCode::LegalHoldNameExists)
                .with("name", hold.name.as_str())
                .into()
        } else {
            UseCaseError::from(error)
        }
    })?;
    let entry = AuditEntry::new(AuditAction::AuditLegalHoldCreate, "audit_legal_hold", hold.id)
        .named(hold.name)
        .details(json!({"filter": hold.filter.to_value()}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &hold.id).await?;
    uow.commit().await?;
    Ok(Answer::fresh(hold.id))
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() {
        return Err(Problem::invalid_field("name", FieldCode::Required));
    }
    if name.chars().count() > MAX_NAME {
        let error = FieldError::new("name", FieldCode::TooLong).with("max_length", MAX_NAME);
        return Err(Problem::invalid(vec![error]));
    }
    Ok(())
}
