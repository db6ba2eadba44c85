//! What every submission writes, whatever is asked for: event, ticket, and the news to its approvers.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Params, Problem};
use shepherd_domain::ticket::{ActorKind, RequestType, TicketStatus};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::{ExistingTicket, Named, NamedUser, NamedVm, NewStep, TicketContext};
use shepherd_ports::vms::VmRecord;

use super::request::MAX_REASON;
use crate::{Platform, UseCaseError};

/// A reason that may be absent, without the space around it.
///
/// # Errors
/// VALIDATION_FAILED when it is longer than 1024 characters.
pub(crate) fn optional_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let reason = reason
        .map(|reason| reason.trim().to_owned())
        .filter(|reason| !reason.is_empty());
    match &reason {
        Some(given) if given.chars().count() > MAX_REASON => Err(Problem::invalid(vec![
            FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON),
        ])),
        Some(_) | None => Ok(reason),
    }
}

/// A payload as it is stored.
pub(crate) fn stored_payload(payload: &impl Serialize) -> Result<Value, UseCaseError> {
    serde_json::to_value(payload).map_err(|source| UseCaseError::Stored {
        what: "payload",
        source,
    })
}

/// The first step of every history.
pub(crate) fn submitted(caller: &Caller) -> NewStep {
    NewStep {
        from: None,
        to: TicketStatus::Submitted,
        actor: caller.context.actor.clone(),
        kind: ActorKind::User,
        reason: None,
    }
}

/// The first two steps of a history whose ticket waits for an approver.
pub(crate) fn submission_steps(caller: &Caller) -> [NewStep; 2] {
    [
        submitted(caller),
        NewStep {
            from: Some(TicketStatus::Submitted),
            to: TicketStatus::PendingApproval,
            actor: ActorId::system("policy"),
            kind: ActorKind::System,
            reason: None,
        },
    ]
}

/// Who asks, in a context.
pub(crate) fn requester(caller: &Caller) -> NamedUser {
    NamedUser {
        id: caller.subject.user(),
        username: caller.username.clone(),
        display_name: caller.context.actor_name.clone(),
    }
}

/// Names and numbers of a request about an existing machine.
pub(crate) fn context_of(caller: &Caller, vm: &VmRecord) -> TicketContext {
    TicketContext {
        requester: Some(requester(caller)),
        system: Some(Named {
            id: vm.system_id.to_string(),
            name: vm.system_name.clone(),
        }),
        service: Some(Named {
            id: vm.service_id.to_string(),
            name: vm.service_name.clone(),
        }),
        namespace: Some(vm.namespace.clone()),
        environment: Some(vm.environment),
        vm: Some(NamedVm {
            id: vm.id,
            name: vm.name.clone(),
            status: vm.status,
        }),
        cpu_cores: vm.cpu_cores,
        memory_mb: vm.memory_mb,
        disk_gb: vm.disk_gb,
        ..TicketContext::default()
    }
}

/// A ticket that waits, as its approvers hear of it.
pub(crate) struct Waiting<'a> {
    pub(crate) ticket: shepherd_domain::ids::TicketId,
    pub(crate) number: &'a str,
    pub(crate) operation: &'static str,
    pub(crate) environment: Environment,
    pub(crate) message: &'a str,
}

/// Tells those who may decide, as the ticket says that is in this transaction; the requester only when the own request
/// may be decided.
pub(crate) async fn tell_approvers(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    waiting: Waiting<'_>,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let Waiting {
        ticket,
        number,
        operation,
        environment,
        message,
    } = waiting;
    let requester = caller.subject.user();
    let audience = Audience::EligibleApprovers {
        ticket,
        except: (!platform.settings().self_approval.permits(environment)).then_some(requester),
    };
    let title = format!("{number} waits for a decision");
    let draft = NotificationDraft::new(NotificationType::ApprovalPending, Severity::Info, &title, message)
        .about("approval_ticket", ticket)
        .params(json!({
            "ticket_number": number, "operation": operation, "environment": environment, "requester": caller.username,
        }));
    Ok(platform
        .notifications
        .send(uow.notifications(), audience, draft, now)
        .await?)
}

/// DUPLICATE_PENDING_REQUEST about an operation on a machine.
pub(crate) async fn duplicate_operation(
    platform: &Platform,
    vm: &VmRecord,
    request: RequestType,
) -> Result<Problem, UseCaseError> {
    let open = platform.read.open_vm_operation(vm.id, request.operation_group());
    let (id, namespace) = (vm.id.to_string(), &vm.namespace);
    Ok(duplicate_problem(open.await?, request.operation_type(), &id, namespace))
}

/// DUPLICATE_PENDING_REQUEST, naming the ticket in the way unless it was settled in the meantime.
pub(crate) fn duplicate_problem(
    existing: Option<ExistingTicket>,
    operation: &str,
    resource_id: &str,
    namespace: &str,
) -> Problem {
    let mut params = Params::new();
    if let Some(existing) = existing {
        params.insert("existing_ticket_id".to_owned(), existing.id.to_string().into());
        params.insert("existing_ticket_number".to_owned(), existing.number.into());
    }
    Problem {
        params,
        ..Problem::new(ErrorCode::DuplicatePendingRequest)
    }
    .with("operation", operation)
    .with("resource_id", resource_id)
    .with("namespace", namespace)
}
