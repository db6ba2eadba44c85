//! The door of a console: who comes with a token, and whether they may come in (console.md §3).
//!
//! A token alone opens nothing. Its session must be live, its person must still have what the grant was given for, and
//! the machine must run. What is refused is audited once the token has proven to be one of ours; anything else is noise
//! that leaves a line in the log.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{SessionId, UserId, VmId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::consoles::GrantRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::metrics::{self, ConsoleTokenResult};
use shepherd_ports::vms::VmRecord;
use shepherd_ports::{RepositoryError, RequestContext};
use strum::IntoStaticStr;

use super::require_running;
use super::token::{self, Claims};
use crate::auth::authenticate::RequestMarks;
use crate::authorization::{self, Guarded};
use crate::{Platform, UseCaseError};

/// What somebody brings to the door.
pub struct Visitor<'a> {
    /// The machine of the address.
    pub vm: VmId,
    /// The cookie.
    pub token: Option<&'a str>,
    /// Who the request says it is besides, if it does.
    pub bearer: Option<UserId>,
    /// Where the request came from.
    pub marks: &'a RequestMarks,
}

/// Why somebody with a token of ours stays outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Reason {
    /// Made for something else.
    WrongAudience,
    /// Made for another machine.
    VmMismatch,
    /// Before or after its time.
    Expired,
    /// Its session has ended.
    SessionEnded,
    /// The session, or the bearer of the request, is somebody else.
    ForeignSession,
    /// The account is disabled.
    UserDisabled,
    /// The password has to be changed before anything else.
    PasswordChangeRequired,
    /// The person may no longer do it, or never could see the machine.
    PermissionLost,
    /// The grant was revoked or has expired.
    GrantEnded,
    /// The machine does not run.
    VmNotRunning,
    /// It was used or revoked before.
    Replayed,
}

/// A refusal: what is said to the visitor, and what is written down.
pub(super) struct Denial {
    pub(super) reason: Reason,
    problem: Problem,
}

impl Denial {
    /// INVALID_VNC_TOKEN: the token is not, or no longer, worth anything.
    pub(super) fn invalid(reason: Reason) -> Self {
        Self {
            reason,
            problem: Problem::new(ErrorCode::InvalidVncToken),
        }
    }

    /// VNC_TOKEN_REPLAYED.
    pub(super) fn replayed(vm: VmId) -> Self {
        Self {
            reason: Reason::Replayed,
            problem: Problem::new(ErrorCode::VncTokenReplayed).with("vm_id", vm.to_string()),
        }
    }
}

/// Either somebody is refused, or nobody can tell.
pub(super) enum Closed {
    Denied(Denial),
    Failed(UseCaseError),
}

impl From<UseCaseError> for Closed {
    fn from(error: UseCaseError) -> Self {
        Self::Failed(error)
    }
}

impl From<RepositoryError> for Closed {
    fn from(error: RepositoryError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Denial> for Closed {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// Somebody who may come in, as soon as the token is used up.
pub struct Guest {
    pub(super) marks: RequestMarks,
    pub(super) claims: Claims,
    pub(super) context: RequestContext,
    pub(super) vm: VmRecord,
    pub(super) grant: GrantRecord,
}

/// Whether a token would open the console; it is not used up.
///
/// # Errors
/// INVALID_VNC_TOKEN, VNC_TOKEN_VM_MISMATCH, VNC_TOKEN_REPLAYED, VM_NOT_FOUND, FORBIDDEN, VM_NOT_RUNNING.
pub async fn inspect(platform: &Platform, visitor: &Visitor<'_>) -> Result<(), UseCaseError> {
    let guest = admit(platform, visitor).await?;
    let token = platform.read.get_console_token(guest.claims.jti).await?;
    let is_unused = token.is_some_and(|token| token.used_at.is_none() && token.revoked_at.is_none());
    if is_unused {
        return Ok(());
    }
    let denial = Denial::replayed(visitor.vm);
    Err(refuse(platform, &guest.claims, &guest.context, denial).await)
}

/// Everything that is asked of a visitor except that the token was not used before.
///
/// # Errors
/// As [`inspect`], without VNC_TOKEN_REPLAYED.
pub async fn admit(platform: &Platform, visitor: &Visitor<'_>) -> Result<Guest, UseCaseError> {
    let claims = match visitor.token {
        Some(token) => token::open(platform, token).await?,
        None => None,
    };
    let Some(claims) = claims else {
        tracing::info!(vm_id = %visitor.vm, has_token = visitor.token.is_some(), "a console was refused without a token of ours");
        return Err(Problem::new(ErrorCode::InvalidVncToken).into());
    };
    let mut context = visitor.marks.context(ActorId::user(claims.sub), None);
    match examine(platform, visitor, &claims, &mut context).await {
        Ok((vm, grant)) => Ok(Guest {
            marks: visitor.marks.clone(),
            claims,
            context,
            vm,
            grant,
        }),
        Err(Closed::Failed(error)) => Err(error),
        Err(Closed::Denied(denial)) => {
            if denial.reason == Reason::Expired && is_spent(platform, &claims).await? {
                tracing::info!(vm_id = %visitor.vm, jti = %claims.jti, "a console was refused for a token of the past");
                return Err(denial.problem.into());
            }
            Err(refuse(platform, &claims, &context, denial).await)
        }
    }
}

/// Whether a token that has expired was used or revoked before, or has expired long ago. Whoever keeps such a token
/// could have rows written with it for ever.
async fn is_spent(platform: &Platform, claims: &Claims) -> Result<bool, UseCaseError> {
    if claims.is_long_past(platform.now()) {
        return Ok(true);
    }
    let token = platform.read.get_console_token(claims.jti).await?;
    Ok(token.is_none_or(|token| token.used_at.is_some() || token.revoked_at.is_some()))
}

async fn examine(
    platform: &Platform,
    visitor: &Visitor<'_>,
    claims: &Claims,
    context: &mut RequestContext,
) -> Result<(VmRecord, GrantRecord), Closed> {
    let now = platform.now();
    let person = person(platform, claims.sid, claims.sub, visitor.marks, now).await;
    if let Ok(caller) = &person {
        *context = caller.context.clone();
    }
    if !claims.is_for_consoles() {
        return Err(Denial::invalid(Reason::WrongAudience).into());
    }
    if claims.vm_id != visitor.vm {
        return Err(Closed::Denied(Denial {
            reason: Reason::VmMismatch,
            problem: Problem::new(ErrorCode::VncTokenVmMismatch).with("vm_id", visitor.vm.to_string()),
        }));
    }
    if !claims.is_timely(now) {
        return Err(Denial::invalid(Reason::Expired).into());
    }
    let caller = person?;
    if visitor.bearer.is_some_and(|bearer| bearer != claims.sub) {
        return Err(Denial::invalid(Reason::ForeignSession).into());
    }
    let vm = allowed(platform, &caller, claims.vm_id).await?;
    let grant = platform.read.get_console_grant(claims.grant_id).await?;
    let Some(grant) = grant.filter(|grant| grant.is_live(now)) else {
        return Err(Denial::invalid(Reason::GrantEnded).into());
    };
    require_running(&vm).map_err(|problem| Denial {
        reason: Reason::VmNotRunning,
        problem,
    })?;
    Ok((vm, grant))
}

/// The person of a session that is live, with the rights of now; by the rules of every other request.
pub(super) async fn person(
    platform: &Platform,
    session: SessionId,
    user: UserId,
    marks: &RequestMarks,
    now: DateTime<Utc>,
) -> Result<Caller, Closed> {
    let state = platform.read.session_state(session).await?;
    let Some(state) = state else {
        return Err(Denial::invalid(Reason::SessionEnded).into());
    };
    if state.user_id != user {
        return Err(Denial::invalid(Reason::ForeignSession).into());
    }
    if !state.user_enabled {
        return Err(Denial::invalid(Reason::UserDisabled).into());
    }
    let idle = TimeDelta::from_std(platform.settings().session.idle_timeout).unwrap_or(TimeDelta::MAX);
    if state.revoked || state.expires_at <= now || now - state.last_seen_at > idle {
        return Err(Denial::invalid(Reason::SessionEnded).into());
    }
    if state.force_password_change {
        return Err(Closed::Denied(Denial {
            reason: Reason::PasswordChangeRequired,
            problem: Problem::new(ErrorCode::PasswordChangeRequired),
        }));
    }
    let subject = platform
        .subjects
        .resolve(&*platform.read, user, state.epoch, now)
        .await?;
    let name = state.display_name.unwrap_or_else(|| state.username.clone());
    Ok(Caller {
        subject,
        session,
        username: state.username,
        force_password_change: state.force_password_change,
        context: marks.context(ActorId::user(user), Some(name)),
    })
}

/// The machine, if the person may open its console now.
pub(super) async fn allowed(platform: &Platform, caller: &Caller, id: VmId) -> Result<VmRecord, Closed> {
    let lost = |problem: Problem| Denial {
        reason: Reason::PermissionLost,
        problem,
    };
    let vm = platform.read.get_vm(id).await?;
    let vm = vm.ok_or_else(|| lost(Problem::not_found(ErrorCode::VmNotFound, id)))?;
    let object = Guarded {
        not_found: ErrorCode::VmNotFound,
        id: &id,
        read: Permission::VmRead,
    };
    authorization::require_vm(
        caller,
        Permission::VncAccess,
        ResourceAction::Operate,
        vm.system_id,
        vm.environment,
        &vm.created_by,
        object,
    )
    .map_err(lost)?;
    Ok(vm)
}

/// Writes a refusal down, outside of whatever was refused, and answers what the visitor is told.
pub(super) async fn refuse(
    platform: &Platform,
    claims: &Claims,
    context: &RequestContext,
    denial: Denial,
) -> UseCaseError {
    match write_down(platform, claims, context, denial.reason).await {
        Ok(()) => {
            metrics::console_token(ConsoleTokenResult::Refused);
            denial.problem.into()
        }
        Err(error) => error,
    }
}

async fn write_down(
    platform: &Platform,
    claims: &Claims,
    context: &RequestContext,
    reason: Reason,
) -> Result<(), UseCaseError> {
    let now = platform.now();
    let environment = platform.read.get_vm(claims.vm_id).await?.map(|vm| vm.environment);
    let details = json!({"jti": claims.jti, "reason": <&'static str>::from(reason)});
    let mut entry = AuditEntry::new(AuditAction::VncAccessDenied, "vm", claims.vm_id)
        .named(claims.name.as_str())
        .details(details.clone())
        .failed();
    if let Some(environment) = environment {
        entry = entry.environment(environment);
    }
    let mut uow = platform.begin().await?;
    uow.events()
        .insert(NewEvent {
            id: platform.ids.id(),
            event_type: EventType::VncAccessDenied,
            aggregate_type: AggregateType::Vm,
            aggregate_id: claims.vm_id.to_string(),
            payload: details,
            status: EventStatus::Completed,
            causation_id: None,
            environment,
            created_by: context.actor.clone(),
            at: now,
            trace_id: context.request_id.clone(),
            trace_parent: None,
        })
        .await?;
    platform.audit(&mut *uow, context, now, [entry]).await?;
    Ok(uow.commit().await?)
}
