//! An approver puts another spec in the place of what was asked for (requests.md §6).

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem, Warning};
use shepherd_domain::revision::{Change, diff};
use shepherd_domain::spec::replacement::{self, Refusal, Replacement};
use shepherd_domain::spec::{CreateSpec, ModifySpec};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::{SpecChange, TicketRecord};

use super::TicketRef;
use crate::execution::specs;
use crate::vm::request::MAX_REASON;
use crate::{Platform, UseCaseError, policy};

/// What an approver wants instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modification {
    /// The whole spec; null when none is given, which is refused.
    pub spec: Value,
    /// Why; 1 to 1024 characters.
    pub reason: String,
}

/// A modification that passed its checks and is not stored yet.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// What is stored.
    pub(crate) spec: Value,
    /// What it changes about what was asked for.
    pub(crate) changes: Vec<Change>,
    /// SPEC_FIELDS_REMOVED.
    pub(crate) warnings: Vec<Warning>,
    reason: String,
}

/// Stores a replacement of the spec; the last one wins. Answers the warnings about it.
///
/// # Errors
/// Those of a decision; MODIFIED_SPEC_NOT_SUPPORTED, INVALID_REQUEST_FIELD, VALIDATION_FAILED, REQUIRED_FIELD_REMOVED,
/// IMMUTABLE_FIELD, TEMPLATE_NOT_FOUND, INSTANCE_SIZE_NOT_FOUND; APPROVER_NOT_ELIGIBLE{policy_id} when the policies leave
/// the new spec to others; PRECONDITION_FAILED{current_version}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRef,
    modification: Modification,
    version: Option<i64>,
) -> Result<Vec<Warning>, UseCaseError> {
    let ticket = super::decidable(platform, caller, ticket).await?;
    let checked = check(platform, &ticket, modification).await?;
    policy::require_eligible_for(platform, caller, &ticket, &checked.spec).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if !store(platform, &mut *uow, caller, &ticket, &checked, version, now).await? {
        drop(uow);
        return Err(super::lost_race(platform, ticket.id).await?);
    }
    uow.commit().await?;
    Ok(checked.warnings)
}

/// What was asked for is carried out again. Nothing happens when it would be anyway.
///
/// # Errors
/// Those of a decision; MODIFIED_SPEC_NOT_SUPPORTED, PRECONDITION_FAILED{current_version}.
pub async fn clear(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRef,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    let ticket = super::decidable(platform, caller, ticket).await?;
    replacement::check_replaceable(ticket.request_type)?;
    if version.is_some_and(|version| version != ticket.row_version) {
        return Err(super::overtaken(&ticket).into());
    }
    let Some(modified) = &ticket.modified_spec else {
        return Ok(());
    };
    let original = original(platform, &ticket).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if !uow.tickets().modify_spec(ticket.id, None, version, now).await? {
        drop(uow);
        return Err(super::lost_race(platform, ticket.id).await?);
    }
    let details =
        json!({"operation": ticket.request_type.operation_type(), "cleared": true, "diff": diff(modified, &original)});
    platform
        .audit(&mut *uow, &caller.context, now, [entry(&ticket, details)])
        .await?;
    Ok(uow.commit().await?)
}

/// Checks a modification against what was asked for and what there is.
pub(crate) async fn check(
    platform: &Platform,
    ticket: &TicketRecord,
    modification: Modification,
) -> Result<Checked, UseCaseError> {
    replacement::check_replaceable(ticket.request_type)?;
    let reason = modification.reason.trim();
    if reason.is_empty() {
        return Err(Problem::invalid_field("modification_reason", FieldCode::Required).into());
    }
    if reason.chars().count() > MAX_REASON {
        return Err(Problem::invalid(vec![
            FieldError::new("modification_reason", FieldCode::TooLong).with("max_length", MAX_REASON),
        ])
        .into());
    }
    if modification.spec.is_null() {
        return Err(Problem::invalid_field("modified_spec", FieldCode::Required).into());
    }
    let original = original(platform, ticket).await?;
    let replaced = replacement::replace(ticket.request_type, &original, &modification.spec).map_err(Problem::from)?;
    check_references(platform, ticket.request_type, &replaced.spec).await?;
    let Replacement {
        spec,
        changes,
        warnings,
    } = replaced;
    Ok(Checked {
        spec,
        changes,
        warnings,
        reason: reason.to_owned(),
    })
}

/// The same for somebody who only looks and so gives no reason: a replacement that is inadmissible or refers to what
/// is not there is answered as that, one that is malformed fails.
pub(crate) async fn propose(
    platform: &Platform,
    ticket: &TicketRecord,
    original: &Value,
    spec: &Value,
) -> Result<Result<Replacement, Problem>, UseCaseError> {
    let replaced = match replacement::replace(ticket.request_type, original, spec) {
        Ok(replaced) => replaced,
        Err(Refusal::Malformed(problem)) => return Err(problem.into()),
        Err(Refusal::Inadmissible(problem)) => return Ok(Err(problem)),
    };
    match check_references(platform, ticket.request_type, &replaced.spec).await {
        Ok(()) => Ok(Ok(replaced)),
        Err(UseCaseError::Problem(problem)) => Ok(Err(problem)),
        Err(error) => Err(error),
    }
}

/// Stores a modification in the caller's transaction; `false` when the ticket is not pending any more, or has another
/// version than the wanted one.
pub(crate) async fn store(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    ticket: &TicketRecord,
    checked: &Checked,
    version: Option<i64>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    let change = SpecChange {
        spec: checked.spec.clone(),
        reason: checked.reason.clone(),
        by: caller.context.actor.clone(),
    };
    if !uow
        .tickets()
        .modify_spec(ticket.id, Some(&change), version, now)
        .await?
    {
        return Ok(false);
    }
    for warning in &checked.warnings {
        tracing::warn!(ticket_id = %ticket.id, warning = ?warning.code, "a request was modified with a warning");
    }
    let details = json!({"operation": ticket.request_type.operation_type(), "reason": checked.reason,
        "diff": checked.changes, "warnings": checked.warnings});
    platform
        .audit(uow, &caller.context, now, [entry(ticket, details)])
        .await?;
    Ok(true)
}

fn entry(ticket: &TicketRecord, details: Value) -> AuditEntry {
    AuditEntry::new(AuditAction::ApprovalModify, "approval_ticket", ticket.id)
        .named(&ticket.number)
        .ticket(ticket.id)
        .environment(ticket.environment)
        .details(details)
}

/// The spec that was asked for; of a request without one its whole payload.
pub(crate) async fn original(platform: &Platform, ticket: &TicketRecord) -> Result<Value, UseCaseError> {
    let payload = specs::payload(platform, ticket).await?;
    Ok(payload.get("spec").cloned().unwrap_or(payload))
}

/// What a spec refers to must be there; whether it can be used is for the decision to say.
async fn check_references(platform: &Platform, request: RequestType, spec: &Value) -> Result<(), UseCaseError> {
    let size = if request == RequestType::CreateVm {
        let spec: CreateSpec = read(spec)?;
        let found = platform.read.get_template(spec.template_id).await?;
        let template = found.ok_or_else(|| Problem::not_found(ErrorCode::TemplateNotFound, spec.template_id))?;
        if spec.template_version.is_some_and(|version| version != template.version) {
            return Err(Problem::invalid_field("modified_spec.template_version", FieldCode::UnknownValue).into());
        }
        spec.instance_size_id
    } else {
        read::<ModifySpec>(spec)?.instance_size_id
    };
    match platform.read.get_size(size).await? {
        Some(_) => Ok(()),
        None => Err(Problem::not_found(ErrorCode::InstanceSizeNotFound, size).into()),
    }
}

/// Every field was looked at by itself before, so this does not fail.
fn read<S: serde::de::DeserializeOwned>(spec: &Value) -> Result<S, Problem> {
    serde_json::from_value(spec.clone()).map_err(|_| Problem::invalid_field("modified_spec", FieldCode::InvalidFormat))
}
