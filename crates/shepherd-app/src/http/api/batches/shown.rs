//! What batches show.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shepherd_domain::batch::{BatchKind, BatchStatus};
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::vm::PowerAction;
use shepherd_ports::batches::{BatchChild, BatchRecord};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::respond::Pagination;

/// A batch that was accepted.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchAccepted {
    pub(super) batch_id: Uuid,
    /// `BAT-20260206-001`.
    pub(super) batch_number: String,
    /// PENDING_APPROVAL or IN_PROGRESS; of a repeated submission where it stands now.
    #[schema(value_type = String)]
    pub(super) status: BatchStatus,
    /// Where to follow it.
    pub(super) status_url: String,
    /// When to look there for the first time.
    pub(super) retry_after_seconds: u32,
}

/// A batch without its requests.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchSummary {
    batch_id: Uuid,
    batch_number: String,
    /// BATCH_CREATE, BATCH_DELETE or BATCH_POWER.
    #[schema(value_type = String)]
    batch_type: BatchKind,
    /// CREATE, DELETE or POWER.
    operation: &'static str,
    /// START, STOP or RESTART, of a batch about the power of machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    power_action: Option<PowerAction>,
    /// PENDING_APPROVAL, IN_PROGRESS, COMPLETED, PARTIAL_SUCCESS, FAILED or CANCELLED.
    #[schema(value_type = String)]
    status: BatchStatus,
    environment: &'static str,
    child_count: i32,
    success_count: i32,
    /// Rejected ones included.
    failed_count: i32,
    /// Waiting, approved and executing ones.
    pending_count: i32,
    rejected_count: i32,
    cancelled_count: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
}

impl From<BatchRecord> for BatchSummary {
    fn from(record: BatchRecord) -> Self {
        Self {
            batch_id: record.id.into(),
            batch_number: record.number,
            batch_type: record.batch_type,
            operation: record.batch_type.operation(),
            power_action: record.power_action,
            status: record.status,
            environment: record.environment.as_str(),
            child_count: record.child_count,
            success_count: record.success_count,
            failed_count: record.failed_count,
            pending_count: record.pending_count,
            rejected_count: record.rejected_count,
            cancelled_count: record.cancelled_count,
            reason: record.reason,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            updated_at: record.updated_at,
            completed_at: record.completed_at,
        }
    }
}

/// A page of batches.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchList {
    pub(super) items: Vec<BatchSummary>,
    pub(super) pagination: Pagination,
}

/// A batch with its requests.
#[derive(Serialize, ToSchema)]
pub(super) struct Batch {
    #[serde(flatten)]
    summary: BatchSummary,
    /// In the order in which they were asked for.
    children: Vec<BatchChildBody>,
}

impl Batch {
    pub(super) fn new(record: BatchRecord, children: Vec<BatchChild>) -> Self {
        Self {
            summary: record.into(),
            children: children.into_iter().map(BatchChildBody::from).collect(),
        }
    }
}

/// One request of a batch.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchChild)]
struct BatchChildBody {
    ticket_id: Uuid,
    ticket_number: String,
    event_id: Uuid,
    /// From 1.
    sequence_no: i32,
    /// PENDING_APPROVAL, APPROVED, REJECTED, CANCELLED, EXECUTING, COMPLETED or FAILED.
    #[schema(value_type = String)]
    status: TicketStatus,
    /// The machine; of one that is not there yet the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    /// What the cluster said, at most 512 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reject_reason: Option<String>,
    attempt_count: i32,
}

impl From<BatchChild> for BatchChildBody {
    fn from(child: BatchChild) -> Self {
        let machine = child.vm_id.map(Uuid::from);
        Self {
            ticket_id: child.ticket_id.into(),
            ticket_number: child.ticket_number,
            event_id: child.event_id.into(),
            sequence_no: child.sequence_no,
            status: child.status,
            resource_id: machine.or(child.service_id.map(Uuid::from)),
            resource_name: child.resource_name,
            error_code: child.error_code,
            last_error: child.last_error,
            reject_reason: child.reject_reason,
            attempt_count: child.attempt_count,
        }
    }
}
