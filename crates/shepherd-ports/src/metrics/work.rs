//! Tickets, the operations they ask for, the jobs that carry them out, and batches of them.

use std::time::Duration;

use ::metrics::{counter, histogram};
use shepherd_domain::batch::BatchKind;
use shepherd_domain::event::EventType;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::ticket::RequestType;
use strum::IntoStaticStr;

use super::clusters;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum OperationEnd {
    /// It was carried out.
    Completed,
    /// It failed for good.
    Failed,
}

/// What was decided about a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TicketDecision {
    /// Somebody, or an external system, approved it.
    Approved,
    /// A policy approved it.
    AutoApproved,
    /// It was refused.
    Rejected,
    /// It was withdrawn.
    Cancelled,
}

/// What became of one attempt at a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum JobResult {
    /// The work is done.
    Succeeded,
    /// It will be tried again, or looked at again.
    Postponed,
    /// It failed, and trying again cannot help.
    Failed,
    /// It failed after the last attempt.
    DeadLetter,
    /// The outcome could not be stored.
    Unrecorded,
}

/// What became of the submission of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum BatchResult {
    /// It was accepted.
    Accepted,
    /// It was accepted before.
    Replayed,
    /// A limit stands in its way.
    Limited,
    /// It was refused for any other reason.
    Refused,
    /// Nobody could tell.
    Failed,
}

/// An operation on a machine ended, so long after it was approved.
pub fn vm_operation(operation: RequestType, end: OperationEnd, cluster: Option<ClusterId>, took: Duration) {
    let operation = operation.operation_type();
    let status: &'static str = end.into();
    let cluster = cluster.map_or_else(|| clusters::UNKNOWN.to_owned(), clusters::name);
    counter!("vm_operations_total", "operation" => operation, "status" => status, "cluster" => cluster.clone())
        .increment(1);
    histogram!("vm_operation_duration_seconds", "operation" => operation, "cluster" => cluster).record(took);
}

/// A ticket was decided, so long after it was submitted.
pub fn ticket_decision(decision: TicketDecision, waited: Duration) {
    let decision: &'static str = decision.into();
    histogram!("ticket_decision_seconds", "decision" => decision).record(waited);
}

/// One attempt at a job ended.
pub fn queue_job(event: EventType, result: JobResult, took: Duration) {
    let (event, result): (&'static str, &'static str) = (event.into(), result.into());
    histogram!("queue_job_duration_seconds", "event_type" => event, "result" => result).record(took);
}

/// A batch was submitted.
pub fn batch_submission(kind: BatchKind, result: BatchResult) {
    let result: &'static str = result.into();
    counter!("batch_submit_total", "batch_type" => kind.as_str(), "result" => result).increment(1);
}

/// An item of a batch was carried out; a request that batches do not consist of counts for nothing.
pub fn batch_child(request: RequestType, end: OperationEnd) {
    let kind = match request.operation_group() {
        "CREATE" => BatchKind::Create,
        "DELETE" => BatchKind::Delete,
        "POWER" => BatchKind::Power,
        _ => return,
    };
    let status: &'static str = end.into();
    counter!("batch_child_execution_total", "batch_type" => kind.as_str(), "status" => status).increment(1);
}

/// The last item of a batch ended, so long after the batch was submitted.
pub fn batch_parent(took: Duration) {
    histogram!("batch_parent_duration_seconds").record(took);
}
