//! The job queue, seen from a transaction, and the work it hands out.

use std::time::Duration;

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
    /// Adds several jobs in one statement, in their order; each as [`Self::enqueue`] does.
    async fn enqueue_all(&mut self, jobs: &[EventJob]) -> Result<(), RepositoryError>;
    /// Adds a run of a periodic job at once. A run of the same job that waits is replaced, one that is under way ends
    /// first.
    async fn enqueue_periodic(&mut self, job: &str) -> Result<(), RepositoryError>;
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

/// When a periodic job runs: once per period over all replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodicSchedule {
    /// Name of the job.
    pub job: String,
    /// The five fields of a crontab line, in UTC.
    pub crontab: String,
    /// A period that began while no worker ran is made up for by a worker that starts within this time.
    pub catch_up: Duration,
}

/// Carries out periodic jobs; called by the queue adapter.
#[async_trait]
pub trait PeriodicJobHandler: Send + Sync {
    /// Every job and when it runs.
    fn schedules(&self) -> Vec<PeriodicSchedule>;
    /// Carries out a job. Two runs of one job never overlap.
    ///
    /// # Errors
    /// When the job failed or is unknown. It is not tried again; the next period does its work.
    async fn run(&self, job: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
