//! Approval tickets, their history, and what a submission needs to know.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::EventStatus;
use shepherd_domain::ids::{
    ClusterId, EventId, ExternalSystemId, InstanceSizeId, PolicyId, ServiceId, SystemId, TemplateId, TicketId, UserId,
    VmId,
};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, RequestType, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_domain::vm::VmStatus;
use shepherd_domain::{ActorId, Environment, Problem};

use crate::error::RepositoryError;
use crate::namespaces::NamespaceRecord;
use crate::sizes::SizeRecord;
use crate::templates::TemplateRecord;

/// A new ticket.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.10")]
pub struct NewTicket {
    pub id: TicketId,
    pub event_id: EventId,
    pub request_type: RequestType,
    pub status: TicketStatus,
    pub environment: Environment,
    pub requester: UserId,
    pub reason: Option<String>,
    pub system_id: Option<SystemId>,
    pub service_id: Option<ServiceId>,
    pub vm_id: Option<VmId>,
    pub template_id: Option<TemplateId>,
    pub instance_size_id: Option<InstanceSizeId>,
    pub namespace: Option<String>,
    pub context: TicketContext,
    /// The policy that decided about it; none for the matrix.
    pub policy: Option<PolicyId>,
    /// User ids and role keys of those who may decide it; empty for every holder of `approval:approve`.
    pub approvers: Vec<String>,
    /// The external system that is asked as well.
    pub external_system: Option<ExternalSystemId>,
    /// The batch it belongs to, and its number within that one, from 1.
    pub parent: Option<(TicketId, i32)>,
    pub at: DateTime<Utc>,
}

/// Names and numbers at submission, so that history reads without joins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the ticket context of api.md §12")]
pub struct TicketContext {
    pub requester: Option<NamedUser>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<NamedVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_size: Option<NamedSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<NamedVm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_request_mb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_disk_gb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_disk_gb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<CurrentShape>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<shepherd_domain::problem::Warning>,
    /// Of the parent of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchSummary>,
}

/// What a batch is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSummary {
    /// How many requests it has.
    pub child_count: i32,
    /// What they are about, in their order: machines, or of new ones the Services.
    pub names: Vec<String>,
}

/// What a machine had when its modification was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct CurrentShape {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_size_id: Option<InstanceSizeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<i32>,
}

/// A user in a context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct NamedUser {
    pub id: UserId,
    pub username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
}

/// Something with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Named {
    pub id: String,
    pub name: String,
}

/// A template in a context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct NamedVersion {
    pub id: TemplateId,
    pub name: String,
    pub version: i32,
}

/// A size in a context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct NamedSummary {
    pub id: InstanceSizeId,
    pub name: String,
    pub summary: String,
}

/// A machine in a context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct NamedVm {
    pub id: VmId,
    pub name: String,
    pub status: VmStatus,
}

/// A stored ticket.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.10")]
pub struct TicketRecord {
    pub id: TicketId,
    pub number: String,
    pub event_id: EventId,
    pub request_type: RequestType,
    pub status: TicketStatus,
    pub environment: Environment,
    pub requester_id: ActorId,
    pub requester_name: Option<String>,
    pub reason: Option<String>,
    pub system_id: Option<SystemId>,
    pub service_id: Option<ServiceId>,
    pub vm_id: Option<VmId>,
    pub template_id: Option<TemplateId>,
    pub instance_size_id: Option<InstanceSizeId>,
    pub namespace: Option<String>,
    pub context_snapshot: TicketContext,
    pub approver_id: Option<ActorId>,
    pub decided_at: Option<DateTime<Utc>>,
    pub decided_by_kind: Option<DecidedByKind>,
    pub decision_comment: Option<String>,
    pub reject_reason: Option<String>,
    pub selected_cluster_id: Option<ClusterId>,
    pub selected_template_version: Option<i32>,
    pub selected_storage_class: Option<String>,
    pub template_snapshot: Option<Value>,
    pub instance_size_snapshot: Option<Value>,
    pub modified_spec: Option<Value>,
    pub modification_reason: Option<String>,
    pub modified_at: Option<DateTime<Utc>>,
    pub policy_id: Option<PolicyId>,
    pub eligible_approvers: Vec<String>,
    pub external_system_id: Option<ExternalSystemId>,
    pub attempt_count: i32,
    pub retry_count: i32,
    pub last_attempt_at: Option<DateTime<Utc>>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub unavailable_since: Option<DateTime<Utc>>,
    pub error_code: Option<String>,
    pub error_params: Option<Value>,
    pub last_error: Option<String>,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub parent_ticket_id: Option<TicketId>,
    /// The number within the batch, from 1.
    pub sequence_no: Option<i32>,
}

/// One step of a ticket's history.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.11")]
pub struct HistoryStep {
    pub seq: i32,
    pub from_status: Option<TicketStatus>,
    pub to_status: TicketStatus,
    pub actor_id: ActorId,
    pub actor_kind: ActorKind,
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

/// A step to be written; its number follows from the ticket.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.11")]
pub struct NewStep {
    pub from: Option<TicketStatus>,
    pub to: TicketStatus,
    pub actor: ActorId,
    pub kind: ActorKind,
    pub reason: Option<String>,
}

/// What an approval writes beside the status.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.10")]
pub struct ApprovalColumns {
    pub approver: ActorId,
    pub decided_by: DecidedByKind,
    pub comment: Option<String>,
    pub at: DateTime<Utc>,
    pub cluster: Option<ClusterId>,
    pub template_version: Option<i32>,
    pub storage_class: Option<String>,
    pub template_snapshot: Option<Value>,
    pub size_snapshot: Option<Value>,
    pub vm_id: Option<VmId>,
    /// The `modified_spec` that was judged; with another one nothing is approved.
    pub judged_spec: Option<Value>,
}

/// What an approver puts in the place of what was asked for.
#[derive(Clone, Debug)]
pub struct SpecChange {
    /// The whole spec.
    pub spec: Value,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: ActorId,
}

/// What a create request refers to, locked until the transaction ends.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct HeldReferences {
    /// Whether the Service is there, and so cannot be deleted.
    pub service: bool,
    /// The registered namespace, which can neither be deleted nor disabled. Its `vm_count` is not counted.
    pub namespace: Option<NamespaceRecord>,
}

/// Writes tickets. Every status change is one conditional statement that answers whether it happened.
#[async_trait]
pub trait TicketRepository: Send {
    /// Keeps the Service and the namespace of a create request as they are until the transaction ends.
    async fn hold_references(&mut self, service: ServiceId, namespace: &str)
    -> Result<HeldReferences, RepositoryError>;
    /// Inserts a ticket and the first steps of its history; answers its number.
    async fn insert(&mut self, ticket: &NewTicket, steps: &[NewStep]) -> Result<String, RepositoryError>;
    /// Replaces the spec of a pending ticket, or takes a replacement back; `false` when the ticket is not pending, or
    /// does not have the wanted version (when one is given).
    async fn modify_spec(
        &mut self,
        id: TicketId,
        change: Option<&SpecChange>,
        version: Option<i64>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Approves what was judged; `false` when somebody else moved the ticket, or modified it meanwhile.
    async fn approve(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        columns: &ApprovalColumns,
    ) -> Result<bool, RepositoryError>;
    /// Rejects, with the reason.
    async fn reject(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        approver: &ActorId,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Moves without further columns: cancel, complete, start.
    async fn transition(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Fails, with the error.
    async fn fail(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        error: &Problem,
        detail: &str,
    ) -> Result<bool, RepositoryError>;
    /// Counts an attempt of an EXECUTING ticket and answers how many there were; `None` when it is not EXECUTING.
    async fn count_attempt(&mut self, id: TicketId, at: DateTime<Utc>) -> Result<Option<i32>, RepositoryError>;
    /// Gives an attempt back whose outcome could not be recorded: the work was not at fault.
    async fn refund_attempt(&mut self, id: TicketId) -> Result<(), RepositoryError>;
    /// Notes why the last attempt ended and when the next one is due. A snooze gives its attempt back and notes since
    /// when the cluster has been unavailable.
    async fn postpone(
        &mut self,
        id: TicketId,
        error: &Problem,
        detail: &str,
        next: DateTime<Utc>,
        snoozed_at: Option<DateTime<Utc>>,
    ) -> Result<bool, RepositoryError>;
    /// Notes the instance that a restart is to replace, unless one was noted before; answers the one that is noted.
    /// `None` when the ticket is not EXECUTING, or there is neither.
    async fn guard_restart(&mut self, id: TicketId, instance: Option<&str>) -> Result<Option<String>, RepositoryError>;
    /// Appends a step to the history.
    async fn add_step(&mut self, id: TicketId, step: &NewStep, at: DateTime<Utc>) -> Result<(), RepositoryError>;
    /// Reads a ticket within the transaction.
    async fn find(&mut self, id: TicketId) -> Result<Option<TicketRecord>, RepositoryError>;
    /// Reads the ticket of an event within the transaction.
    async fn find_by_event(&mut self, event: EventId) -> Result<Option<TicketRecord>, RepositoryError>;
}

/// Filters of the ticket list.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the query parameters of api.md §6")]
pub struct TicketFilter {
    pub status: Option<TicketStatus>,
    pub environment: Option<Environment>,
    pub request_types: Option<Vec<RequestType>>,
    pub requester: Option<String>,
    pub parent_ticket_id: Option<TicketId>,
    pub include_children: bool,
    pub include_archived: bool,
}

/// The ticket that stands in the way of an equal request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct ExistingTicket {
    pub id: TicketId,
    pub number: String,
}

/// Everything the checks of a create request need, read in one statement.
#[derive(Clone, Debug)]
pub struct CreateFacts {
    /// The Service with its System, when it exists.
    pub service: Option<ServiceFacts>,
    /// The registered namespace.
    pub namespace: Option<NamespaceRecord>,
    /// The template version.
    pub template: Option<TemplateRecord>,
    /// The size.
    pub size: Option<SizeRecord>,
}

/// A Service as a request sees it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct ServiceFacts {
    pub id: ServiceId,
    pub name: String,
    pub next_instance_index: i32,
    pub system_id: SystemId,
    pub system_name: String,
}

/// Reads tickets.
#[async_trait]
pub trait TicketQueries: Send + Sync {
    /// One ticket, whoever asks.
    async fn get_ticket(&self, id: TicketId) -> Result<Option<TicketRecord>, RepositoryError>;
    /// One ticket by its number.
    async fn ticket_by_number(&self, number: &str) -> Result<Option<TicketRecord>, RepositoryError>;
    /// The history of a ticket.
    async fn ticket_history(&self, id: TicketId) -> Result<Vec<HistoryStep>, RepositoryError>;
    /// The payload and status of the ticket's event.
    async fn ticket_event(&self, id: EventId) -> Result<Option<(Value, EventStatus)>, RepositoryError>;
    /// Tickets of the visible environments, oldest first.
    async fn list_tickets(
        &self,
        visible: EnvironmentSet,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Page<TicketRecord>, RepositoryError>;
    /// Own tickets, newest first.
    async fn my_tickets(
        &self,
        user: UserId,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Page<TicketRecord>, RepositoryError>;
    /// Everything the checks of a create request need.
    async fn create_facts(
        &self,
        service: ServiceId,
        namespace: &str,
        template: TemplateId,
        size: InstanceSizeId,
    ) -> Result<CreateFacts, RepositoryError>;
    /// The pending create ticket that equals a refused one.
    async fn pending_create(
        &self,
        requester: UserId,
        service: ServiceId,
        template: TemplateId,
        size: InstanceSizeId,
        namespace: &str,
    ) -> Result<Option<ExistingTicket>, RepositoryError>;
    /// The open ticket of an operation group on a machine.
    async fn open_vm_operation(&self, vm: VmId, group: &str) -> Result<Option<ExistingTicket>, RepositoryError>;
}
