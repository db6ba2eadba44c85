//! Members of a System: who works on it, in which role, and for how long.
//!
//! Owners and admins manage members; owners alone decide about owners, of whom a System always has at least one. Every
//! change locks the user and the System first (see [`shepherd_ports::members`]) and looks at the membership after that.

pub mod add;
pub mod expire;
pub mod remove;
pub mod update;

use chrono::{DateTime, Utc};
use shepherd_domain::access::{ResourceAction, ResourceRole};
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_domain::problem::{ErrorCode, Problem, Warning, WarningCode};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::members::MemberRecord;

use crate::{Platform, UseCaseError};

/// Kind of a membership in audit rows; its id there is that of the user.
const RESOURCE: &str = "system_member";

/// What somebody should look at: SYSTEM_WITHOUT_ENABLED_OWNER.
///
/// # Errors
/// When the store fails.
pub async fn findings(platform: &Platform, system: SystemId) -> Result<Vec<Warning>, UseCaseError> {
    if platform.read.has_enabled_owner(system).await? {
        return Ok(Vec::new());
    }
    Ok(vec![Warning::new(WarningCode::SystemWithoutEnabledOwner)])
}

/// MEMBER_NOT_FOUND; members are known by their user.
pub fn not_found(user: UserId) -> Problem {
    Problem::not_found(ErrorCode::MemberNotFound, user)
}

/// The role that a request names.
fn parse_role(text: &str) -> Result<ResourceRole, Problem> {
    text.parse()
        .map_err(|_| Problem::new(ErrorCode::InvalidRole).with("role", text))
}

/// Nobody gives or takes what is above the own role: owners are the business of owners.
fn require_owner(caller: &Caller, system: SystemId) -> Result<(), Problem> {
    let role = caller.subject.role_on(system);
    if role.is_some_and(|role| role.allows(ResourceAction::Owners, false)) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::GrantCeilingExceeded)
        .with("role", ResourceRole::Owner.to_string())
        .with("scope", "system"))
}

async fn lock_system(uow: &mut dyn UnitOfWork, system: SystemId) -> Result<(), UseCaseError> {
    if uow.members().lock_system(system).await? {
        Ok(())
    } else {
        Err(Problem::not_found(ErrorCode::SystemNotFound, system).into())
    }
}

/// The member whom nobody else changes from here on.
async fn lock_member(
    uow: &mut dyn UnitOfWork,
    system: SystemId,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<MemberRecord, UseCaseError> {
    // Who is gone by now is no member; the question below finds that out.
    uow.members().keep_user(user).await?;
    lock_system(uow, system).await?;
    let member = uow.members().find(system, user, now).await?;
    Ok(member.ok_or_else(|| not_found(user))?)
}

/// After somebody ceased to be an owner: another one must be left, whether enabled or not.
async fn require_remaining_owner(uow: &mut dyn UnitOfWork, system: SystemId) -> Result<(), UseCaseError> {
    if uow.members().owner_remains(system).await? {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::LastOwnerCannotBeRemoved)
        .with("system_ids", vec![system.to_string()])
        .into())
}
