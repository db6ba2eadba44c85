//! What every submission writes in its one transaction, whatever is asked for (requests.md §3).
//!
//! A request that its rule approves is placed first, as an approver would place it, and then approved in the
//! transaction that files it, effects and job included. One that cannot be placed, or that the transaction finds
//! changed since, waits for an approver instead.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use shepherd_domain::audit::AuditEntry;
use shepherd_domain::event::{AggregateType, EventStatus};
use shepherd_domain::ids::{EventId, InstanceSizeId, ServiceId, SystemId, TemplateId, TicketId, VmId};
use shepherd_domain::policy::{Decision, Rule};
use shepherd_domain::problem::{Problem, Warning};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, TicketStatus, ticket_number};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::tickets::{NewTicket, TicketContext, TicketRecord};
use shepherd_ports::{RepositoryError, RequestContext, UnitOfWork};

use super::submission::{self, Waiting};
use super::{Submitted, SubmittedStatus};
use crate::approval::approve::Choice;
use crate::approval::decide::{self, Approval};
use crate::execution::{Operation, Placed};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError, external_approval};

/// What a ticket says of the request, beside who asks and what the rule is.
pub(super) struct Described {
    pub(super) environment: Environment,
    pub(super) reason: Option<String>,
    pub(super) system_id: SystemId,
    pub(super) service_id: ServiceId,
    pub(super) vm_id: Option<VmId>,
    pub(super) template_id: Option<TemplateId>,
    pub(super) instance_size_id: Option<InstanceSizeId>,
    pub(super) namespace: String,
    pub(super) context: TicketContext,
}

/// A request that passed its checks.
#[async_trait]
pub(super) trait Request: Send + Sync {
    /// The payload of its event.
    fn payload(&self) -> Result<Value, UseCaseError>;
    /// What its event is about.
    fn aggregate(&self) -> (AggregateType, String);
    /// What its ticket says.
    fn described(&self) -> Described;
    /// Keeps what it refers to as it is until the transaction ends.
    async fn hold(&self, _uow: &mut dyn UnitOfWork) -> Result<(), UseCaseError> {
        Ok(())
    }
    /// The audit row of its submission.
    fn audit(&self, number: &str, ticket: TicketId) -> AuditEntry;
    /// What its approvers are told.
    fn message(&self) -> String;
    /// The guard that an equal open request breaks.
    fn guard(&self) -> &'static str {
        "uq_ticket_active_vm_op"
    }
    /// The refusal because of that one.
    async fn duplicate(&self) -> Result<Problem, UseCaseError>;
    /// Whether it waits when it could not be approved at once; else the refusal is the answer.
    fn waits_instead(&self) -> bool {
        true
    }
}

/// A request on its way into the books.
pub(super) struct Filing<'a> {
    pub(super) platform: &'a Platform,
    pub(super) operation: &'a dyn Operation,
    pub(super) caller: &'a Caller,
    pub(super) asked: &'a dyn Request,
    /// What happens to it.
    pub(super) rule: Rule,
    /// Findings that did not stop it.
    pub(super) warnings: Vec<Warning>,
}

/// What came of the transaction.
enum Filed {
    Done(Answer<Submitted>),
    /// The approval was refused, and nothing was kept.
    NotApproved(Problem),
}

impl Filing<'_> {
    /// Files the request. What the rule approves goes to the cluster that was picked for it, if any.
    ///
    /// # Errors
    /// What the request refuses by itself; IDEMPOTENCY_*.
    pub(super) async fn place_and_submit(
        self,
        choice: Option<Choice>,
        request: Option<&IdempotentRequest>,
    ) -> Result<Answer<Submitted>, UseCaseError> {
        let placed = match (self.rule.decision, choice) {
            (Decision::AutoApproved, Some(choice)) => self.place(&choice).await?,
            (Decision::AutoApproved, None) | (Decision::RequiresApproval, _) => None,
        };
        self.submit(placed.as_ref(), request).await
    }

    /// The same for a request that was placed already; without a place it waits.
    ///
    /// # Errors
    /// As [`Self::place_and_submit`].
    pub(super) async fn submit(
        self,
        placed: Option<&Placed>,
        request: Option<&IdempotentRequest>,
    ) -> Result<Answer<Submitted>, UseCaseError> {
        let approvable = placed.filter(|_| self.rule.decision == Decision::AutoApproved);
        match self.file(approvable, request).await? {
            Filed::Done(answer) => Ok(answer),
            Filed::NotApproved(problem) if !self.asked.waits_instead() => Err(problem.into()),
            Filed::NotApproved(problem) => {
                tracing::info!(code = %problem.code, "a request changed while it was approved by its policy; it waits");
                match self.file(None, request).await? {
                    Filed::Done(answer) => Ok(answer),
                    Filed::NotApproved(problem) => Err(problem.into()),
                }
            }
        }
    }

    /// Where it goes; nowhere when a finding blocks it.
    async fn place(&self, choice: &Choice) -> Result<Option<Placed>, UseCaseError> {
        let ids = (self.platform.ids.id(), self.platform.ids.id());
        let ticket = provisional(
            self.ticket(ids, TicketStatus::Submitted, self.platform.now()),
            self.caller,
        );
        let payload = self.asked.payload()?;
        match self.operation.place(self.platform, &ticket, &payload, choice).await {
            Ok(placed) => Ok(Some(placed)),
            Err(UseCaseError::Problem(problem)) => {
                tracing::info!(code = %problem.code, "a request cannot be approved by its policy; it waits");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn file(&self, placed: Option<&Placed>, request: Option<&IdempotentRequest>) -> Result<Filed, UseCaseError> {
        let platform = self.platform;
        let now = platform.now();
        let submitted = self.submitted(placed);
        let event = self.event(&submitted, now)?;
        let status = match submitted.status {
            SubmittedStatus::PendingApproval => TicketStatus::PendingApproval,
            // Left again before the transaction ends.
            SubmittedStatus::Processing => TicketStatus::Submitted,
        };
        let ticket = self.ticket((submitted.event_id, submitted.ticket_id), status, now);
        let steps = submission::submission_steps(self.caller);
        let steps = if placed.is_some() { &steps[..1] } else { &steps[..] };

        let mut uow = platform.begin().await?;
        if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
            return Ok(Filed::Done(answer));
        }
        self.asked.hold(&mut *uow).await?;
        uow.events().insert(event).await?;
        let number = match uow.tickets().insert(&ticket, steps).await {
            Ok(number) => number,
            Err(error) if error.is_unique(self.asked.guard()) => {
                drop(uow);
                return Err(self.asked.duplicate().await?.into());
            }
            Err(error) => return Err(error.into()),
        };
        let entry = self.asked.audit(&number, ticket.id).ticket(ticket.id);
        let entry = entry.environment(ticket.environment);
        platform.audit(&mut *uow, &self.caller.context, now, [entry]).await?;
        match placed {
            None => self.wait(&mut *uow, &ticket, &number, now).await?,
            Some(placed) => match self.approve(&mut *uow, ticket.id, placed, now).await {
                Err(UseCaseError::Problem(problem)) => return Ok(Filed::NotApproved(problem)),
                outcome => outcome?,
            },
        }
        idempotency::store(platform, &mut *uow, request, &submitted).await?;
        uow.commit().await?;
        Ok(Filed::Done(Answer::fresh(submitted)))
    }

    fn submitted(&self, placed: Option<&Placed>) -> Submitted {
        let status = match placed {
            Some(_) => SubmittedStatus::Processing,
            None => SubmittedStatus::PendingApproval,
        };
        Submitted {
            event_id: self.platform.ids.id(),
            ticket_id: self.platform.ids.id(),
            status,
            warnings: self.warnings.clone(),
        }
    }

    fn event(&self, submitted: &Submitted, now: DateTime<Utc>) -> Result<NewEvent, UseCaseError> {
        let (aggregate_type, aggregate_id) = self.asked.aggregate();
        Ok(NewEvent {
            id: submitted.event_id,
            event_type: self.operation.requested(),
            aggregate_type,
            aggregate_id,
            payload: self.asked.payload()?,
            status: match submitted.status {
                SubmittedStatus::PendingApproval => EventStatus::Pending,
                SubmittedStatus::Processing => EventStatus::Processing,
            },
            causation_id: None,
            environment: Some(self.asked.described().environment),
            created_by: self.caller.context.actor.clone(),
            at: now,
            trace_id: self.caller.context.request_id.clone(),
            trace_parent: self.platform.traces.current(),
        })
    }

    fn ticket(&self, (event, id): (EventId, TicketId), status: TicketStatus, now: DateTime<Utc>) -> NewTicket {
        let described = self.asked.described();
        NewTicket {
            id,
            event_id: event,
            request_type: self.operation.request_type(),
            status,
            environment: described.environment,
            requester: self.caller.subject.user(),
            reason: described.reason,
            system_id: Some(described.system_id),
            service_id: Some(described.service_id),
            vm_id: described.vm_id,
            template_id: described.template_id,
            instance_size_id: described.instance_size_id,
            namespace: Some(described.namespace),
            context: described.context,
            policy: self.rule.policy,
            approvers: self.rule.approvers.clone(),
            external_system: self.rule.external_system,
            parent: None,
            at: now,
        }
    }

    /// Its approvers hear of it, and so does the external system that the rule names.
    async fn wait(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &NewTicket,
        number: &str,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        self.hand_over(uow, ticket, now).await?;
        let message = self.asked.message();
        let waiting = Waiting {
            ticket: ticket.id,
            number,
            operation: ticket.request_type.operation_type(),
            environment: ticket.environment,
            message: &message,
        };
        submission::tell_approvers(self.platform, uow, self.caller, waiting, now).await
    }

    async fn hand_over(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &NewTicket,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        match ticket.external_system {
            Some(system) if self.platform.settings().features.external_approval => {
                external_approval::queue(uow, ticket.id, system, now).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The policy approves.
    async fn approve(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: TicketId,
        placed: &Placed,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let found = uow.tickets().find(ticket).await?;
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
        if decide::apply(self.platform, uow, self.operation, &ticket, placed, &approval, now).await? {
            Ok(())
        } else {
            Err(UseCaseError::Broken(
                "a ticket moved before anybody else could know of it",
            ))
        }
    }
}

/// The ticket as the operation will see it, before there is one: it can be placed, and has no number.
pub(crate) fn provisional(ticket: NewTicket, caller: &Caller) -> TicketRecord {
    TicketRecord {
        id: ticket.id,
        number: ticket_number(0),
        event_id: ticket.event_id,
        request_type: ticket.request_type,
        status: ticket.status,
        environment: ticket.environment,
        requester_id: ticket.requester.into(),
        requester_name: caller.context.actor_name.clone(),
        reason: ticket.reason,
        system_id: ticket.system_id,
        service_id: ticket.service_id,
        vm_id: ticket.vm_id,
        template_id: ticket.template_id,
        instance_size_id: ticket.instance_size_id,
        namespace: ticket.namespace,
        context_snapshot: ticket.context,
        approver_id: None,
        decided_at: None,
        decided_by_kind: None,
        decision_comment: None,
        reject_reason: None,
        selected_cluster_id: None,
        selected_template_version: None,
        selected_storage_class: None,
        template_snapshot: None,
        instance_size_snapshot: None,
        modified_spec: None,
        modification_reason: None,
        modified_at: None,
        policy_id: ticket.policy,
        eligible_approvers: ticket.approvers,
        external_system_id: ticket.external_system,
        attempt_count: 0,
        retry_count: 0,
        last_attempt_at: None,
        next_attempt_at: None,
        unavailable_since: None,
        error_code: None,
        error_params: None,
        last_error: None,
        row_version: 1,
        created_at: ticket.at,
        parent_ticket_id: ticket.parent.map(|(parent, _)| parent),
        sequence_no: ticket.parent.map(|(_, number)| number),
    }
}
