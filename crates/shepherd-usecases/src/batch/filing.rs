//! What the submission of a batch writes in its one transaction.
//!
//! What the rule approves is placed before, as an approver would place it, and approved in that transaction, with the
//! jobs of all children. New machines that cannot be placed, or that changed meanwhile, wait for an approver instead.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::batch::{BatchKind, BatchStatus};
use shepherd_domain::event::EventStatus;
use shepherd_domain::policy::{Decision, Rule};
use shepherd_domain::problem::Problem;
use shepherd_domain::ticket::{ActorKind, DecidedByKind, TicketStatus};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::batches::REQUEST_ID_GUARD;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::approve::{self, PlacedChild};
use super::items::Child;
use super::placement;
use super::rows::Ids;
use super::submit::{SubmittedBatch, Wanted, reused};
use super::{create, existing};
use crate::approval::decide::Approval;
use crate::execution::{Operations, Placed};
use crate::idempotency::{self, Answer};
use crate::vm::submission::{self, Waiting};
use crate::{Platform, UseCaseError, external_approval, limit};

/// The index that lets a machine have one open ticket of a group.
const OPEN_OPERATION_GUARD: &str = "uq_ticket_active_vm_op";

/// A batch on its way into the books.
pub(super) struct Filing<'a> {
    pub(super) platform: &'a Platform,
    pub(super) operations: &'a Operations,
    pub(super) caller: &'a Caller,
    pub(super) wanted: &'a Wanted,
    /// The items, which passed their checks.
    pub(super) children: &'a [Child],
    pub(super) environment: Environment,
    /// What happens to it.
    pub(super) rule: Rule,
    /// What is said about each item, in their order.
    pub(super) rules: Vec<Rule>,
}

/// What came of the transaction.
enum Filed {
    Done(Answer<SubmittedBatch>),
    /// The approval was refused, and nothing was kept.
    NotApproved(Problem),
}

impl Filing<'_> {
    /// Files the batch.
    ///
    /// # Errors
    /// RATE_LIMIT_EXCEEDED, INVALID_BATCH_ITEMS, IDEMPOTENCY_*.
    pub(super) async fn submit(
        &self,
        request: Option<&IdempotentRequest>,
    ) -> Result<Answer<SubmittedBatch>, UseCaseError> {
        let places = match self.rule.decision {
            Decision::AutoApproved => self.places().await?,
            Decision::RequiresApproval => None,
        };
        match self.file(places.as_deref(), request).await? {
            Filed::Done(answer) => Ok(answer),
            // The state of the machines refuses it now, and nobody should have to decide about it.
            Filed::NotApproved(problem) if self.kind() == BatchKind::Power => Err(problem.into()),
            Filed::NotApproved(problem) => {
                tracing::info!(code = %problem.code, "a batch changed while it was approved by its policy; it waits");
                match self.file(None, request).await? {
                    Filed::Done(answer) => Ok(answer),
                    Filed::NotApproved(problem) => Err(problem.into()),
                }
            }
        }
    }

    /// Where the children go; nowhere when a finding blocks one of them.
    async fn places(&self) -> Result<Option<Vec<Placed>>, UseCaseError> {
        let now = self.platform.now();
        let ids = self.ids();
        let tickets = self.children.iter().zip(&self.rules).map(|(child, rule)| {
            let ticket = (self.platform.ids.id(), self.platform.ids.id());
            self.child_ticket(ids, (child, rule, 1), ticket, TicketStatus::Submitted, now)
        });
        placement::find(
            self.platform,
            self.operations,
            self.caller,
            self.children,
            tickets.collect(),
        )
        .await
    }

    pub(super) fn kind(&self) -> BatchKind {
        self.wanted.asked.kind()
    }

    fn ids(&self) -> Ids {
        Ids {
            event: self.platform.ids.id(),
            batch: self.platform.ids.id(),
        }
    }

    async fn file(
        &self,
        places: Option<&[Placed]>,
        request: Option<&IdempotentRequest>,
    ) -> Result<Filed, UseCaseError> {
        let (platform, caller) = (self.platform, self.caller);
        let ids = self.ids();
        let mut uow = platform.begin().await?;
        if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
            return Ok(Filed::Done(answer));
        }
        let batch_type = self.kind().request_type();
        limit::hold(
            platform,
            &mut *uow,
            caller.subject.user(),
            batch_type,
            self.children.len(),
        )
        .await?;
        // The time of acceptance: waiting for the lock may have taken a while.
        let now = platform.now();
        create::hold(&mut *uow, self.children).await?;
        let written = match self.write(&mut *uow, ids, places.is_some(), now).await {
            Err(UseCaseError::Repository(error)) if error.is_unique(OPEN_OPERATION_GUARD) => {
                drop(uow);
                let problem = existing::duplicates(platform, &self.wanted.asked, self.children).await?;
                return Err(problem.into());
            }
            outcome => outcome?,
        };
        self.audit(&mut *uow, ids, &written, now).await?;
        let status = match places {
            None => {
                self.wait(&mut *uow, ids, &written, now).await?;
                BatchStatus::PendingApproval
            }
            Some(places) => match self.approve(&mut *uow, ids, places, now).await {
                Err(UseCaseError::Problem(problem)) => return Ok(Filed::NotApproved(problem)),
                outcome => outcome.map(|()| BatchStatus::InProgress)?,
            },
        };
        let submitted = SubmittedBatch {
            batch_id: ids.batch,
            batch_number: written.number,
            status,
        };
        idempotency::store(platform, &mut *uow, request, &submitted).await?;
        uow.commit().await?;
        Ok(Filed::Done(Answer::fresh(submitted)))
    }

    /// Parent, batch and children with their events and histories.
    async fn write(
        &self,
        uow: &mut dyn UnitOfWork,
        ids: Ids,
        approved: bool,
        now: DateTime<Utc>,
    ) -> Result<Written, UseCaseError> {
        let (event_status, status) = if approved {
            // Left again before the transaction ends.
            (EventStatus::Processing, TicketStatus::Submitted)
        } else {
            (EventStatus::Pending, TicketStatus::PendingApproval)
        };
        let steps = submission::submission_steps(self.caller);
        let steps = if approved { &steps[..1] } else { &steps[..] };
        uow.events().insert(self.parent_event(ids, event_status, now)).await?;
        let ticket_number = uow
            .tickets()
            .insert(&self.parent_ticket(ids, status, now), steps)
            .await?;
        let number = match uow.batches().insert(&self.batch(ids, now)).await {
            Err(error) if error.is_unique(REQUEST_ID_GUARD) => return Err(self.overtaken()),
            outcome => outcome?,
        };
        let mut children = Vec::with_capacity(self.children.len());
        for ((child, rule), sequence_no) in self.children.iter().zip(&self.rules).zip(1..) {
            let ticket = (self.platform.ids.id(), self.platform.ids.id());
            children.push((
                self.child_event(ids, child, ticket.0, event_status, now)?,
                self.child_ticket(ids, (child, rule, sequence_no), ticket, status, now),
            ));
        }
        uow.batches().insert_children(&children, steps).await?;
        Ok(Written { number, ticket_number })
    }

    /// The same submission was accepted a moment ago; whoever gets this looks it up.
    fn overtaken(&self) -> UseCaseError {
        match self.wanted.request_id {
            Some(request) => reused(request).into(),
            None => UseCaseError::Broken("a batch without a request id was submitted twice"),
        }
    }

    async fn audit(
        &self,
        uow: &mut dyn UnitOfWork,
        ids: Ids,
        written: &Written,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let action = match self.kind() {
            BatchKind::Create | BatchKind::Delete => AuditAction::VmBatchSubmit,
            BatchKind::Power => AuditAction::VmBatchPowerSubmit,
        };
        let entry = AuditEntry::new(action, "batch", ids.batch)
            .named(&written.number)
            .ticket(ids.batch)
            .environment(self.environment)
            .details(json!({
                "ticket_number": written.ticket_number, "operation": self.wanted.asked.operation(),
                "child_count": self.child_count(), "names": self.names(),
            }));
        Ok(self.platform.audit(uow, &self.caller.context, now, [entry]).await?)
    }

    /// Its approvers hear of the batch, once, and so does the external system that the rule names.
    async fn wait(
        &self,
        uow: &mut dyn UnitOfWork,
        ids: Ids,
        written: &Written,
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        let features = self.platform.settings().features;
        if let Some(system) = self.rule.external_system.filter(|_| features.external_approval) {
            external_approval::queue(uow, ids.batch, system, now).await?;
        }
        let operation = self.wanted.asked.operation();
        let message = format!(
            "{} asks for {operation} of {} machines ({}).",
            self.caller.username,
            self.children.len(),
            written.number
        );
        let waiting = Waiting {
            ticket: ids.batch,
            number: &written.ticket_number,
            operation: self.kind().as_str(),
            environment: self.environment,
            message: &message,
        };
        submission::tell_approvers(self.platform, uow, self.caller, waiting, now).await
    }

    /// The policy approves the parent and every child.
    async fn approve(
        &self,
        uow: &mut dyn UnitOfWork,
        ids: Ids,
        places: &[Placed],
        now: DateTime<Utc>,
    ) -> Result<(), UseCaseError> {
        existing::hold(uow, self.children).await?;
        let found = uow.tickets().find(ids.batch).await?;
        let parent = found.ok_or(UseCaseError::Broken("a ticket that was inserted is not there"))?;
        let tickets = uow.batches().children_in(ids.batch, &[TicketStatus::Submitted]).await?;
        let children: Vec<PlacedChild> = tickets
            .into_iter()
            .zip(places)
            .zip(1..)
            .map(|((ticket, place), sequence_no)| PlacedChild {
                sequence_no,
                ticket,
                placed: place.clone(),
            })
            .collect();
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
        if approve::apply(self.platform, uow, self.operations, &parent, &children, &approval, now).await? {
            Ok(())
        } else {
            Err(UseCaseError::Broken(
                "a batch moved before anybody else could know of it",
            ))
        }
    }
}

/// The numbers of what was written.
struct Written {
    /// Of the batch.
    number: String,
    /// Of its parent ticket.
    ticket_number: String,
}
