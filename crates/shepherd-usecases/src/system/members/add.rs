//! Somebody becomes a member of a System.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction, ResourceRole, Term};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::members::NewMember;

use super::{RESOURCE, expire};
use crate::idempotency::{self, Answer};
use crate::role::ceiling;
use crate::{Platform, UseCaseError, system};

/// Longest time a membership that ends may last: a hundred years. A time past the year 9999 could not be read back.
const MAX_TERM: TimeDelta = TimeDelta::days(36_525);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct AddMember {
    /// Where.
    pub system: SystemId,
    /// Who. A disabled user may be added, as one may be given a role: both count once the account is enabled.
    pub user: UserId,
    /// `owner`, `admin`, `member` or `viewer`.
    pub role: String,
    /// When it ends; never for an owner.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Adds the member; answers the user. A membership that has expired is none: its remains make room for the new one. Who
/// manages members for a time adds them for as long at most.
///
/// # Errors
/// SYSTEM_NOT_FOUND, FORBIDDEN, INVALID_ROLE{role}, VALIDATION_FAILED, GRANT_CEILING_EXCEEDED{role, scope},
/// USER_NOT_FOUND, MEMBER_ALREADY_EXISTS{existing_id}, which is the id of the user.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: AddMember,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<UserId>, UseCaseError> {
    let (system, user) = (command.system, command.user);
    system::visible(
        platform,
        caller,
        Permission::SystemRead,
        ResourceAction::Members,
        system,
    )
    .await?;
    let role = super::parse_role(&command.role)?;
    let now = platform.now();
    check_end(role, command.expires_at, now)?;
    if role == ResourceRole::Owner {
        super::require_owner(caller, system)?;
    }
    ceiling::check_role_on(&caller.subject, system, role, Term::from(command.expires_at))?;
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let username = uow
        .members()
        .keep_user(user)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::UserNotFound, user))?;
    super::lock_system(&mut *uow, system).await?;
    make_room(platform, &mut *uow, system, user, now).await?;
    let member = NewMember {
        id: platform.ids.id(),
        system_id: system,
        user_id: user,
        role,
        expires_at: command.expires_at,
        granted_by: caller.context.actor.clone(),
    };
    uow.members().insert(&member).await?;
    let mut details = json!({"username": username, "role": role});
    if let Some(end) = member.expires_at {
        details["expires_at"] = json!(end);
    }
    let entry = AuditEntry::new(AuditAction::SystemMemberAdd, RESOURCE, user)
        .named(username)
        .parent("system", system)
        .details(details);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &user).await?;
    uow.commit().await?;
    Ok(Answer::fresh(user))
}

fn check_end(role: ResourceRole, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Problem> {
    let Some(end) = end else { return Ok(()) };
    let out_of_range = FieldError::new("expires_at", FieldCode::OutOfRange);
    if role == ResourceRole::Owner {
        return Err(Problem::invalid(vec![out_of_range.with("role", role.to_string())]));
    }
    let too_far = now.checked_add_signed(MAX_TERM).is_some_and(|latest| end > latest);
    if end <= now || too_far {
        return Err(Problem::invalid(vec![out_of_range]));
    }
    Ok(())
}

/// Refuses who is a member already, and clears away a membership that has expired.
async fn make_room(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    system: SystemId,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    if uow.members().find(system, user, now).await?.is_some() {
        return Err(Problem::new(ErrorCode::MemberAlreadyExists)
            .with("existing_id", user.to_string())
            .into());
    }
    let ended = uow.members().end_expired_of(system, user, now).await?;
    expire::record(platform, uow, ended.as_slice(), now).await
}
