//! Legal holds on audit rows.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::audit::HoldFilter;
use shepherd_domain::ids::{LegalHoldId, TicketId};
use shepherd_domain::problem::Problem;
use shepherd_ports::legal_holds::LegalHoldRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::legal_hold::{create, release};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use super::clusters::EnvironmentName;
use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination, created, versioned};

requirements! {
    /// `audit:manage`
    Manage = [AuditManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(post_hold).service(release_hold);
}

/// A legal hold.
#[derive(Serialize, ToSchema)]
struct LegalHold {
    id: Uuid,
    name: String,
    /// Rows that equal all of these are kept; without any, every row.
    filter: BTreeMap<String, String>,
    created_by: String,
    created_at: DateTime<Utc>,
    /// Since then it keeps nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    released_at: Option<DateTime<Utc>>,
}

impl From<LegalHoldRecord> for LegalHold {
    fn from(record: LegalHoldRecord) -> Self {
        Self {
            id: record.id.into(),
            name: record.name,
            filter: record.filter,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            released_at: record.released_at,
        }
    }
}

/// A page of legal holds.
#[derive(Serialize, ToSchema)]
struct LegalHoldList {
    items: Vec<LegalHold>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List legal holds
///
/// Newest first, released ones too.
#[utoipa::path(tag = "audit", operation_id = "list_legal_holds", params(ListQuery), responses((status = 200, body = LegalHoldList)))]
#[get("/admin/audit-logs/legal-holds")]
async fn list(api: web::Data<Api>, _auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let found = api
        .platform
        .read
        .list_legal_holds(page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(LegalHold::from).collect();
    Ok(HttpResponse::Ok().json(LegalHoldList { items, pagination }))
}

/// Which rows are kept: those that equal all the given values. An empty filter keeps every row.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LegalHoldFilter {
    /// One of the canonical actions, without a wildcard.
    #[schema(min_length = 1, max_length = 64)]
    action: Option<String>,
    #[schema(min_length = 1, max_length = 64)]
    resource_type: Option<String>,
    #[schema(min_length = 1, max_length = 255)]
    resource_id: Option<String>,
    /// A user id or `system:<component>`.
    #[schema(min_length = 1, max_length = 255)]
    performed_by: Option<String>,
    #[schema(value_type = Option<EnvironmentName>)]
    environment: Option<Environment>,
    #[schema(value_type = Option<Uuid>)]
    ticket_id: Option<TicketId>,
}

impl TryFrom<LegalHoldFilter> for HoldFilter {
    type Error = Problem;

    fn try_from(body: LegalHoldFilter) -> Result<Self, Problem> {
        Ok(Self {
            action: query_value("filter.action", body.action.as_deref())?,
            resource_type: body.resource_type,
            resource_id: body.resource_id,
            performed_by: body.performed_by,
            environment: body.environment,
            ticket_id: body.ticket_id,
        })
    }
}

/// A new legal hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "case 2026-17", "filter": {"resource_type": "vm", "environment": "prod"}}))]
struct CreateLegalHoldRequest {
    /// Unique, also among released ones.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    filter: LegalHoldFilter,
}

/// Create a legal hold
///
/// From the answer on, no matching row is purged.
#[utoipa::path(tag = "audit", operation_id = "create_legal_hold", request_body = CreateLegalHoldRequest, responses((status = 201, body = LegalHold)))]
#[post("/admin/audit-logs/legal-holds")]
async fn post_hold(api: web::Data<Api>, auth: Authorized<Manage, Json<CreateLegalHoldRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = create::CreateLegalHold {
        name: body.name,
        filter: body.filter.try_into()?,
    };
    let answer = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let hold = stored(&api, answer.outcome).await?;
    Ok(created(
        format!("{BASE}/admin/audit-logs/legal-holds/{}", hold.id),
        hold.row_version,
        answer.replayed,
        LegalHold::from(hold),
    ))
}

/// Why a hold ends.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseLegalHoldRequest {
    #[schema(min_length = 1, max_length = 512)]
    reason: String,
}

/// Release a legal hold
///
/// A hold that was released before stays as it is.
#[utoipa::path(tag = "audit", operation_id = "release_legal_hold", params(("hold_id" = Uuid, Path)), request_body = ReleaseLegalHoldRequest, responses((status = 200, body = LegalHold)))]
#[post("/admin/audit-logs/legal-holds/{hold_id}/release")]
async fn release_hold(
    api: web::Data<Api>,
    auth: Authorized<Manage, Json<ReleaseLegalHoldRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: LegalHoldId = path_id("hold_id", &id)?;
    release::execute(&api.platform, &auth.caller, id, &auth.body.0.reason).await?;
    let hold = stored(&api, id).await?;
    Ok(versioned(hold.row_version, LegalHold::from(hold)))
}

async fn stored(api: &Api, id: LegalHoldId) -> Result<LegalHoldRecord, UseCaseError> {
    let hold = api.platform.read.get_legal_hold(id).await?;
    hold.ok_or(UseCaseError::Broken("a legal hold is not there"))
}
