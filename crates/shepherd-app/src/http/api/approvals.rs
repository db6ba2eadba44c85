//! Approval tickets: the operations here, what they show in `shown`.

pub(super) mod shown;

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::{ClusterId, TicketId};
use shepherd_domain::problem::{FieldCode, Problem};
use shepherd_domain::ticket::{RequestType, TicketStatus};
use shepherd_ports::tickets::{TicketFilter, TicketRecord};
use shepherd_usecases::approval::modify::Modification;
use shepherd_usecases::approval::{TicketRef, approve, cancel, detail, reject};
use strum::IntoEnumIterator;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use self::shown::{ApprovalTicket, ApprovalTicketDetail};
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

/// A page of tickets.
#[derive(Serialize, ToSchema)]
struct ApprovalTicketList {
    items: Vec<ApprovalTicket>,
    pagination: Pagination,
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
    /// User id or user name of the requester.
    requester: Option<String>,
    parent_ticket_id: Option<String>,
    include_children: Option<bool>,
    include_archived: Option<bool>,
}

impl ListQuery {
    fn filter(&self) -> Result<TicketFilter, Problem> {
        Ok(TicketFilter {
            status: status(self.status.as_deref())?,
            environment: query_value("environment", self.environment.as_deref())?,
            request_types: self.operation_type.as_deref().map(request_types).transpose()?,
            requester: self.requester.clone(),
            parent_ticket_id: query_value::<TicketId>("parent_ticket_id", self.parent_ticket_id.as_deref())?,
            include_children: self.include_children.unwrap_or(false),
            include_archived: self.include_archived.unwrap_or(false),
        })
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MineQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// A status; PENDING and SUCCESS are understood as well.
    status: Option<String>,
    /// CREATE, DELETE, ...
    operation_type: Option<String>,
    include_archived: Option<bool>,
}

impl MineQuery {
    fn filter(&self) -> Result<TicketFilter, Problem> {
        Ok(TicketFilter {
            status: status(self.status.as_deref())?,
            request_types: self.operation_type.as_deref().map(request_types).transpose()?,
            include_archived: self.include_archived.unwrap_or(false),
            ..TicketFilter::default()
        })
    }
}

/// A status by its name, or by what it is called elsewhere.
fn status(text: Option<&str>) -> Result<Option<TicketStatus>, Problem> {
    match text {
        Some("PENDING") => Ok(Some(TicketStatus::PendingApproval)),
        Some("SUCCESS") => Ok(Some(TicketStatus::Completed)),
        other => query_value("status", other),
    }
}

/// The request types an operation stands for.
pub(super) fn request_types(operation: &str) -> Result<Vec<RequestType>, Problem> {
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
#[utoipa::path(tag = "approvals", operation_id = "list_my_approvals", params(MineQuery), responses((status = 200, body = ApprovalTicketList)))]
#[get("/approvals/mine")]
async fn mine(api: web::Data<Api>, auth: Authorized<AnySession>, query: Query<MineQuery>) -> Answer {
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
    let found = detail::execute(&api.platform, &auth.caller, &TicketRef::parse(&id)).await?;
    // They are seen and changed by administrators of the catalogue only.
    let with_guest_data = auth.caller.subject.holds_anywhere(Permission::TemplateRead);
    let version = found.ticket.row_version;
    Ok(versioned(
        version,
        ApprovalTicketDetail::of(found, with_guest_data, api.platform.now()),
    ))
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
    /// The whole spec that is carried out instead of what was asked for.
    #[schema(value_type = Option<Object>)]
    modified_spec: Option<Value>,
    /// Why; goes with `modified_spec`.
    #[schema(max_length = 1024)]
    modification_reason: Option<String>,
}

/// A spec and the reason for it, which come together: what is missing is given as nothing, and refused as that once it
/// is known that the caller may decide.
fn modification(spec: Option<Value>, reason: Option<String>) -> Option<Modification> {
    (spec.is_some() || reason.is_some()).then(|| Modification {
        spec: spec.unwrap_or_default(),
        reason: reason.unwrap_or_default(),
    })
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
        modification: modification(body.modified_spec, body.modification_reason),
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
