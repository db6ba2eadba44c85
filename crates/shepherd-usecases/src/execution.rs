//! Carrying out what was approved.
//!
//! A job is the id of an event. [`Executor`] claims it, hands it to the one [`Operation`] of its kind, and records
//! the outcome; every operation may run twice, at any point, on any replica.

mod claim;
mod clone;
mod create_vm;
mod delete_vm;
pub(crate) mod ending;
pub(crate) mod existing;
mod failure;
pub(crate) mod findings;
mod migrate;
pub(crate) mod modification;
mod modify_vm;
mod operation;
mod outcome;
mod patience;
mod power;
mod restore;
mod revalidate;
mod snapshot;
pub(crate) mod specs;
pub mod steps;
mod target;
mod tell;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use shepherd_domain::ids::EventId;
use shepherd_ports::metrics::{self, JobResult};
use shepherd_ports::queue::{EventJobHandler, JobVerdict};
use tracing::Instrument as _;
use tracing::field::Empty;

pub use failure::Failure;
pub use findings::{DryRunResult, Examined, Findings};
pub use operation::{Done, Operation, Operations, Placed, Work};

use crate::{Platform, UseCaseError};

/// Runs jobs: claim, carry out, record.
pub struct Executor {
    platform: Arc<Platform>,
    operations: Arc<Operations>,
}

impl Executor {
    /// An executor of these operations.
    pub fn new(platform: Arc<Platform>, operations: Arc<Operations>) -> Self {
        Self { platform, operations }
    }

    async fn carry_out(&self, event: EventId) -> Result<JobVerdict, UseCaseError> {
        let platform = &*self.platform;
        let work = match claim::execute(platform, &self.operations, event).await? {
            claim::Claim::Nothing(why) => {
                tracing::info!(event_id = %event, why, "nothing to do for this job");
                return Ok(JobVerdict::Done);
            }
            claim::Claim::Settled(verdict) => return Ok(verdict),
            claim::Claim::Work(work) => work,
        };
        let span = self.span_of(&work);
        let verdict = self.attempt(&work).instrument(span.clone()).await;
        if verdict.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        verdict
    }

    /// One attempt, as a part of the trace of the request that asked for it: that is where people look for what became
    /// of it. Whoever approved it did so in a trace of its own, which the ticket's id leads to.
    fn span_of(&self, work: &Work) -> tracing::Span {
        let operation = work.ticket.request_type;
        let span = tracing::info_span!(
            parent: None,
            "job",
            otel.name = format_args!("job {operation}"),
            otel.kind = "consumer",
            otel.status_code = Empty,
            event_id = %work.event.id,
            ticket_id = %work.ticket.id,
            %operation,
            attempt = i64::from(work.attempt),
        );
        if let Some(parent) = &work.event.trace_parent {
            self.platform.traces.adopt(&span, parent);
        }
        span
    }

    async fn attempt(&self, work: &Work) -> Result<JobVerdict, UseCaseError> {
        let platform = &*self.platform;
        let operation = self.operations.of_request(work.ticket.request_type)?;
        steps::reach(platform, steps::Step::Claimed).await;
        let began = Instant::now();
        let executed = operation.execute(platform, work).await;
        let attempted = attempted(&executed);
        let recorded = match executed {
            Ok(done) => {
                steps::reach(platform, steps::Step::CarriedOut).await;
                outcome::succeed(platform, operation, work, done)
                    .await
                    .map(|()| JobVerdict::Done)
            }
            Err(failure) => {
                tracing::Span::current().record("otel.status_code", "ERROR");
                outcome::fail(platform, operation, work, failure).await
            }
        };
        let verdict = match recorded {
            Ok(verdict) => Ok(verdict),
            Err(error) => outcome::unrecorded(platform, operation, work, error).await,
        };
        metrics::queue_job(work.event.event_type, result(attempted, &verdict), began.elapsed());
        let verdict = verdict?;
        steps::reach(platform, steps::Step::Recorded).await;
        tracing::info!(event_id = %work.event.id, ticket_id = %work.ticket.id, ticket = %work.ticket.number, attempt = work.attempt, "the job is done");
        Ok(verdict)
    }
}

/// What became of an attempt, as it is counted.
fn result(attempted: JobResult, verdict: &Result<JobVerdict, UseCaseError>) -> JobResult {
    match verdict {
        Ok(JobVerdict::Done) => attempted,
        Ok(JobVerdict::DeadLetter(_)) => JobResult::DeadLetter,
        Err(_) => JobResult::Unrecorded,
    }
}

/// The same, as long as it could be recorded and was not the last one.
fn attempted(executed: &Result<Done, Failure>) -> JobResult {
    match executed {
        Ok(_) => JobResult::Succeeded,
        Err(Failure::Permanent(..) | Failure::TargetGone) => JobResult::Failed,
        Err(Failure::Transient(..) | Failure::Unavailable(..) | Failure::InProgress(..)) => JobResult::Postponed,
        Err(Failure::Store(_)) => JobResult::Unrecorded,
    }
}

#[async_trait]
impl EventJobHandler for Executor {
    async fn run(&self, event: EventId) -> Result<JobVerdict, Box<dyn std::error::Error + Send + Sync>> {
        self.carry_out(event).await.map_err(|error| {
            tracing::error!(event_id = %event, error = &error as &dyn std::error::Error, "the outcome of a job could not be recorded");
            error.into()
        })
    }
}
