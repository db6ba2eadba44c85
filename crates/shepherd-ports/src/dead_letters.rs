//! Jobs that were given up: nothing tries them again by itself (requests.md §11).

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::Environment;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::EventType;
use shepherd_domain::ids::{EventId, TicketId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::transition::Transition;

use crate::error::RepositoryError;

/// The number of a job in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct JobId(i64);

impl JobId {
    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// A job that was given up: its ticket has FAILED after the last attempt, or nothing could be recorded about it and it
/// is stuck in APPROVED or EXECUTING.
#[derive(Clone, Debug, Deserialize)]
pub struct DeadLetter {
    /// The job.
    pub job_id: JobId,
    /// Its event, unless the job names none.
    pub event_id: Option<EventId>,
    /// The kind of the event, when it exists.
    pub event_type: Option<EventType>,
    /// The ticket of the event, when there is one.
    pub ticket_id: Option<TicketId>,
    /// Where the ticket stands.
    pub ticket_status: Option<TicketStatus>,
    /// The environment of the ticket.
    pub environment: Option<Environment>,
    /// How often the work was tried; of a stuck ticket how often the queue tried.
    pub attempts: i32,
    /// Why the last attempt failed, redacted.
    pub last_error: Option<String>,
    /// When it was given up, as far as that is known.
    pub finalized_at: DateTime<Utc>,
}

/// Takes jobs out of the queue for good and brings tickets back.
#[async_trait]
pub trait DeadLetterRepository: Send {
    /// Removes a job that was given up; `false` when there is none, for example because somebody else took it first.
    async fn take(&mut self, job: JobId) -> Result<bool, RepositoryError>;
    /// Removes the jobs of an event that were given up; answers how many there were.
    async fn take_all(&mut self, event: EventId) -> Result<u64, RepositoryError>;
    /// Brings a failed ticket back, once more retried and as if never tried; `false` unless it is where the transition
    /// starts and has been retried `retries` times. The decision stays. The constraint `uq_ticket_active_vm_op` refuses
    /// it while another ticket of the group is open for the machine.
    async fn retry_ticket(
        &mut self,
        ticket: TicketId,
        step: Transition<TicketStatus>,
        retries: i32,
    ) -> Result<bool, RepositoryError>;
    /// Forgets the attempts of a ticket that is APPROVED or EXECUTING; `false` when it is neither.
    async fn forget_attempts(&mut self, ticket: TicketId) -> Result<bool, RepositoryError>;
    /// Brings back what a failed ticket left beside the machine: its snapshot, clone or migration is under way again,
    /// and its event is not archived.
    async fn reopen(&mut self, ticket: TicketId) -> Result<(), RepositoryError>;
}

/// Reads them.
#[async_trait]
pub trait DeadLetterQueries: Send + Sync {
    /// Those of tickets of the visible environments, the latest first. Those without a ticket are shown to whom both
    /// environments are visible.
    async fn list_dead_letters(
        &self,
        visible: EnvironmentSet,
        event_type: Option<EventType>,
        page: PageRequest,
    ) -> Result<Page<DeadLetter>, RepositoryError>;
    /// One, whoever asks.
    async fn get_dead_letter(&self, job: JobId) -> Result<Option<DeadLetter>, RepositoryError>;
}
