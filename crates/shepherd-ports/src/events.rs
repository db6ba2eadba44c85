//! Domain events.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::access::Visibility;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{EventId, TicketId, UserId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::transition::Transition;
use shepherd_domain::{ActorId, Environment, Problem};

use crate::error::RepositoryError;

/// A new event.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.9")]
pub struct NewEvent {
    pub id: EventId,
    pub event_type: EventType,
    pub aggregate_type: AggregateType,
    pub aggregate_id: String,
    pub payload: Value,
    pub status: EventStatus,
    pub causation_id: Option<EventId>,
    pub environment: Option<Environment>,
    pub created_by: ActorId,
    pub at: DateTime<Utc>,
    pub trace_id: Option<String>,
    pub trace_parent: Option<String>,
}

/// A stored event.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.9")]
pub struct Event {
    pub id: EventId,
    pub event_type: EventType,
    pub aggregate_type: AggregateType,
    pub aggregate_id: String,
    pub payload: Value,
    pub status: EventStatus,
    pub causation_id: Option<EventId>,
    pub environment: Option<Environment>,
    pub error_code: Option<String>,
    pub error_params: Option<Value>,
    pub created_by: ActorId,
    pub processed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub trace_id: Option<String>,
    pub trace_parent: Option<String>,
}

/// Writes events.
#[async_trait]
pub trait EventRepository: Send {
    /// Inserts one.
    async fn insert(&mut self, event: NewEvent) -> Result<(), RepositoryError>;
    /// Inserts one unless its cause has led to one of its type about the same object already; `false` when it has. The
    /// job of a work event has the event to itself, so nobody else inserts what this one looks for.
    async fn insert_once(&mut self, event: NewEvent) -> Result<bool, RepositoryError>;
    /// Moves one, if it is where the transition starts; `false` when it is not.
    async fn transition(
        &mut self,
        id: EventId,
        step: Transition<EventStatus>,
        error: Option<&Problem>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// The work events about a machine that another event is the cause of and that are being processed.
    async fn open_followers(&mut self, vm: VmId, causation: EventId) -> Result<Vec<EventId>, RepositoryError>;
    /// Reads one within the transaction.
    async fn find(&mut self, id: EventId) -> Result<Option<Event>, RepositoryError>;
}

/// The user view of a work event.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields of api.md §6")]
pub struct Task {
    pub id: EventId,
    pub event_type: EventType,
    pub status: EventStatus,
    pub attempt: i32,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub error_code: Option<String>,
    pub error_params: Option<Value>,
    pub aggregate_type: AggregateType,
    pub aggregate_id: String,
    pub resource_name: Option<String>,
    pub ticket_id: Option<TicketId>,
    pub ticket_status: Option<TicketStatus>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// Filters of the event list.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the query parameters of api.md §6")]
pub struct EventFilter {
    pub requested_by: Option<ActorId>,
    pub aggregate_type: Option<AggregateType>,
    pub aggregate_id: Option<String>,
    pub event_type: Option<EventType>,
    pub status: Option<EventStatus>,
    pub include_archived: bool,
}

/// Who looks at events: own ones, those of visible machines, Systems and Services, and those of tickets of
/// environments in which the caller may view approvals.
#[derive(Clone, Debug)]
pub struct EventAudience {
    /// The caller.
    pub user: UserId,
    /// Machines the caller sees (`vm:read`).
    pub vms: Visibility,
    /// Systems and Services the caller sees (`system:read`).
    pub systems: Visibility,
    /// Environments in which the caller holds `approval:view`.
    pub approvals: shepherd_domain::EnvironmentSet,
}

/// Reads events and tasks.
#[async_trait]
pub trait EventQueries: Send + Sync {
    /// Visible events, newest first.
    async fn list_events(
        &self,
        audience: &EventAudience,
        filter: &EventFilter,
        page: PageRequest,
    ) -> Result<Page<Event>, RepositoryError>;
    /// One visible event.
    async fn get_event(&self, audience: &EventAudience, id: EventId) -> Result<Option<Event>, RepositoryError>;
    /// Own work events, newest first.
    async fn list_tasks(
        &self,
        user: UserId,
        status: Option<EventStatus>,
        kind: Option<EventType>,
        include_archived: bool,
        page: PageRequest,
    ) -> Result<Page<Task>, RepositoryError>;
    /// One task that is visible to the caller.
    async fn get_task(&self, audience: &EventAudience, id: EventId) -> Result<Option<Task>, RepositoryError>;
}
