//! The audit log.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_ports::audit::{AuditFilter, AuditRecord};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{Authorized, Query, page, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `audit:read`
    Read = [AuditRead],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list);
}

/// Something that was done.
#[derive(Serialize, ToSchema)]
struct AuditLog {
    id: Uuid,
    /// Canonical dotted name.
    action: String,
    /// Governance class.
    action_code: String,
    resource_type: String,
    resource_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
    /// A user id or `system:<component>`.
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor_name: Option<String>,
    /// `success` or `failure`.
    outcome: String,
    /// Redacted.
    #[schema(value_type = Object)]
    details: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    environment: Option<Environment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<AuditRecord> for AuditLog {
    fn from(record: AuditRecord) -> Self {
        Self {
            id: record.id.into(),
            action: record.action,
            action_code: record.action_code,
            resource_type: record.resource_type,
            resource_id: record.resource_id,
            resource_name: record.resource_name,
            actor: record.performed_by.to_string(),
            actor_name: record.performed_by_name,
            outcome: record.outcome,
            details: record.params,
            ticket_id: record.ticket_id.map(Into::into),
            environment: record.environment,
            request_id: record.request_id,
            ip: record.ip,
            created_at: record.performed_at,
        }
    }
}

/// A page of the log.
#[derive(Serialize, ToSchema)]
struct AuditLogList {
    items: Vec<AuditLog>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// An action, or a prefix that ends with `*`.
    action: Option<String>,
    action_code: Option<String>,
    actor: Option<String>,
    resource_type: Option<String>,
    resource_id: Option<String>,
    ticket_id: Option<String>,
    environment: Option<String>,
    /// RFC 3339, inclusive.
    from: Option<DateTime<Utc>>,
    /// RFC 3339, exclusive.
    to: Option<DateTime<Utc>>,
}

/// Read the audit log
#[utoipa::path(tag = "audit", operation_id = "list_audit_logs", params(ListQuery), responses((status = 200, body = AuditLogList)))]
#[get("/audit-logs")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let filter = AuditFilter {
        action: query.action,
        action_code: query.action_code,
        actor: query.actor,
        resource_type: query.resource_type,
        resource_id: query.resource_id,
        ticket_id: query_value("ticket_id", query.ticket_id.as_deref())?,
        environment: query_value("environment", query.environment.as_deref())?,
        from: query.from,
        to: query.to,
        visible: auth.caller.subject.environments(Permission::AuditRead, None),
    };
    let found = api
        .platform
        .read
        .list_audit(&filter, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(AuditLogList {
        items: found.items.into_iter().map(AuditLog::from).collect(),
        pagination,
    }))
}
