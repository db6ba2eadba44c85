//! Somebody asks for something to be done to an existing machine: the one way for all such requests.
//!
//! What the matrix leaves to an approver waits; what it approves by itself is approved, effects and job included, in
//! the transaction of the submission (requests.md §3).

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::audit::AuditEntry;
use shepherd_domain::event::{AggregateType, EventStatus};
use shepherd_domain::policy::{Decision, default_decision};
use shepherd_domain::spec::{CloneTarget, MigrationTarget, OperationPayload, SnapshotTarget};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, RequestType, TicketStatus};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::tickets::{Named, NewTicket, ServiceFacts};
use shepherd_ports::vms::VmRecord;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::submission::{self, Waiting};
use super::{Submitted, SubmittedStatus};
use crate::approval::decide::{self, Approval};
use crate::execution::{Operation, Operations, Placed, existing};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// What is asked for. Whether the caller may ask is known already.
#[derive(Clone, Debug)]
pub(crate) struct RequestOperation {
    /// The kind.
    pub(crate) request: RequestType,
    /// Why, at most 1024 characters.
    pub(crate) reason: Option<String>,
    /// The snapshot it is about.
    pub(crate) snapshot: Option<SnapshotTarget>,
    /// The clone, and the Service that it is for.
    pub(crate) clone: Option<(CloneTarget, ServiceFacts)>,
    /// The migration.
    pub(crate) migration: Option<MigrationTarget>,
}

impl RequestOperation {
    /// A request that is about the machine alone.
    pub(crate) fn new(request: RequestType, reason: Option<String>) -> Self {
        Self {
            request,
            reason,
            snapshot: None,
            clone: None,
            migration: None,
        }
    }
}

/// Submits the request.
///
/// # Errors
/// VALIDATION_FAILED; then as [`existing::check`]; SNAPSHOT_NAME_EXISTS; DUPLICATE_PENDING_REQUEST.
pub(crate) async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    vm: &VmRecord,
    command: RequestOperation,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    let reason = submission::optional_reason(command.reason.clone())?;
    let payload = OperationPayload {
        schema: 1,
        vm_id: vm.id,
        vm_name: vm.name.clone(),
        namespace: vm.namespace.clone(),
        requester: caller.subject.user(),
        reason,
        snapshot: command.snapshot.clone(),
        clone: command.clone.as_ref().map(|(target, _)| target.clone()),
        migration: command.migration.clone(),
    };
    let placed = existing::check(platform, command.request, vm, payload.clone()).await?;
    let submission = Submission {
        platform,
        operation: operations.of_request(command.request)?,
        caller,
        vm,
        service: command.clone.as_ref().map(|(_, service)| service),
        payload,
        placed,
    };
    submission.submit(request).await
}

/// A request that passed its checks.
struct Submission<'a> {
    platform: &'a Platform,
    operation: &'a dyn Operation,
    caller: &'a Caller,
    vm: &'a VmRecord,
    /// The Service of a clone.
    service: Option<&'a ServiceFacts>,
    payload: OperationPayload,
    placed: Placed,
}

impl Submission<'_> {
    async fn submit(&self, request: Option<&IdempotentRequest>) -> Result<Answer<Submitted>, UseCaseError> {
        let (platform, vm) = (self.platform, self.vm);
        let now = platform.now();
        let decision = default_decision(self.operation.request_type(), vm.environment);
        let submitted = Submitted {
            event_id: platform.ids.id(),
            ticket_id: platform.ids.id(),
            status: match decision {
                Decision::RequiresApproval => SubmittedStatus::PendingApproval,
                Decision::AutoApproved => SubmittedStatus::Processing,
            },
            warnings: self.placed.warnings.clone(),
        };
        let event = self.event(&submitted, now)?;
        let ticket = self.ticket(&submitted, now);
        let steps = submission::submission_steps(self.caller);
        let steps = match decision {
            Decision::RequiresApproval => &steps[..],
            Decision::AutoApproved => &steps[..1],
        };

        let mut uow = platform.begin().await?;
        if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
            return Ok(answer);
        }
        uow.events().insert(event).await?;
        let number = match uow.tickets().insert(&ticket, steps).await {
            Ok(number) => number,
            Err(error) if error.is_unique("uq_ticket_active_vm_op") => {
                drop(uow);
                return Err(self.duplicate().await?);
            }
            Err(error) => return Err(error.into()),
        };
        let entry = AuditEntry::new(self.operation.submission_audit(), "vm", vm.id)
            .named(&vm.name)
            .ticket(submitted.ticket_id)
            .environment(vm.environment)
            .details(json!({
                "ticket_number": number, "snapshot": self.payload.snapshot, "clone": self.payload.clone,
                "migration": self.payload.migration,
            }));
        platform.audit(&mut *uow, &self.caller.context, now, [entry]).await?;
        match decision {
            Decision::RequiresApproval => self.tell_approvers(&mut *uow, &submitted, &number, now).await?,
            Decision::AutoApproved => self.approve(&mut *uow, &submitted, now).await?,
        }
        idempotency::store(platform, &mut *uow, request, &submitted).await?;
        uow.commit().await?;
        Ok(Answer::fresh(submitted))
    }

    fn event(&self, submitted: &Submitted, now: DateTime<Utc>) -> Result<NewEvent, UseCaseError> {
        Ok(NewEvent {
            id: submitted.event_id,
            event_type: self.operation.requested(),
            aggregate_type: AggregateType::Vm,
            aggregate_id: self.vm.id.to_string(),
            payload: submission::stored_payload(&self.payload)?,
            status: match submitted.status {
                SubmittedStatus::PendingApproval => EventStatus::Pending,
                SubmittedStatus::Processing => EventStatus::Processing,
            },
            causation_id: None,
            environment: Some(self.vm.environment),
            created_by: self.caller.context.actor.clone(),
            at: now,
            trace_id: self.caller.context.request_id.clone(),
        })
    }

    fn ticket(&self, submitted: &Submitted, now: DateTime<Utc>) -> NewTicket {
        let vm = self.vm;
        let mut context = submission::context_of(self.caller, vm);
        if let Some(service) = self.service {
            context.system = Some(Named {
                id: service.system_id.to_string(),
                name: service.system_name.clone(),
            });
            context.service = Some(Named {
                id: service.id.to_string(),
                name: service.name.clone(),
            });
        }
        NewTicket {
            id: submitted.ticket_id,
            event_id: submitted.event_id,
            request_type: self.operation.request_type(),
            status: match submitted.status {
                SubmittedStatus::PendingApproval => TicketStatus::PendingApproval,
                // Left again before the transaction ends.
                SubmittedStatus::Processing => TicketStatus::Submitted,
            },
            environment: vm.environment,
            requester: self.caller.subject.user(),
            reason: self.payload.reason.clone(),
            system_id: Some(self.service.map_or(vm.system_id, |service| service.system_id)),
            service_id: Some(self.service.map_or(vm.service_id, |service| service.id)),
            vm_id: Some(vm.id),
            template_id: None,
            instance_size_id: None,
            namespace: Some(vm.namespace.clone()),
            context,
            at: now,
        }
    }

    async fn tell_approvers(
        &self,
        uow: &mut dyn UnitOfWork,
        submitted: &Submitted,
        number: &str,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let operation = self.operation.request_type().operation_type();
        let message = format!("{} asks for {operation} of {}.", self.caller.username, self.vm.name);
        let waiting = Waiting {
            ticket: submitted.ticket_id,
            number,
            operation,
            environment: self.vm.environment,
            message: &message,
        };
        submission::tell_approvers(self.platform, uow, self.caller, waiting, now).await
    }

    /// The policy approves.
    async fn approve(
        &self,
        uow: &mut dyn UnitOfWork,
        submitted: &Submitted,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let found = uow.tickets().find(submitted.ticket_id).await?;
        let ticket = found.ok_or(UseCaseError::Broken("a ticket that was inserted is not there"))?;
        let policy = RequestContext {
            actor: ActorId::from_stored(ActorId::POLICY.to_owned()),
            actor_name: None,
            ..self.caller.context.clone()
        };
        let approval = Approval {
            context: &policy,
            decided_by: DecidedByKind::Policy,
            kind: ActorKind::Policy,
            comment: None,
            step: TicketStatus::Submitted
                .auto_approve()
                .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?,
        };
        if decide::apply(
            self.platform,
            uow,
            self.operation,
            &ticket,
            &self.placed,
            &approval,
            now,
        )
        .await?
        {
            Ok(())
        } else {
            Err(UseCaseError::Broken(
                "a ticket moved before anybody else could know of it",
            ))
        }
    }

    async fn duplicate(&self) -> Result<UseCaseError, UseCaseError> {
        let request = self.operation.request_type();
        let existing = self
            .platform
            .read
            .open_vm_operation(self.vm.id, request.operation_group())
            .await?;
        let operation = request.operation_type();
        let problem = submission::duplicate_problem(existing, operation, &self.vm.id.to_string(), &self.vm.namespace);
        Ok(problem.into())
    }
}
