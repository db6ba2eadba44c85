//! Batches: one request for several machines (batch.md).
//!
//! Lock order: whoever changes the status of a child ticket first locks its batch ([`BatchRepository::lock`]), and only
//! then touches tickets. Counting the children again under that lock is what keeps the numbers of a batch right.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::batch::{BatchKind, BatchStatus, Tally};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{BatchRequestId, EventId, ServiceId, TicketId, UserId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, RequestType, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_domain::vm::PowerAction;
use shepherd_domain::{ActorId, Environment};

use crate::error::RepositoryError;
use crate::events::NewEvent;
use crate::tickets::{NewStep, NewTicket, TicketRecord};

/// The unique index that a repeated submission runs into; [`RepositoryError::is_unique`] knows it by this name.
pub const REQUEST_ID_GUARD: &str = "uq_batch_request_id";

/// A new batch; its parent ticket is there already. Every child is pending.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.12")]
pub struct NewBatch {
    /// The parent ticket, whose id is that of the batch.
    pub id: TicketId,
    pub kind: BatchKind,
    /// With [`BatchKind::Power`], and only then.
    pub power_action: Option<PowerAction>,
    pub environment: Environment,
    /// At least 1.
    pub child_count: i32,
    pub request_id: Option<BatchRequestId>,
    /// Digest of what was asked for: a repetition has the same.
    pub request_hash: String,
    pub reason: Option<String>,
    pub created_by: UserId,
    /// Its UTC day is part of the number.
    pub at: DateTime<Utc>,
}

/// A stored batch.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.12")]
pub struct BatchRecord {
    /// The parent ticket, whose id is that of the batch.
    pub id: TicketId,
    /// `BAT-20260206-001`.
    pub number: String,
    pub batch_type: BatchKind,
    pub power_action: Option<PowerAction>,
    pub status: BatchStatus,
    pub environment: Environment,
    pub child_count: i32,
    pub success_count: i32,
    /// Rejected ones included.
    pub failed_count: i32,
    pub pending_count: i32,
    pub rejected_count: i32,
    pub cancelled_count: i32,
    pub request_id: Option<BatchRequestId>,
    pub request_hash: String,
    pub reason: Option<String>,
    pub created_by: ActorId,
    pub completed_at: Option<DateTime<Utc>>,
    pub archived_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub row_version: i64,
}

/// A child as its batch shows it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.10")]
pub struct BatchChild {
    pub ticket_id: TicketId,
    pub ticket_number: String,
    pub event_id: EventId,
    pub request_type: RequestType,
    pub status: TicketStatus,
    /// From 1.
    pub sequence_no: i32,
    /// The machine; of a creation once there is one.
    pub vm_id: Option<VmId>,
    pub service_id: Option<ServiceId>,
    /// The name of the machine, else of the Service.
    pub resource_name: Option<String>,
    pub error_code: Option<String>,
    pub last_error: Option<String>,
    pub reject_reason: Option<String>,
    pub attempt_count: i32,
    pub retry_count: i32,
}

/// Who moves a parent ticket.
#[derive(Clone, Debug)]
pub struct ParentMover {
    /// The actor; the approver of a parent that has none yet.
    pub actor: ActorId,
    /// What kind of decision an approval by that one is.
    pub decided_by: Option<DecidedByKind>,
}

impl ParentMover {
    /// The actor with the kind of decision that an actor of this kind makes.
    pub fn new(actor: ActorId, kind: ActorKind) -> Self {
        let decided_by = match kind {
            ActorKind::User => Some(DecidedByKind::User),
            ActorKind::Policy => Some(DecidedByKind::Policy),
            ActorKind::External => Some(DecidedByKind::External),
            ActorKind::Worker | ActorKind::System => None,
        };
        Self { actor, decided_by }
    }
}

/// Writes batches.
#[async_trait]
pub trait BatchRepository: Send {
    /// Locks a batch until the transaction ends, before any of its tickets is touched.
    async fn lock(&mut self, id: TicketId) -> Result<Option<BatchRecord>, RepositoryError>;
    /// Counts the children as they are in this transaction.
    async fn tally(&mut self, id: TicketId) -> Result<Tally, RepositoryError>;
    /// Writes what the children make of the batch. `completed_at` is set exactly when the status is final.
    async fn settle(
        &mut self,
        id: TicketId,
        tally: &Tally,
        status: BatchStatus,
        completed_at: Option<DateTime<Utc>>,
    ) -> Result<(), RepositoryError>;
    /// Inserts a batch and answers its number. The numbers of a day have no gaps: the submissions of a day wait for one
    /// another from here to the end of the transaction.
    ///
    /// # Errors
    /// [`REQUEST_ID_GUARD`] when the same submission was made before.
    async fn insert(&mut self, batch: &NewBatch) -> Result<String, RepositoryError>;
    /// Inserts children with their events and the same first steps of history for each, one statement per table;
    /// answers the ticket numbers in the order of the children, in which they ascend.
    async fn insert_children(
        &mut self,
        children: &[(NewEvent, NewTicket)],
        steps: &[NewStep],
    ) -> Result<Vec<String>, RepositoryError>;
    /// Moves a parent ticket along a path, from where it begins to where it ends; `false` when it is not there. Its
    /// history is not written. A parent that is approved by the way gets an approver, one that is rejected the decision
    /// about the child that was rejected last.
    async fn move_parent(
        &mut self,
        id: TicketId,
        path: &[Transition<TicketStatus>],
        by: &ParentMover,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// The children in one of these states, in their order.
    async fn children_in(
        &mut self,
        id: TicketId,
        statuses: &[TicketStatus],
    ) -> Result<Vec<TicketRecord>, RepositoryError>;
}

/// Who looks at batches.
#[derive(Clone, Copy, Debug)]
pub struct BatchAudience {
    /// The caller, who sees the own ones.
    pub user: UserId,
    /// Whether that one sees all (`platform:admin`).
    pub all: bool,
    /// Environments in which the caller holds `approval:view`: for looking at one batch, not for the list.
    pub approvals: EnvironmentSet,
}

/// Filters of the list of batches.
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "the query parameters of api.md §5")]
pub struct BatchFilter {
    pub status: Option<BatchStatus>,
    pub kind: Option<BatchKind>,
    pub include_archived: bool,
}

/// Reads batches.
#[async_trait]
pub trait BatchQueries: Send + Sync {
    /// One batch, if it is visible.
    async fn get_batch(&self, audience: &BatchAudience, id: TicketId) -> Result<Option<BatchRecord>, RepositoryError>;
    /// One batch by its number, if it is visible.
    async fn batch_by_number(
        &self,
        audience: &BatchAudience,
        number: &str,
    ) -> Result<Option<BatchRecord>, RepositoryError>;
    /// What came of an earlier submission.
    async fn batch_by_request(
        &self,
        user: UserId,
        kind: BatchKind,
        request: BatchRequestId,
    ) -> Result<Option<BatchRecord>, RepositoryError>;
    /// Own batches, or all of them, newest first.
    async fn list_batches(
        &self,
        audience: &BatchAudience,
        filter: &BatchFilter,
        page: PageRequest,
    ) -> Result<Page<BatchRecord>, RepositoryError>;
    /// The children of a batch in their order, whoever asks.
    async fn batch_children(&self, id: TicketId) -> Result<Vec<BatchChild>, RepositoryError>;
}
