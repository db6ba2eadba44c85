//! Giving the right to open a console for a while.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{UserId, VmId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::consoles::{GrantRecord, NewGrant};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::VmRecord;
use shepherd_ports::{RequestContext, UnitOfWork};

use crate::{Platform, UseCaseError};

/// Who gets access to what.
pub(super) struct Granting<'a> {
    pub(super) vm: VmId,
    pub(super) user: UserId,
    pub(super) environment: Environment,
    /// The approved request; none for a direct grant.
    pub(super) ticket: Option<&'a TicketRecord>,
    /// Who gives it.
    pub(super) by: &'a RequestContext,
}

/// Gives access without a ticket. Of several requests of a person at the same time one makes the grant, and the others
/// answer with it.
///
/// # Errors
/// NAMESPACE_NOT_REGISTERED.
pub(super) async fn direct(
    platform: &Platform,
    caller: &Caller,
    vm: &VmRecord,
    reason: Option<&str>,
) -> Result<GrantRecord, UseCaseError> {
    let now = platform.now();
    let user = caller.subject.user();
    let mut uow = platform.begin().await?;
    uow.consoles().hold(vm.id, user).await?;
    if let Some(live) = uow.consoles().live(vm.id, user, now).await? {
        return Ok(live);
    }
    require_registered(&mut *uow, vm).await?;
    let granting = Granting {
        vm: vm.id,
        user,
        environment: vm.environment,
        ticket: None,
        by: &caller.context,
    };
    let grant = give(platform, &mut *uow, &granting, now).await?;
    let entry = AuditEntry::new(AuditAction::VncRequestSubmitted, "vm", vm.id)
        .named(&vm.name)
        .environment(vm.environment)
        .details(json!({"grant_id": grant.id, "expires_at": grant.expires_at, "direct": true, "reason": reason}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(grant)
}

/// The grant with its fact.
///
/// # Errors
/// When the store fails.
pub(super) async fn give(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    granting: &Granting<'_>,
    now: DateTime<Utc>,
) -> Result<GrantRecord, UseCaseError> {
    let lasts = TimeDelta::from_std(platform.settings().console.grant_ttl)
        .map_err(|_| UseCaseError::Broken("console.grant_ttl is longer than time"))?;
    let grant = NewGrant {
        id: platform.ids.id(),
        vm_id: granting.vm,
        user_id: granting.user,
        environment: granting.environment,
        ticket_id: granting.ticket.map(|ticket| ticket.id),
        granted_by: granting.by.actor.clone(),
        granted_at: now,
        expires_at: now + lasts,
    };
    uow.consoles().insert(&grant).await?;
    let fact = NewEvent {
        id: platform.ids.id(),
        event_type: EventType::VncAccessGranted,
        aggregate_type: AggregateType::Vm,
        aggregate_id: granting.vm.to_string(),
        payload: json!({
            "grant_id": grant.id, "user_id": grant.user_id, "ticket_id": grant.ticket_id,
            "expires_at": grant.expires_at,
        }),
        status: EventStatus::Completed,
        causation_id: granting.ticket.map(|ticket| ticket.event_id),
        environment: Some(granting.environment),
        created_by: granting.by.actor.clone(),
        at: now,
        trace_id: granting.by.request_id.clone(),
        trace_parent: None,
    };
    uow.events().insert(fact).await?;
    Ok(GrantRecord {
        id: grant.id,
        vm_id: grant.vm_id,
        user_id: grant.user_id,
        environment: grant.environment,
        ticket_id: grant.ticket_id,
        granted_by: grant.granted_by,
        granted_at: grant.granted_at,
        expires_at: grant.expires_at,
        revoked_at: None,
        revoked_by: None,
    })
}

/// NAMESPACE_NOT_REGISTERED unless the namespace of the machine is in the registry; it stays there until the
/// transaction ends. A disabled one takes no new machines, which a console is not.
pub(crate) async fn require_registered(uow: &mut dyn UnitOfWork, vm: &VmRecord) -> Result<(), UseCaseError> {
    match uow.namespaces().hold(&vm.namespace).await? {
        Some(_) => Ok(()),
        None => Err(Problem::new(ErrorCode::NamespaceNotRegistered)
            .with("namespace", vm.namespace.as_str())
            .into()),
    }
}
