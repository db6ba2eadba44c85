//! What a system decided becomes the decision on the ticket, if nobody was faster.

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::external_approval::{Answer, SubmissionState, Verdict};
use shepherd_domain::ids::TicketId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::problem::{FieldCode, Problem};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, RequestType, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_ports::external_approvals::{ExternalSystemRecord, SubmissionRecord};
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::{RequestContext, UnitOfWork};

use super::four_eyes::{self, Ruling};
use crate::approval::approve::Choice;
use crate::approval::decide::Approval;
use crate::approval::places::Places;
use crate::approval::{reject, suggest};
use crate::batch::approve::PlacedChild;
use crate::execution::Operations;
use crate::vm::request::MAX_REASON;
use crate::{Platform, UseCaseError};

/// How often a decision is begun anew because its submission moved on, though not to its end.
const ATTEMPTS: u32 = 3;
/// Why a consent of nobody in particular is not enough where requesters must not decide.
const NAMELESS: &str = "it does not say who decided";
/// Why a consent is not enough to what an approver has changed since.
const ANOTHER_SPEC: &str = "it was asked about another spec than the request has now";
/// Why a consent to a batch is not enough for items that the policy of another item does not speak for.
const ANOTHER_RULE: &str = "some of its items are left to others";

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The ticket is decided so.
    Decided,
    /// It is a consent, but the request cannot be placed, or is not what the system saw, or nobody is named who gave it
    /// where that matters: the ticket waits for an approver, who sees the consent.
    Noted,
    /// The ticket was decided, or the submission had ended, before.
    TooLate,
}

/// A decision of a system.
pub(super) struct Decision<'a> {
    pub(super) system: &'a ExternalSystemRecord,
    pub(super) verdict: &'a Verdict,
    /// The system as an actor, and the marks of its audit rows.
    pub(super) context: &'a RequestContext,
    /// A row that is written with the decision.
    pub(super) received: Option<AuditEntry>,
}

/// The actor that a system is: `system:external:<name>`.
pub(super) fn actor(system: &ExternalSystemRecord) -> ActorId {
    ActorId::system(&format!("external:{}", system.name))
}

/// Decides.
///
/// # Errors
/// SELF_APPROVAL_FORBIDDEN when the system names the requester and the rule forbids it.
pub(super) async fn apply(
    platform: &Platform,
    operations: &Operations,
    ticket: TicketId,
    decision: &Decision<'_>,
) -> Result<Outcome, UseCaseError> {
    for _ in 0..ATTEMPTS {
        let Some(submission) = platform.read.submission_of(ticket).await? else {
            return Ok(Outcome::TooLate);
        };
        let Ok(step) = submission.state.decide(decision.verdict.answer) else {
            return Ok(Outcome::TooLate);
        };
        let Some(record) = platform.read.get_ticket(ticket).await? else {
            return Ok(Outcome::TooLate);
        };
        if record.status != TicketStatus::PendingApproval {
            return too_late(platform, ticket).await;
        }
        let ruling = four_eyes::rule(platform, &record, decision.verdict).await?;
        let attempt = Attempt {
            platform,
            operations,
            ticket: &record,
            submission: &submission,
            step,
            decision,
        };
        let outcome = match (ruling, decision.verdict.answer) {
            (Ruling::Own(problem), _) => return attempt.refuse(problem).await,
            (Ruling::Nameless, _) => attempt.note(NAMELESS).await?,
            (Ruling::Permitted, Answer::Approved) => attempt.approve().await?,
            (Ruling::Permitted, Answer::Rejected) => attempt.reject().await?,
        };
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
    }
    Err(UseCaseError::Broken("a submission moves on and on"))
}

/// The ticket was decided without the system, which is told if nobody has seen to that.
async fn too_late(platform: &Platform, ticket: TicketId) -> Result<Outcome, UseCaseError> {
    let mut uow = platform.begin().await?;
    super::cancel(&mut *uow, ticket).await?;
    uow.commit().await?;
    Ok(Outcome::TooLate)
}

/// One attempt at a decision. Its methods answer `None` when submission or ticket are not as they were read any more.
struct Attempt<'a> {
    platform: &'a Platform,
    operations: &'a Operations,
    ticket: &'a TicketRecord,
    submission: &'a SubmissionRecord,
    step: Transition<SubmissionState>,
    decision: &'a Decision<'a>,
}

impl Attempt<'_> {
    async fn approve(&self) -> Result<Option<Outcome>, UseCaseError> {
        if self.submission.offered_spec != self.ticket.modified_spec {
            return self.note(ANOTHER_SPEC).await;
        }
        let places = match self.place().await {
            Ok(places) => places,
            Err(UseCaseError::Problem(problem)) => return self.note(problem.code.as_str()).await,
            Err(error) => return Err(error),
        };
        if let Places::Each(children) = &places
            && let Some(why) = self.objection(children)
        {
            return self.note(why).await;
        }
        let now = self.platform.now();
        let approval = Approval {
            context: self.decision.context,
            decided_by: DecidedByKind::External,
            kind: ActorKind::External,
            comment: Some(self.comment()),
            step: TicketStatus::PendingApproval
                .approve()
                .map_err(|error| UseCaseError::invalid_transition("ticket", &error))?,
        };
        let mut uow = self.platform.begin().await?;
        let approved = places.approve(self.platform, &mut *uow, self.operations, self.ticket, &approval, now);
        match approved.await {
            Ok(true) => {}
            Ok(false) => {
                drop(uow);
                return self.overtaken().await;
            }
            Err(UseCaseError::Problem(problem)) => {
                drop(uow);
                return self.note(problem.code.as_str()).await;
            }
            Err(error) => return Err(error),
        }
        self.tell_requester(&mut *uow, now).await?;
        self.finish(uow, now, Outcome::Decided).await
    }

    async fn reject(&self) -> Result<Option<Outcome>, UseCaseError> {
        let now = self.platform.now();
        let (context, reason) = (self.decision.context, self.comment());
        let mut uow = self.platform.begin().await?;
        let rejected = reject::apply(
            self.platform,
            &mut *uow,
            self.ticket,
            &reason,
            context,
            ActorKind::External,
            now,
        )
        .await?;
        if !rejected {
            drop(uow);
            return self.overtaken().await;
        }
        self.finish(uow, now, Outcome::Decided).await
    }

    /// The ticket is not what was judged: another spec is judged anew, while what is decided stays so.
    async fn overtaken(&self) -> Result<Option<Outcome>, UseCaseError> {
        let now = self.platform.read.get_ticket(self.ticket.id).await?;
        if now.is_some_and(|ticket| ticket.status == TicketStatus::PendingApproval) {
            return Ok(None);
        }
        too_late(self.platform, self.ticket.id).await.map(Some)
    }

    /// Why a consent to the batch is none to all of these children: the system was asked by the rule of the batch, and
    /// about what was asked for.
    fn objection(&self, children: &[PlacedChild]) -> Option<&'static str> {
        let parent = self.ticket;
        let mut tickets = children.iter().map(|child| &child.ticket);
        if tickets.clone().any(|ticket| ticket.modified_spec.is_some()) {
            return Some(ANOTHER_SPEC);
        }
        let differs = tickets.any(|ticket| {
            ticket.policy_id != parent.policy_id || ticket.eligible_approvers != parent.eligible_approvers
        });
        differs.then_some(ANOTHER_RULE)
    }

    /// Where the request goes: what automatic approval would choose.
    async fn place(&self) -> Result<Places, UseCaseError> {
        let cluster = match self.ticket.request_type {
            RequestType::CreateVm | RequestType::BatchCreate => Some(
                suggest::best_for(self.platform, self.ticket)
                    .await?
                    .ok_or_else(|| Problem::invalid_field("selected_cluster_id", FieldCode::Required))?,
            ),
            RequestType::ModifyVm
            | RequestType::DeleteVm
            | RequestType::StartVm
            | RequestType::StopVm
            | RequestType::RestartVm
            | RequestType::VncAccess
            | RequestType::BatchDelete
            | RequestType::BatchPower
            | RequestType::SnapshotVm
            | RequestType::DeleteSnapshot
            | RequestType::RestoreVm
            | RequestType::CloneVm
            | RequestType::MigrateVm => None,
        };
        let choice = Choice {
            cluster,
            ..Choice::default()
        };
        Places::find(self.platform, self.operations, None, self.ticket, &choice).await
    }

    /// Notes a consent that leads nowhere by itself, and tells the approvers.
    async fn note(&self, why: &str) -> Result<Option<Outcome>, UseCaseError> {
        tracing::info!(ticket_id = %self.ticket.id, why, "an external consent cannot be carried out as it is");
        let now = self.platform.now();
        let mut uow = self.platform.begin().await?;
        let pending = uow.tickets().find(self.ticket.id).await?;
        if pending.is_none_or(|ticket| ticket.status != TicketStatus::PendingApproval) {
            drop(uow);
            return too_late(self.platform, self.ticket.id).await.map(Some);
        }
        let message = format!(
            "{} consented to {}, but it cannot be carried out without an approver: {why}.",
            self.decision.system.name, self.ticket.number
        );
        super::fallback::tell_approvers(self.platform, &mut *uow, self.ticket, &message, now).await?;
        self.finish(uow, now, Outcome::Noted).await
    }

    /// Puts on record that the system names the requester, and decides nothing.
    async fn refuse(&self, problem: Problem) -> Result<Outcome, UseCaseError> {
        let context = self.decision.context;
        let mut uow = self.platform.begin().await?;
        let entry = self.said().failed();
        self.platform
            .audit(&mut *uow, context, self.platform.now(), [entry])
            .await?;
        uow.commit().await?;
        Err(problem.into())
    }

    /// The row about what the system said: that of the callback, or the same about what it said when it was asked.
    fn said(&self) -> AuditEntry {
        let Decision {
            system,
            verdict,
            received,
            ..
        } = self.decision;
        let asked = || {
            AuditEntry::new(AuditAction::ExternalApprovalCallback, "approval_ticket", self.ticket.id)
                .parent(super::RESOURCE, system.id)
                .details(json!({"decision": verdict.answer, "approver": verdict.approver, "asked": true}))
        };
        let said = received.clone().unwrap_or_else(asked);
        said.named(&self.ticket.number)
            .ticket(self.ticket.id)
            .environment(self.ticket.environment)
    }

    /// The decision is the submission's as well; nothing of it is kept otherwise.
    async fn finish(
        &self,
        mut uow: Box<dyn UnitOfWork>,
        now: DateTime<Utc>,
        outcome: Outcome,
    ) -> Result<Option<Outcome>, UseCaseError> {
        let kept = uow
            .external_approvals()
            .decide(self.submission.id, self.step, self.decision.verdict, now)
            .await?;
        if !kept {
            return Ok(None);
        }
        let received = match outcome {
            // Nothing else tells of it.
            Outcome::Noted => Some(self.said()),
            Outcome::Decided | Outcome::TooLate => self.decision.received.clone(),
        };
        self.platform
            .audit(&mut *uow, self.decision.context, now, received)
            .await?;
        uow.commit().await?;
        Ok(Some(outcome))
    }

    async fn tell_requester(&self, uow: &mut dyn UnitOfWork, now: DateTime<Utc>) -> Result<(), UseCaseError> {
        let Some(requester) = self.ticket.requester_id.as_user() else {
            return Ok(());
        };
        let number = &self.ticket.number;
        let title = format!("{number} approved");
        let message = format!(
            "{number} was approved by {} and will be carried out.",
            self.decision.system.name
        );
        let draft = NotificationDraft::new(NotificationType::ApprovalCompleted, Severity::Info, &title, &message)
            .about("approval_ticket", self.ticket.id)
            .params(json!({"ticket_number": number, "operation": self.ticket.request_type.operation_type()}));
        let audience = Audience::User(requester);
        Ok(self
            .platform
            .notifications
            .send(uow.notifications(), audience, draft, now)
            .await?)
    }

    /// What stands on the ticket: the remark of the system, and who decided there.
    fn comment(&self) -> String {
        let Decision { system, verdict, .. } = self.decision;
        let who = match &verdict.approver {
            Some(approver) => format!("{approver} in {}", system.name),
            None => system.name.clone(),
        };
        let whole = match &verdict.comment {
            Some(comment) => format!("{who}: {comment}"),
            None => format!("{} by {who}", verdict.answer),
        };
        whole.chars().take(MAX_REASON).collect()
    }
}
