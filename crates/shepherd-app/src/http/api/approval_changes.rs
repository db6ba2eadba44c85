//! What an approver does before the decision: look for a place, look at what would come of it, and put another spec in
//! the place of what was asked for.

use actix_web::{HttpResponse, delete, get, post, put, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::problem::{FieldError, Problem};
use shepherd_domain::revision::{Change, ChangeOp};
use shepherd_usecases::approval::approve::Choice;
use shepherd_usecases::approval::modify::Modification;
use shepherd_usecases::approval::suggest::{Reason, Suggestion};
use shepherd_usecases::approval::{self, TicketRef, modify, preview, suggest};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::approvals::shown::ApprovalTicket;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, OptionalJson, Query, page, requirements};
use crate::http::respond::{Answer, Pagination, WarningBody, versioned, warnings};

requirements! {
    /// `approval:approve`
    Approve = [ApprovalApprove],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list_clusters)
        .service(post_preview)
        .service(put_spec)
        .service(delete_spec);
}

/// A cluster that a request could go to.
#[derive(Serialize, ToSchema)]
struct SuggestedCluster {
    cluster_id: Uuid,
    name: String,
    /// `scheduling_weight` minus the number of machines; the highest is taken when nobody chooses.
    score: i64,
    /// Whether the request can go there.
    eligible: bool,
    /// What keeps it from being eligible, or should be known before it is chosen.
    reasons: Vec<ClusterReason>,
    storage_classes: Vec<String>,
    /// The one that is taken when nobody chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_storage_class: Option<String>,
}

/// Something about a cluster.
#[derive(Serialize, ToSchema)]
struct ClusterReason {
    /// An error code, a warning code, or CLUSTER_DISABLED.
    code: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    params: Map<String, Value>,
}

impl From<Reason> for ClusterReason {
    fn from(reason: Reason) -> Self {
        Self {
            code: reason.code,
            params: reason.params,
        }
    }
}

impl From<Suggestion> for SuggestedCluster {
    fn from(suggestion: Suggestion) -> Self {
        let default_storage_class = suggestion.cluster.effective_storage_class().map(str::to_owned);
        Self {
            cluster_id: suggestion.cluster.id.into(),
            name: suggestion.cluster.name,
            score: suggestion.score,
            eligible: suggestion.eligible,
            reasons: suggestion.reasons.into_iter().map(ClusterReason::from).collect(),
            storage_classes: suggestion.cluster.storage_classes,
            default_storage_class,
        }
    }
}

/// A page of clusters.
#[derive(Serialize, ToSchema)]
struct SuggestedClusterList {
    items: Vec<SuggestedCluster>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SuggestQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// Lists the others too, with what keeps each from being eligible.
    include_ineligible: Option<bool>,
}

/// List the clusters a request could go to
///
/// By name. What is done to an existing machine happens on its cluster.
#[utoipa::path(tag = "approvals", operation_id = "list_suggested_clusters", params(("ticket_id" = String, Path, description = "Id or number"), SuggestQuery), responses((status = 200, body = SuggestedClusterList)))]
#[get("/approvals/{ticket_id}/suggested-clusters")]
async fn list_clusters(
    api: web::Data<Api>,
    auth: Authorized<Approve>,
    id: web::Path<String>,
    query: Query<SuggestQuery>,
) -> Answer {
    let query = query.read()?;
    let request = page(query.page, query.per_page)?;
    let all = query.include_ineligible.unwrap_or(false);
    let found = suggest::execute(&api.platform, &auth.caller, &TicketRef::parse(&id), all).await?;
    let found = cut(found, request);
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(SuggestedCluster::from).collect();
    Ok(HttpResponse::Ok().json(SuggestedClusterList { items, pagination }))
}

/// A page of a list that is there as a whole.
fn cut<T>(all: Vec<T>, request: PageRequest) -> Page<T> {
    let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let before = usize::try_from(request.offset()).unwrap_or(usize::MAX);
    let most = usize::try_from(request.per_page()).unwrap_or(usize::MAX);
    Page {
        items: all.into_iter().skip(before).take(most).collect(),
        total,
        request,
    }
}

/// What would be decided.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct PreviewRequest {
    /// The whole spec that would be carried out; absent leaves the stored one.
    #[schema(value_type = Option<Object>)]
    modified_spec: Option<Value>,
    /// May be absent when exactly one cluster is eligible.
    selected_cluster_id: Option<Uuid>,
    /// Absent or empty takes the cluster's default.
    #[schema(max_length = 253)]
    selected_storage_class: Option<String>,
    /// Absent takes the version of the spec.
    #[schema(minimum = 1)]
    selected_template_version: Option<i32>,
}

/// One difference between what was asked for and what would be carried out.
#[derive(Serialize, ToSchema)]
struct SpecDifference {
    /// `cpu_cores`
    path: String,
    /// add, remove or replace.
    #[schema(value_type = String)]
    op: ChangeOp,
    /// Absent when it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Value>,
    /// Absent when it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Value>,
}

impl From<Change> for SpecDifference {
    fn from(change: Change) -> Self {
        Self {
            path: change.path,
            op: change.op,
            old: change.old,
            new: change.new,
        }
    }
}

/// What would refuse the decision.
#[derive(Serialize, ToSchema)]
struct BlockingFinding {
    /// The error code of the refusal.
    code: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Option<Object>)]
    params: Map<String, Value>,
    /// With VALIDATION_FAILED.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>, required = false)]
    field_errors: Vec<FieldError>,
}

impl From<Problem> for BlockingFinding {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code.to_string(),
            params: problem.params,
            field_errors: problem.field_errors,
        }
    }
}

/// What the cluster said.
#[derive(Serialize, ToSchema)]
struct DryRunOutcome {
    /// Whether it was asked.
    performed: bool,
    /// ACCEPTED, REJECTED or UNREACHABLE.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'static str>,
}

/// What would come of a decision.
#[derive(Serialize, ToSchema)]
struct ApprovalPreview {
    /// By path.
    diff: Vec<SpecDifference>,
    /// What would be carried out.
    #[schema(value_type = Object)]
    effective_spec: Value,
    /// The object that would be applied, without Secrets and with what looks like a secret masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    rendered_yaml: Option<String>,
    warnings: Vec<WarningBody>,
    /// In the order of the checks; the decision would fail with the first.
    blocking: Vec<BlockingFinding>,
    dry_run: DryRunOutcome,
}

impl From<preview::Preview> for ApprovalPreview {
    fn from(shown: preview::Preview) -> Self {
        Self {
            diff: shown.changes.into_iter().map(SpecDifference::from).collect(),
            effective_spec: shown.effective_spec,
            rendered_yaml: shown.rendered_yaml,
            warnings: shown.warnings.into_iter().map(WarningBody::from).collect(),
            blocking: shown.blocking.into_iter().map(BlockingFinding::from).collect(),
            dry_run: DryRunOutcome {
                performed: shown.dry_run.is_some(),
                result: shown.dry_run.map(|result| result.as_str()),
            },
        }
    }
}

/// Preview a decision
///
/// Nothing is stored.
#[utoipa::path(tag = "approvals", operation_id = "preview_approval", params(("ticket_id" = String, Path, description = "Id or number")), request_body = PreviewRequest, responses((status = 200, body = ApprovalPreview)))]
#[post("/admin/approvals/{ticket_id}/preview")]
async fn post_preview(
    api: web::Data<Api>,
    auth: Authorized<Approve, OptionalJson<PreviewRequest>>,
    id: web::Path<String>,
) -> Answer {
    let OptionalJson(body) = auth.body;
    let proposal = preview::Proposal {
        spec: body.modified_spec,
        choice: Choice {
            cluster: body.selected_cluster_id.map(ClusterId::from_uuid),
            storage_class: body.selected_storage_class,
            template_version: body.selected_template_version,
            ..Choice::default()
        },
    };
    let shown = preview::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        &TicketRef::parse(&id),
        &proposal,
    )
    .await?;
    Ok(HttpResponse::Ok().json(ApprovalPreview::from(shown)))
}

/// What is to be carried out instead of what was asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "modified_spec": {
        "service_id": "01983f0e-0000-7000-8000-000000000001", "namespace": "dev",
        "template_id": "01983f0e-0000-7000-8000-000000000002", "instance_size_id": "01983f0e-0000-7000-8000-000000000003",
        "cpu_cores": 2, "memory_mb": 4096, "disk_gb": 40
    },
    "modification_reason": "two cores are enough"
}))]
struct ModifySpecRequest {
    /// The whole spec; what is left out falls back to the size, not to what was asked for.
    #[schema(value_type = Object)]
    modified_spec: Value,
    #[schema(min_length = 1, max_length = 1024)]
    modification_reason: String,
}

/// A ticket whose spec was replaced.
#[derive(Serialize, ToSchema)]
struct ModifiedTicket {
    #[serde(flatten)]
    ticket: ApprovalTicket,
    /// What is carried out now.
    #[schema(value_type = Object)]
    effective_spec: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
}

/// Replace the spec of a pending request
///
/// The last replacement counts. Service, namespace and machine stay.
#[utoipa::path(tag = "approvals", operation_id = "modify_approval_spec", params(("ticket_id" = String, Path, description = "Id or number")), request_body = ModifySpecRequest, responses((status = 200, body = ModifiedTicket)))]
#[put("/admin/approvals/{ticket_id}/modified-spec")]
async fn put_spec(
    api: web::Data<Api>,
    auth: Authorized<Approve, Json<ModifySpecRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let Json(body) = auth.body;
    let ticket = TicketRef::parse(&id);
    let modification = Modification {
        spec: body.modified_spec,
        reason: body.modification_reason,
    };
    let found = modify::execute(&api.platform, &auth.caller, &ticket, modification, version.0).await?;
    let record = approval::visible(&api.platform, &auth.caller, &ticket).await?;
    let effective_spec = record.modified_spec.clone().unwrap_or_default();
    Ok(versioned(
        record.row_version,
        ModifiedTicket {
            ticket: ApprovalTicket::of(record, api.platform.now()),
            effective_spec,
            warnings: warnings(found),
        },
    ))
}

/// Take the replacement of a spec back
#[utoipa::path(tag = "approvals", operation_id = "clear_approval_spec", params(("ticket_id" = String, Path, description = "Id or number")), responses((status = 204)))]
#[delete("/admin/approvals/{ticket_id}/modified-spec")]
async fn delete_spec(
    api: web::Data<Api>,
    auth: Authorized<Approve>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    modify::clear(&api.platform, &auth.caller, &TicketRef::parse(&id), version.0).await?;
    Ok(HttpResponse::NoContent().finish())
}
