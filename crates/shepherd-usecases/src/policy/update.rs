//! A policy is changed.

use serde_json::{Map, Value, json};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{ExternalSystemId, PolicyId};
use shepherd_domain::policy::{Matchers, PolicyEnvironment, PolicyOperation};
use shepherd_domain::problem::ErrorCode;
use shepherd_ports::context::Caller;
use shepherd_ports::policies::PolicyContent;

use super::fields::{Findings, check_allowed, normal_approvers, refused};
use crate::system::update::expect_changed;
use crate::{Platform, UseCaseError};

/// What changes; absent leaves a value.
#[derive(Clone, Debug, Default)]
pub struct UpdatePolicy {
    /// 1 to 63 characters, unique.
    pub name: Option<String>,
    /// At most 1024 characters; null clears it.
    pub description: Option<Option<String>>,
    /// What it is about.
    pub operation: Option<PolicyOperation>,
    /// Where it applies.
    pub environment: Option<PolicyEnvironment>,
    /// All matchers from now on.
    pub matchers: Option<Matchers>,
    /// Whether requests wait.
    pub requires_approval: Option<bool>,
    /// All approvers from now on.
    pub approvers: Option<Vec<String>>,
    /// The external system that is asked as well; null asks none.
    pub external_system: Option<Option<ExternalSystemId>>,
    /// The highest wins.
    pub priority: Option<i32>,
    /// A disabled policy is for no request.
    pub enabled: Option<bool>,
}

/// Changes the policy, for requests that are submitted from now on.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, POLICY_NOT_FOUND, PRECONDITION_FAILED{current_version}, POLICY_NOT_ALLOWED{reason},
/// POLICY_NAME_EXISTS, EXTERNAL_SYSTEM_NOT_FOUND.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: PolicyId,
    command: UpdatePolicy,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    super::reachable(platform, caller, id).await?;
    if let Some(environment) = command.environment {
        super::require_reach(caller, environment)?;
    }
    let command = UpdatePolicy {
        approvers: command.approvers.map(normal_approvers),
        ..command
    };
    check(platform, &command).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // As it is now: what was read above may have changed meanwhile.
    let before = uow
        .policies()
        .hold(id)
        .await?
        .ok_or_else(|| super::missing(id))?
        .content;
    super::require_reach(caller, before.environment)?;
    let after = command.applied(&before);
    if after != before {
        // A policy that approves in prod can be switched off, and changed while it is, also when it may not any more.
        check_allowed(&after, platform.settings().allow_prod_auto_approval || !after.enabled)?;
    }
    let changed = uow
        .policies()
        .replace(id, &after, version)
        .await
        .map_err(|error| refused(error, &after))?;
    expect_changed(changed, ErrorCode::PolicyNotFound, id)?;
    let entry = AuditEntry::new(AuditAction::ApprovalPolicyUpdate, super::RESOURCE, id)
        .named(&before.name)
        .details(changes(&before, &after));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

impl UpdatePolicy {
    fn applied(self, before: &PolicyContent) -> PolicyContent {
        let before = before.clone();
        PolicyContent {
            name: self.name.unwrap_or(before.name),
            description: self.description.unwrap_or(before.description),
            operation: self.operation.unwrap_or(before.operation),
            environment: self.environment.unwrap_or(before.environment),
            matchers: self.matchers.unwrap_or(before.matchers),
            requires_approval: self.requires_approval.unwrap_or(before.requires_approval),
            approvers: self.approvers.unwrap_or(before.approvers),
            external_system_id: self.external_system.unwrap_or(before.external_system_id),
            priority: self.priority.unwrap_or(before.priority),
            enabled: self.enabled.unwrap_or(before.enabled),
        }
    }
}

/// Only what is given: a policy that names somebody who is gone can still be switched off.
async fn check(platform: &Platform, command: &UpdatePolicy) -> Result<(), UseCaseError> {
    let mut findings = Findings::default();
    if let Some(name) = &command.name {
        findings.name(name);
    }
    if let Some(Some(description)) = &command.description {
        findings.description(description);
    }
    if let Some(priority) = command.priority {
        findings.priority(priority);
    }
    if let Some(matchers) = &command.matchers {
        findings.matchers(matchers);
    }
    if let Some(approvers) = &command.approvers {
        findings.approvers(approvers);
    }
    findings
        .references(platform, command.matchers.as_ref(), command.approvers.as_deref())
        .await?;
    Ok(findings.end()?)
}

/// Old and new of every field that changed.
fn changes(before: &PolicyContent, after: &PolicyContent) -> Value {
    let fields = |content: &PolicyContent| match json!(content) {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    let old = fields(before);
    let changed = fields(after).into_iter().filter_map(|(field, new)| {
        let old = old.get(&field).cloned().unwrap_or_default();
        (old != new).then(|| (field, json!({"old": old, "new": new})))
    });
    Value::Object(changed.collect())
}
