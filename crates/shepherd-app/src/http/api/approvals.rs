//! Approval tickets.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::{ClusterId, TicketId};
use shepherd_domain::problem::{FieldCode, Problem};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, PriorityTier, RequestType, TicketStatus};
use shepherd_ports::tickets::{HistoryStep, TicketContext, TicketFilter, TicketRecord};
use shepherd_usecases::UseCaseError;
use shepherd_usecases::approval::{self, TicketRef, approve, cancel, reject};
use strum::IntoEnumIterator;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, Json, OptionalJson, Query, page, query_value, requirements};
use crate::http::respond::{Answer, Pagination, versioned};

requirements! {
    /// `approval:view`
    View = [ApprovalView],
    /// `approval:approve`
    Approve = [ApprovalApprove],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(mine)
        .service(get_ticket)
        .service(post_approve)
        .service(post_reject)
        .service(post_cancel);
}

/// A request on its way from submission to its outcome.
#[derive(Serialize, ToSchema)]
struct ApprovalTicket {
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
    /// Names and numbers at submission.
    #[schema(value_type = Object)]
    context: TicketContext,
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

impl ApprovalTicket {
    fn of(record: TicketRecord, now: DateTime<Utc>) -> Self {
        let days_pending =
            (record.status == TicketStatus::PendingApproval).then(|| (now - record.created_at).num_days());
        Self {
            id: record.id.into(),
            number: record.number,
            event_id: record.event_id.into(),
            status: record.status,
            request_type: record.request_type,
            operation_type: record.request_type.operation_type(),
            environment: record.environment,
            requester: record.requester_id.to_string(),
            requester_name: record.requester_name,
            approver: record.approver_id.map(|approver| approver.to_string()),
            decided_by_kind: record.decided_by_kind,
            reason: record.reason,
            reject_reason: record.reject_reason,
            decision_comment: record.decision_comment,
            target_vm_id: record.vm_id.map(Into::into),
            target_vm_name: record.context_snapshot.vm.as_ref().map(|vm| vm.name.clone()),
            context: record.context_snapshot,
            selected_cluster_id: record.selected_cluster_id.map(Into::into),
            selected_storage_class: record.selected_storage_class,
            selected_template_version: record.selected_template_version,
            days_pending,
            priority_tier: days_pending.map(PriorityTier::of_days),
            error_code: record.error_code,
            error_params: record.error_params,
            last_error: record.last_error,
            created_at: record.created_at,
            decided_at: record.decided_at,
        }
    }
}

/// A page of tickets.
#[derive(Serialize, ToSchema)]
struct ApprovalTicketList {
    items: Vec<ApprovalTicket>,
    pagination: Pagination,
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

/// A ticket with its whole story.
#[derive(Serialize, ToSchema)]
struct ApprovalTicketDetail {
    #[serde(flatten)]
    ticket: ApprovalTicket,
    transitions: Vec<TicketTransition>,
    /// What was asked for.
    #[schema(value_type = Object)]
    original_spec: Value,
    /// What is carried out.
    #[schema(value_type = Object)]
    effective_spec: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    template_snapshot: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    instance_size_snapshot: Option<Value>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// A status; PENDING and SUCCESS are understood as well.
    status: Option<String>,
    environment: Option<String>,
    /// CREATE, DELETE, ...
    operation_type: Option<String>,
    /// User id of the requester.
    requester: Option<String>,
    parent_ticket_id: Option<String>,
    include_children: Option<bool>,
    include_archived: Option<bool>,
}

impl ListQuery {
    fn filter(&self) -> Result<TicketFilter, Problem> {
        let status = match self.status.as_deref() {
            Some("PENDING") => Some(TicketStatus::PendingApproval),
            Some("SUCCESS") => Some(TicketStatus::Completed),
            other => query_value("status", other)?,
        };
        Ok(TicketFilter {
            status,
            environment: query_value("environment", self.environment.as_deref())?,
            request_types: self.operation_type.as_deref().map(request_types).transpose()?,
            requester: self.requester.clone(),
            parent_ticket_id: query_value::<TicketId>("parent_ticket_id", self.parent_ticket_id.as_deref())?,
            include_children: self.include_children.unwrap_or(false),
            include_archived: self.include_archived.unwrap_or(false),
        })
    }
}

/// The request types an operation stands for.
fn request_types(operation: &str) -> Result<Vec<RequestType>, Problem> {
    let types: Vec<RequestType> = RequestType::iter()
        .filter(|request| request.operation_type() == operation)
        .collect();
    if types.is_empty() {
        Err(Problem::invalid_field("operation_type", FieldCode::UnknownValue))
    } else {
        Ok(types)
    }
}

/// List tickets
#[utoipa::path(tag = "approvals", operation_id = "list_approvals", params(ListQuery), responses((status = 200, body = ApprovalTicketList)))]
#[get("/approvals")]
async fn list(api: web::Data<Api>, auth: Authorized<View>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let visible = auth.caller.subject.environments(Permission::ApprovalView, None);
    let found = api
        .platform
        .read
        .list_tickets(visible, &query.filter()?, page(query.page, query.per_page)?)
        .await?;
    Ok(answer_list(&api, found))
}

/// List own tickets
#[utoipa::path(tag = "approvals", operation_id = "list_my_approvals", params(ListQuery), responses((status = 200, body = ApprovalTicketList)))]
#[get("/approvals/mine")]
async fn mine(api: web::Data<Api>, auth: Authorized<AnySession>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let found = api
        .platform
        .read
        .my_tickets(
            auth.caller.subject.user(),
            &query.filter()?,
            page(query.page, query.per_page)?,
        )
        .await?;
    Ok(answer_list(&api, found))
}

fn answer_list(api: &Api, found: shepherd_domain::page::Page<TicketRecord>) -> HttpResponse {
    let now = api.platform.now();
    let pagination = Pagination::of(&found);
    let items = found
        .items
        .into_iter()
        .map(|record| ApprovalTicket::of(record, now))
        .collect();
    HttpResponse::Ok().json(ApprovalTicketList { items, pagination })
}

/// Get a ticket with its history
#[utoipa::path(tag = "approvals", operation_id = "get_approval", params(("ticket_id" = String, Path, description = "Id or number")), responses((status = 200, body = ApprovalTicketDetail)))]
#[get("/approvals/{ticket_id}")]
async fn get_ticket(api: web::Data<Api>, auth: Authorized<AnySession>, id: web::Path<String>) -> Answer {
    let mut record = approval::visible(&api.platform, &auth.caller, &TicketRef::parse(&id)).await?;
    let history = api.platform.read.ticket_history(record.id).await?;
    let (payload, _) = api
        .platform
        .read
        .ticket_event(record.event_id)
        .await?
        .ok_or(UseCaseError::Broken("a ticket has no event"))?;
    let original_spec = payload.get("spec").cloned().unwrap_or(payload);
    let effective_spec = record.modified_spec.clone().unwrap_or_else(|| original_spec.clone());
    let (template_snapshot, instance_size_snapshot) =
        (record.template_snapshot.take(), record.instance_size_snapshot.take());
    Ok(versioned(
        record.row_version,
        ApprovalTicketDetail {
            ticket: ApprovalTicket::of(record, api.platform.now()),
            transitions: history.into_iter().map(TicketTransition::from).collect(),
            original_spec,
            effective_spec,
            template_snapshot: template_snapshot.map(without_guest_data),
            instance_size_snapshot,
        },
    ))
}

/// cloud-init documents are seen and changed by administrators of the catalogue only.
fn without_guest_data(mut snapshot: Value) -> Value {
    if let Some(spec) = snapshot.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("cloud_init");
    }
    snapshot
}

/// Where a request goes.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct ApproveRequest {
    /// May be absent when exactly one cluster is eligible.
    selected_cluster_id: Option<Uuid>,
    /// Absent or empty takes the cluster's default.
    #[schema(max_length = 253)]
    selected_storage_class: Option<String>,
    /// Absent takes the version the requester saw.
    #[schema(minimum = 1)]
    selected_template_version: Option<i32>,
    #[schema(max_length = 1024)]
    comment: Option<String>,
}

/// Approve
#[utoipa::path(tag = "approvals", operation_id = "approve", params(("ticket_id" = String, Path, description = "Id or number")), request_body = ApproveRequest, responses((status = 204)))]
#[post("/approvals/{ticket_id}/approve")]
async fn post_approve(
    api: web::Data<Api>,
    auth: Authorized<Approve, OptionalJson<ApproveRequest>>,
    id: web::Path<String>,
) -> Answer {
    let OptionalJson(body) = auth.body;
    let choice = approve::Choice {
        cluster: body.selected_cluster_id.map(ClusterId::from_uuid),
        storage_class: body.selected_storage_class,
        template_version: body.selected_template_version,
        comment: body.comment,
    };
    approve::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        &TicketRef::parse(&id),
        &choice,
    )
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Why not.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RejectRequest {
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
}

/// Reject
#[utoipa::path(tag = "approvals", operation_id = "reject", params(("ticket_id" = String, Path, description = "Id or number")), request_body = RejectRequest, responses((status = 204)))]
#[post("/approvals/{ticket_id}/reject")]
async fn post_reject(
    api: web::Data<Api>,
    auth: Authorized<Approve, Json<RejectRequest>>,
    id: web::Path<String>,
) -> Answer {
    reject::execute(&api.platform, &auth.caller, &TicketRef::parse(&id), &auth.body.0.reason).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Why it is withdrawn.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct CancelRequest {
    #[schema(max_length = 1024)]
    reason: Option<String>,
}

/// Cancel an own request
#[utoipa::path(tag = "approvals", operation_id = "cancel", params(("ticket_id" = String, Path, description = "Id or number")), request_body = CancelRequest, responses((status = 204)))]
#[post("/approvals/{ticket_id}/cancel")]
async fn post_cancel(
    api: web::Data<Api>,
    auth: Authorized<AnySession, OptionalJson<CancelRequest>>,
    id: web::Path<String>,
) -> Answer {
    let OptionalJson(body) = auth.body;
    cancel::execute(&api.platform, &auth.caller, &TicketRef::parse(&id), body.reason).await?;
    Ok(HttpResponse::NoContent().finish())
}
