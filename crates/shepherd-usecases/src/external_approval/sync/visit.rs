//! One thing that is due: a ticket is submitted, asked for, or a cancellation delivered.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::external_approval::{SubmissionState, Verdict, retry_delay};
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::external_approvals::{
    ExternalApprovalProvider, ExternalStatus, ExternalSystemRecord, FailedAttempt, OpenedSystem, SubmissionRecord,
};
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::{RequestContext, metrics};

use super::super::decide::{self, Decision};
use super::super::providers::Providers;
use super::super::{RESOURCE, cancel, fallback, opening};
use super::ticket::describe;
use crate::execution::Operations;
use crate::{Platform, UseCaseError};

/// Why a submission without a usable system falls back.
pub(super) const NO_SYSTEM: &str = "the system is gone or disabled";
const NO_ADAPTER: &str = "this version cannot speak to systems of this kind";
const NAMES_REQUESTER: &str = "the system names the requester as approver";
const SECOND_ID: &str = "the system gave the ticket an id that another one has";
const BROKEN: &str = "the platform cannot carry out the exchange";
/// Beyond the time of the exchange: after that the replica that claimed a row is taken for dead.
const GRACE: Duration = Duration::from_secs(15);

/// Does what is due, unless another replica does. What would fail the same way for ever is a failure of the exchange, so
/// that the submission falls back in the end.
///
/// # Errors
/// When the store fails; then the row is due again after its claim.
pub(super) async fn execute(
    platform: &Platform,
    operations: &Operations,
    submission: SubmissionRecord,
) -> Result<(), UseCaseError> {
    let system = platform.read.get_external_system(submission.system_id).await?;
    let on = platform.settings().features.external_approval;
    let Some(system) = system.filter(|system| system.enabled && on) else {
        return without_system(platform, &submission, NO_SYSTEM).await;
    };
    let providers = Providers::of(platform);
    let Some(provider) = providers.get(system.system_type.as_str()) else {
        return without_system(platform, &submission, NO_ADAPTER).await;
    };
    let now = platform.now();
    let until = later(now, opening::timeout_of(&system) + GRACE);
    let mut uow = platform.begin().await?;
    let Some(claimed) = uow.external_approvals().claim(&submission, now, until).await? else {
        return Ok(());
    };
    uow.commit().await?;
    let visit = Visit {
        platform,
        operations,
        provider,
        system: &system,
        claimed: &claimed,
    };
    match visit.pay().await {
        Err(error) if error.is_lasting() => {
            tracing::error!(ticket_id = %claimed.ticket_id, error = &error as &dyn std::error::Error, "an external approval is broken");
            visit.fail(BROKEN, true).await
        }
        outcome => outcome,
    }
}

/// What is open falls back; nobody is left to hear of a cancellation.
async fn without_system(platform: &Platform, submission: &SubmissionRecord, reason: &str) -> Result<(), UseCaseError> {
    if submission.state.is_open() {
        return fallback::execute(platform, submission, reason).await.map(drop);
    }
    let mut uow = platform.begin().await?;
    uow.external_approvals().told(submission).await?;
    Ok(uow.commit().await?)
}

fn later(now: DateTime<Utc>, delay: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(delay).unwrap_or(TimeDelta::zero())
}

/// Counts an exchange with a system.
async fn measured<T, E>(exchange: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let began = Instant::now();
    let answer = exchange.await;
    metrics::external_approval_exchange(began.elapsed(), answer.is_err());
    answer
}

/// A claimed row, and everything an exchange about it needs.
struct Visit<'a> {
    platform: &'a Platform,
    operations: &'a Operations,
    provider: &'a dyn ExternalApprovalProvider,
    system: &'a ExternalSystemRecord,
    claimed: &'a SubmissionRecord,
}

impl Visit<'_> {
    /// Does what the state asks for.
    async fn pay(&self) -> Result<(), UseCaseError> {
        let opened = match opening::open(self.platform, self.system).await {
            Ok(opened) => opened,
            Err(closed) => return self.fail(&closed.to_string(), true).await,
        };
        match self.claimed.state {
            SubmissionState::Queued => self.submit(&opened).await,
            SubmissionState::Submitted => self.ask(&opened).await,
            SubmissionState::Cancelled => self.tell(&opened).await,
            SubmissionState::Approved | SubmissionState::Rejected | SubmissionState::FellBack => Ok(()),
        }
    }

    fn ask_at(&self) -> DateTime<Utc> {
        let seconds = u64::try_from(self.system.poll_interval_seconds).unwrap_or(60);
        later(self.platform.now(), Duration::from_secs(seconds))
    }

    /// The id that the ticket has there; its own until the system gave it another.
    fn external_id(&self) -> String {
        let own = || self.claimed.ticket_id.to_string();
        self.claimed.external_id.clone().unwrap_or_else(own)
    }

    async fn submit(&self, opened: &OpenedSystem) -> Result<(), UseCaseError> {
        let ticket = self
            .platform
            .read
            .get_ticket(self.claimed.ticket_id)
            .await?
            .ok_or(UseCaseError::Broken("a submission has no ticket"))?;
        if ticket.status != TicketStatus::PendingApproval {
            let mut uow = self.platform.begin().await?;
            cancel(&mut *uow, ticket.id).await?;
            return Ok(uow.commit().await?);
        }
        // What the claim kept is what the system consents to, whatever an approver puts in its place meanwhile.
        let offered = TicketRecord {
            modified_spec: self.claimed.offered_spec.clone(),
            ..ticket.clone()
        };
        let described = describe(self.platform, &offered).await?;
        match measured(self.provider.submit_for_approval(opened, &described)).await {
            Ok(external_id) => match self.keep(&ticket, &external_id).await {
                Err(UseCaseError::Repository(error))
                    if error.is_unique("uq_external_approval_submissions_external_id") =>
                {
                    self.fail(SECOND_ID, true).await
                }
                kept => kept,
            },
            Err(failure) => self.fail(&failure.to_string(), true).await,
        }
    }

    /// Notes that the system has the ticket. When the ticket was decided meanwhile, the system is told next.
    async fn keep(&self, ticket: &TicketRecord, external_id: &str) -> Result<(), UseCaseError> {
        let platform = self.platform;
        let step = self
            .claimed
            .state
            .submit()
            .map_err(|error| UseCaseError::invalid_transition("submission", &error))?;
        let now = platform.now();
        let mut uow = platform.begin().await?;
        let kept = uow
            .external_approvals()
            .submitted(self.claimed, step, external_id, self.ask_at())
            .await?;
        if !kept {
            uow.external_approvals()
                .submitted_late(self.claimed.id, external_id, now)
                .await?;
        }
        let entry = AuditEntry::new(AuditAction::ExternalApprovalSubmit, "approval_ticket", ticket.id)
            .named(&ticket.number)
            .ticket(ticket.id)
            .environment(ticket.environment)
            .parent(RESOURCE, self.system.id)
            .details(json!({"system": self.system.name, "external_id": external_id}));
        platform.audit(&mut *uow, &self.context(), now, [entry]).await?;
        Ok(uow.commit().await?)
    }

    async fn ask(&self, opened: &OpenedSystem) -> Result<(), UseCaseError> {
        let external_id = self.external_id();
        let asked = self.provider.check_status(opened, self.claimed.ticket_id, &external_id);
        let asked = measured(asked).await;
        match asked {
            Ok(ExternalStatus::Pending) => {
                let mut uow = self.platform.begin().await?;
                uow.external_approvals()
                    .still_pending(self.claimed, self.ask_at())
                    .await?;
                Ok(uow.commit().await?)
            }
            Ok(ExternalStatus::Decided(verdict)) => self.decide(&verdict).await,
            // A system that only calls back is not out of order.
            Err(failure) => self.fail(&failure.to_string(), !failure.is_unknown_question()).await,
        }
    }

    async fn decide(&self, verdict: &Verdict) -> Result<(), UseCaseError> {
        let context = self.context();
        let decision = Decision {
            system: self.system,
            verdict,
            context: &context,
            received: None,
        };
        match decide::apply(self.platform, self.operations, self.claimed.ticket_id, &decision).await {
            Ok(outcome) => {
                tracing::info!(ticket_id = %self.claimed.ticket_id, system = %self.system.name, ?outcome, "an external system decided");
                Ok(())
            }
            // It would say the same for ever.
            Err(UseCaseError::Problem(_)) => fallback::execute(self.platform, self.claimed, NAMES_REQUESTER)
                .await
                .map(drop),
            Err(error) => Err(error),
        }
    }

    async fn tell(&self, opened: &OpenedSystem) -> Result<(), UseCaseError> {
        let external_id = self.external_id();
        let told = self
            .provider
            .cancel_request(opened, self.claimed.ticket_id, &external_id);
        let told = measured(told).await;
        match told {
            Ok(()) => {
                let mut uow = self.platform.begin().await?;
                uow.external_approvals().told(self.claimed).await?;
                Ok(uow.commit().await?)
            }
            Err(failure) => self.fail(&failure.to_string(), true).await,
        }
    }

    /// Notes a failure. Whatever counts and happens once more than the system has retries is the last: what is open
    /// falls back, and a cancellation is not told again.
    async fn fail(&self, error: &str, counts: bool) -> Result<(), UseCaseError> {
        tracing::info!(ticket_id = %self.claimed.ticket_id, system = %self.system.name, error, "an exchange with an external approval system failed");
        let failures = u32::try_from(self.claimed.attempts)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let retries = u32::try_from(self.system.retry_count).unwrap_or_default();
        let is_last = counts && failures > retries;
        if is_last && self.claimed.state.is_open() {
            return fallback::execute(self.platform, self.claimed, error).await.map(drop);
        }
        let next = match self.claimed.state {
            SubmissionState::Submitted => Some(self.ask_at()),
            SubmissionState::Queued
            | SubmissionState::Cancelled
            | SubmissionState::Approved
            | SubmissionState::Rejected
            | SubmissionState::FellBack => Some(later(self.platform.now(), retry_delay(failures))),
        };
        let failure = FailedAttempt {
            error,
            counts,
            next_attempt_at: next.filter(|_| !is_last),
        };
        let mut uow = self.platform.begin().await?;
        uow.external_approvals().failed(self.claimed, failure).await?;
        Ok(uow.commit().await?)
    }

    fn context(&self) -> RequestContext {
        RequestContext {
            actor: decide::actor(self.system),
            actor_name: Some(self.system.name.clone()),
            ..RequestContext::system("external-approval")
        }
    }
}
