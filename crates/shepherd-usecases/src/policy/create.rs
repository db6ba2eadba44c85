//! A policy is written.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::PolicyId;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::policies::{PolicyContent, PolicyRecord};

use super::fields::{Findings, check_allowed, normal_approvers, refused};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// Writes the policy. It is for requests that are submitted from now on. A repeated request is answered as the first was,
/// whatever has become of the policy since.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, POLICY_NOT_ALLOWED{reason}, POLICY_NAME_EXISTS, EXTERNAL_SYSTEM_NOT_FOUND.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    content: PolicyContent,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<PolicyRecord>, UseCaseError> {
    super::require_reach(caller, content.environment)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let content = PolicyContent {
        approvers: normal_approvers(content.approvers),
        ..content
    };
    check(platform, &content).await?;
    let id: PolicyId = platform.ids.id();
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    uow.policies()
        .insert(id, &content, &caller.context.actor)
        .await
        .map_err(|error| refused(error, &content))?;
    let entry = AuditEntry::new(AuditAction::ApprovalPolicyCreate, super::RESOURCE, id)
        .named(&content.name)
        .details(json!(content));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let written = uow.policies().hold(id).await?;
    let written = written.ok_or(UseCaseError::Broken("a policy that was just written is not there"))?;
    idempotency::store(platform, &mut *uow, request, &written).await?;
    uow.commit().await?;
    Ok(Answer::fresh(written))
}

async fn check(platform: &Platform, content: &PolicyContent) -> Result<(), UseCaseError> {
    let mut findings = Findings::default();
    findings.name(&content.name);
    if let Some(description) = &content.description {
        findings.description(description);
    }
    findings.priority(content.priority);
    findings.matchers(&content.matchers);
    findings.approvers(&content.approvers);
    findings
        .references(platform, Some(&content.matchers), Some(&content.approvers))
        .await?;
    findings.end()?;
    Ok(check_allowed(content, platform.settings().allow_prod_auto_approval)?)
}
