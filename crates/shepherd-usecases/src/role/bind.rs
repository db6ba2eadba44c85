//! An administrator gives a role to a user; nobody gives more than they hold.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::access::{BuiltInRole, Permission, Scope, Term};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{RoleBindingId, UserId};
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::identity::NewBinding;
use shepherd_ports::roles::BindingDetails;

use super::{ceiling, expire};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// Longest time a binding that ends may last: a hundred years. Far beyond it no calendar agrees with another.
const MAX_TERM: TimeDelta = TimeDelta::days(36_525);

/// The source of bindings that people make.
const MANUAL: &str = "manual";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BindRole {
    /// Who gets it.
    pub user: UserId,
    /// Role id or key.
    pub role: String,
    /// Where it applies.
    pub scope: Scope,
    /// In which environments; not empty.
    pub environments: EnvironmentSet,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Creates the binding. A role of platform administrators always gets both environments. What the caller holds for a time
/// is given for as long at most.
///
/// # Errors
/// FORBIDDEN, USER_NOT_FOUND, VALIDATION_FAILED, ROLE_NOT_FOUND, ROLE_NOT_ASSIGNABLE, GRANT_CEILING_EXCEEDED,
/// SYSTEM_NOT_FOUND, ROLE_BINDING_EXISTS{existing_id}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: BindRole,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<BindingDetails>, UseCaseError> {
    caller.require(Permission::RbacManage)?;
    let no_user = || Problem::not_found(ErrorCode::UserNotFound, command.user);
    let user = platform.read.get_user(command.user).await?.ok_or_else(no_user)?;
    if command.environments.is_empty() {
        return Err(Problem::invalid_field("allowed_environments", FieldCode::Required).into());
    }
    let now = platform.now();
    check_end(command.expires_at, now)?;
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    // Held, so that it does not become an administrator's role while this binding is narrow.
    let role = uow
        .roles()
        .hold_role(&command.role)
        .await?
        .ok_or_else(|| super::not_found(&command.role))?;
    let permissions = role.permission_set();
    let administrates = permissions.contains(Permission::PlatformAdmin);
    if role.key.as_deref() == Some(BuiltInRole::Bootstrap.key()) || (administrates && command.scope != Scope::Global) {
        return Err(Problem::new(ErrorCode::RoleNotAssignable)
            .with("role", role.name)
            .into());
    }
    let environments = if administrates {
        EnvironmentSet::ALL
    } else {
        command.environments
    };
    let term = Term::from(command.expires_at);
    ceiling::check_for(&caller.subject, permissions, command.scope, environments, term)?;
    ceiling::require_manager(caller, command.scope, environments)?;
    if let Scope::System(system) = command.scope {
        ceiling::check_membership(&caller.subject, permissions, system, term)?;
        if !uow.roles().hold_system(system).await? {
            return Err(Problem::not_found(ErrorCode::SystemNotFound, system).into());
        }
    }
    let binding = NewBinding {
        id: platform.ids.id(),
        user_id: command.user,
        role_id: role.id,
        scope: command.scope,
        environments,
        source: MANUAL,
        expires_at: command.expires_at,
        created_by: caller.context.actor.clone(),
    };
    let ended = uow
        .roles()
        .remove_expired_equal(command.user, role.id, command.scope, MANUAL, now)
        .await?;
    expire::record(platform, &mut *uow, ended.as_slice(), now).await?;
    if let Err(error) = uow.identity().insert_binding(&binding).await {
        drop(uow);
        return Err(refusal(platform, &binding, error).await?.into());
    }
    let entry = AuditEntry::new(AuditAction::RoleAssign, "role_binding", binding.id)
        .named(role.name)
        .parent("user", user.id)
        .details(json!({
            "username": user.username, "allowed_environments": environments, "expires_at": command.expires_at,
        }));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let bound = uow.roles().lock_binding(command.user, binding.id).await?;
    let bound = bound.ok_or(UseCaseError::Broken("a new binding is not there"))?;
    idempotency::store(platform, &mut *uow, request, &bound).await?;
    uow.commit().await?;
    Ok(Answer::fresh(bound))
}

fn check_end(end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Problem> {
    let latest = now.checked_add_signed(MAX_TERM);
    let in_range = |end: DateTime<Utc>| end > now && latest.is_none_or(|latest| end <= latest);
    if end.is_none_or(in_range) {
        return Ok(());
    }
    Err(Problem::invalid_field("expires_at", FieldCode::OutOfRange))
}

/// What the refused insert means; an error that means nothing to the caller stays one.
async fn refusal(platform: &Platform, binding: &NewBinding, error: RepositoryError) -> Result<Problem, UseCaseError> {
    if error.is_unique("uq_role_bindings_grant") {
        let existing: Option<RoleBindingId> = platform
            .read
            .equal_binding(binding.user_id, binding.role_id, binding.scope, binding.source)
            .await?;
        let problem = Problem::new(ErrorCode::RoleBindingExists);
        return Ok(match existing {
            Some(id) => problem.with("existing_id", id.to_string()),
            None => problem,
        });
    }
    if error.is_foreign_key("fk_role_bindings_user_id") {
        return Ok(Problem::not_found(ErrorCode::UserNotFound, binding.user_id));
    }
    Err(error.into())
}
