//! The job queue, seen from a transaction, and the work it hands out.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::EventId;

use crate::error::RepositoryError;

/// A job: the id of an event, and nothing else (claim check).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventJob {
    /// The event to carry out.
    pub event: EventId,
    /// Jobs of one lane never run at the same time: one lane per machine (or per ticket before there is one).
    pub lane: String,
    /// Not before; `None` is at once.
    pub run_at: Option<DateTime<Utc>>,
}

/// Enqueues within the transaction.
#[async_trait]
pub trait JobQueue: Send {
    /// Adds a job; a waiting job of the same event is replaced.
    async fn enqueue(&mut self, job: EventJob) -> Result<(), RepositoryError>;
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobVerdict {
    /// Nothing is left to do for this job (a later attempt has a job of its own).
    Done,
    /// Failed for good; the job stays as a dead letter.
    DeadLetter(String),
}

/// Carries out jobs; called by the queue adapter.
#[async_trait]
pub trait EventJobHandler: Send + Sync {
    /// Carries out the event. May be called again for the same event at any point and on any replica.
    ///
    /// # Errors
    /// When not even the outcome could be recorded; the queue tries again.
    async fn run(&self, event: EventId) -> Result<JobVerdict, Box<dyn std::error::Error + Send + Sync>>;
}
