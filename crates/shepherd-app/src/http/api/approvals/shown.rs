//! Tickets as they are shown.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::external_approval::{Answer, SubmissionState};
use shepherd_domain::problem::Warning;
use shepherd_domain::ticket::{ActorKind, DecidedByKind, PriorityTier, RequestType, TicketStatus};
use shepherd_ports::tickets::{HistoryStep, TicketContext, TicketRecord};
use shepherd_usecases::approval::detail::Detail;
use shepherd_usecases::approval::workbench::Assessment;
use shepherd_usecases::external_approval::standing::Standing;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::respond::WarningBody;

/// A request on its way from submission to its outcome.
#[derive(Serialize, ToSchema)]
pub(in crate::http::api) struct ApprovalTicket {
    id: Uuid,
    /// `TKT-000123`.
    number: String,
    event_id: Uuid,
    /// PENDING_APPROVAL, APPROVED, REJECTED, CANCELLED, EXECUTING, COMPLETED or FAILED.
    #[schema(value_type = String)]
    status: TicketStatus,
    #[schema(value_type = String)]
    request_type: RequestType,
    /// The request type without `_VM`.
    operation_type: &'static str,
    /// Whether it is the parent of other tickets.
    is_batch: bool,
    #[schema(value_type = String)]
    environment: Environment,
    requester: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    requester_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    decided_by_kind: Option<DecidedByKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reject_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_vm_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_vm_name: Option<String>,
    /// Names and numbers at submission; for approvers, while it is pending, those of what would be carried out.
    #[schema(value_type = Object)]
    context: Context,
    #[serde(skip_serializing_if = "Option::is_none")]
    selected_cluster_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selected_storage_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selected_template_version: Option<i32>,
    /// Whole days, while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    days_pending: Option<i64>,
    /// `normal`, `warning` or `urgent`, while pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    priority_tier: Option<PriorityTier>,
    /// The batch it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_ticket_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    error_params: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<DateTime<Utc>>,
}

/// The ticket context of the specification.
#[derive(Serialize)]
struct Context {
    #[serde(flatten)]
    named: TicketContext,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_count: Option<i64>,
    warnings: Vec<WarningBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eligible_cluster_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_approval_blocked: Option<bool>,
}

impl Context {
    /// As it was at submission.
    fn stored(mut named: TicketContext) -> Self {
        // The list of its own is always there, also when it is empty.
        let told = std::mem::take(&mut named.warnings);
        Self {
            named,
            policy_id: None,
            child_count: None,
            warnings: bodies(told),
            eligible_cluster_count: None,
            self_approval_blocked: None,
        }
    }

    /// As it is now.
    fn assessed(assessment: Assessment) -> Self {
        Self {
            child_count: assessment.child_count,
            warnings: bodies(assessment.warnings),
            eligible_cluster_count: assessment.eligible_cluster_count,
            self_approval_blocked: Some(assessment.self_approval_blocked),
            ..Self::stored(assessment.context)
        }
    }
}

fn bodies(warnings: Vec<Warning>) -> Vec<WarningBody> {
    warnings.into_iter().map(WarningBody::from).collect()
}

impl ApprovalTicket {
    /// A ticket with its context as it was at submission.
    pub(in crate::http::api) fn of(mut record: TicketRecord, now: DateTime<Utc>) -> Self {
        let context = Context::stored(std::mem::take(&mut record.context_snapshot));
        Self::shown(record, context, now)
    }

    /// A ticket with what there is to say about it now.
    pub(in crate::http::api) fn assessed(record: TicketRecord, assessment: Assessment, now: DateTime<Utc>) -> Self {
        Self::shown(record, Context::assessed(assessment), now)
    }

    fn shown(record: TicketRecord, context: Context, now: DateTime<Utc>) -> Self {
        let days_pending =
            (record.status == TicketStatus::PendingApproval).then(|| (now - record.created_at).num_days());
        Self {
            id: record.id.into(),
            number: record.number,
            event_id: record.event_id.into(),
            status: record.status,
            request_type: record.request_type,
            operation_type: record.request_type.operation_type(),
            is_batch: record.request_type.is_batch(),
            environment: record.environment,
            requester: record.requester_id.to_string(),
            requester_name: record.requester_name,
            approver: record.approver_id.map(|approver| approver.to_string()),
            decided_by_kind: record.decided_by_kind,
            reason: record.reason,
            reject_reason: record.reject_reason,
            decision_comment: record.decision_comment,
            target_vm_id: record.vm_id.map(Into::into),
            target_vm_name: context.named.vm.as_ref().map(|vm| vm.name.clone()),
            context: Context {
                policy_id: record.policy_id.map(Into::into),
                ..context
            },
            selected_cluster_id: record.selected_cluster_id.map(Into::into),
            selected_storage_class: record.selected_storage_class,
            selected_template_version: record.selected_template_version,
            days_pending,
            priority_tier: days_pending.map(PriorityTier::of_days),
            parent_ticket_id: record.parent_ticket_id.map(Into::into),
            error_code: record.error_code,
            error_params: record.error_params,
            last_error: record.last_error,
            created_at: record.created_at,
            decided_at: record.decided_at,
        }
    }
}

/// One step of a ticket's history.
#[derive(Serialize, ToSchema)]
struct TicketTransition {
    seq: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    from_status: Option<TicketStatus>,
    #[schema(value_type = String)]
    to_status: TicketStatus,
    actor: String,
    /// USER, POLICY, EXTERNAL, WORKER or SYSTEM.
    #[schema(value_type = String)]
    actor_kind: ActorKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    at: DateTime<Utc>,
}

impl From<HistoryStep> for TicketTransition {
    fn from(step: HistoryStep) -> Self {
        Self {
            seq: step.seq,
            from_status: step.from_status,
            to_status: step.to_status,
            actor: step.actor_id.to_string(),
            actor_kind: step.actor_kind,
            reason: step.reason,
            at: step.at,
        }
    }
}

/// Where a ticket stands with an external system.
#[derive(Serialize, ToSchema)]
struct TicketExternalApproval {
    system_id: Uuid,
    /// Absent when the system is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    system_name: Option<String>,
    /// QUEUED, SUBMITTED, APPROVED, REJECTED, FELL_BACK or CANCELLED. A ticket that waits although the system approved
    /// needs an approver.
    #[schema(value_type = String)]
    state: SubmissionState,
    /// What the system said.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<TicketExternalVerdict>,
    /// When the system, or somebody else, decided, or the platform gave up on the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<DateTime<Utc>>,
}

/// What an external system said about a ticket.
#[derive(Serialize, ToSchema)]
struct TicketExternalVerdict {
    /// `approved` or `rejected`.
    #[schema(value_type = String)]
    answer: Answer,
    /// Who decided there, as the system names that person.
    #[serde(skip_serializing_if = "Option::is_none")]
    approver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    /// When it was decided there, as the system wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<String>,
}

impl From<Standing> for TicketExternalApproval {
    fn from(standing: Standing) -> Self {
        Self {
            system_id: standing.system_id.into(),
            system_name: standing.system_name,
            state: standing.state,
            verdict: standing.verdict.map(|verdict| TicketExternalVerdict {
                answer: verdict.answer,
                approver: verdict.approver,
                comment: verdict.comment,
                decided_at: verdict.decided_at,
            }),
            decided_at: standing.decided_at,
        }
    }
}

/// A ticket with its whole story.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalTicketDetail {
    #[serde(flatten)]
    ticket: ApprovalTicket,
    transitions: Vec<TicketTransition>,
    /// The external system that may decide it, or might have; only when it was handed to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_approval: Option<TicketExternalApproval>,
    /// What was asked for.
    #[schema(value_type = Object)]
    original_spec: Value,
    /// What is carried out.
    #[schema(value_type = Object)]
    effective_spec: Value,
    /// What an approver put in the place of what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    modified_spec: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modification_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    template_snapshot: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    instance_size_snapshot: Option<Value>,
    /// What the requester was told; for approvers, while it is pending, with what has become true since.
    warnings: Vec<WarningBody>,
    /// The policy that decided how the request is treated.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_id: Option<Uuid>,
    /// User ids and keys of roles that the policy leaves the decision to; empty for everybody who may approve. For
    /// approvers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    eligible_approvers: Option<Vec<String>>,
}

impl ApprovalTicketDetail {
    /// A ticket as its reader may see it; cloud-init documents are for readers of templates alone.
    pub(super) fn of(detail: Detail, with_guest_data: bool, now: DateTime<Utc>) -> Self {
        let mut record = detail.ticket;
        let warnings = detail.assessment.as_ref().map_or_else(
            || record.context_snapshot.warnings.clone(),
            |assessment| assessment.warnings.clone(),
        );
        let template_snapshot = record.template_snapshot.take();
        let eligible_approvers = std::mem::take(&mut record.eligible_approvers);
        Self {
            transitions: detail.history.into_iter().map(TicketTransition::from).collect(),
            external_approval: detail.external_approval.map(TicketExternalApproval::from),
            original_spec: detail.original_spec,
            effective_spec: detail.effective_spec,
            modified_spec: record.modified_spec.take(),
            modification_reason: record.modification_reason.take(),
            modified_at: record.modified_at,
            template_snapshot: if with_guest_data {
                template_snapshot
            } else {
                template_snapshot.map(without_guest_data)
            },
            instance_size_snapshot: record.instance_size_snapshot.take(),
            warnings: bodies(warnings),
            policy_id: record.policy_id.map(Into::into),
            eligible_approvers: detail.as_approver.then_some(eligible_approvers),
            ticket: match detail.assessment {
                Some(assessment) => ApprovalTicket::assessed(record, assessment, now),
                None => ApprovalTicket::of(record, now),
            },
        }
    }
}

fn without_guest_data(mut snapshot: Value) -> Value {
    if let Some(spec) = snapshot.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("cloud_init");
    }
    snapshot
}
