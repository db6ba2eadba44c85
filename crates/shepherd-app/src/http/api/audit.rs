//! The audit log, page by page and as an export.

use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::ActionPattern;
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_ports::audit::{AuditFilter, AuditRecord};
use shepherd_usecases::audit::export::{self, ExportAudit, Format};
use shepherd_usecases::{Platform, UseCaseError};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{Authorized, Query, page, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `audit:read`
    Read = [AuditRead],
    /// `audit:export`
    Export = [AuditExport],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(get_export);
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
    /// RFC 3339, exclusive; after `from`.
    to: Option<DateTime<Utc>>,
}

/// Read the audit log
#[utoipa::path(tag = "audit", operation_id = "list_audit_logs", params(ListQuery), responses((status = 200, body = AuditLogList)))]
#[get("/audit-logs")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        let error = FieldError::new("to", FieldCode::OutOfRange).with("after", from.to_rfc3339());
        return Err(Problem::invalid(vec![error]).into());
    }
    let filter = AuditFilter {
        action: action_pattern(query.action.as_deref())?,
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

/// An action or a prefix of actions.
///
/// # Errors
/// VALIDATION_FAILED with INVALID_FORMAT.
fn action_pattern(text: Option<&str>) -> Result<Option<ActionPattern>, Problem> {
    text.map(|text| {
        text.parse()
            .map_err(|_| Problem::invalid_field("action", FieldCode::InvalidFormat))
    })
    .transpose()
}

/// A page of an export. PostgreSQL writes the objects; this only describes them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is passed on as text")]
struct AuditExport {
    /// Newest first, as in the list.
    logs: Vec<ExportedAuditLog>,
    pagination: Pagination,
}

/// An exported row. Every key is always there.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is passed on as text")]
struct ExportedAuditLog {
    #[schema(rename = "@timestamp")]
    timestamp: DateTime<Utc>,
    event_id: Uuid,
    /// Canonical dotted name.
    action: String,
    /// Governance class.
    action_code: String,
    /// `warn` for failures, SECURITY and ACCESS_DENIED; `info` for the rest.
    level: String,
    /// `success` or `failure`.
    outcome: String,
    actor: ExportedActor,
    resource: ExportedResource,
    context: ExportedContext,
    /// Redacted.
    #[schema(value_type = Object)]
    details: Value,
}

/// Who did it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is passed on as text")]
struct ExportedActor {
    /// A user id or `system:<component>`.
    id: String,
    name: String,
    ip: Option<String>,
}

/// What it was done to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is passed on as text")]
struct ExportedResource {
    r#type: String,
    id: String,
    name: Option<String>,
}

/// Where it belongs.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what is passed on as text")]
struct ExportedContext {
    environment: Option<String>,
    /// Name or id of the cluster, where the row tells one.
    cluster: Option<String>,
    /// The request id.
    correlation_id: Option<String>,
    ticket_id: Option<Uuid>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// RFC 3339, inclusive.
    #[param(required = true)]
    start_time: Option<DateTime<Utc>>,
    /// RFC 3339, exclusive; at most 92 days after `start_time`. What is younger than the request is left out.
    #[param(required = true)]
    end_time: Option<DateTime<Utc>>,
    /// An action, or a prefix that ends with `*`.
    action: Option<String>,
    /// A user id or `system:<component>`.
    actor_id: Option<String>,
    /// From 1. Without it `ndjson` is the whole range, and `json` the first page.
    page: Option<u32>,
    /// 1 to 1000, 1000 when absent.
    per_page: Option<u32>,
    /// `json`, which is used when absent, or `ndjson`.
    format: Option<String>,
}

impl ExportQuery {
    fn into_command(self) -> Result<ExportAudit, Problem> {
        let (Some(start), Some(end)) = (self.start_time, self.end_time) else {
            let fields = [("start_time", self.start_time), ("end_time", self.end_time)];
            let missing = fields.into_iter().filter(|(_, given)| given.is_none());
            let errors = missing.map(|(field, _)| FieldError::new(field, FieldCode::Required));
            return Err(Problem::invalid(errors.collect()));
        };
        let format = query_value("format", self.format.as_deref())?.unwrap_or(Format::Json);
        let page = export_page(self.page, self.per_page)?;
        Ok(ExportAudit {
            start,
            end,
            action: action_pattern(self.action.as_deref())?,
            actor: self.actor_id,
            format,
            page: (self.page.is_some() || format == Format::Json).then_some(page),
        })
    }
}

/// `page` and `per_page` of an export.
fn export_page(page: Option<u32>, per_page: Option<u32>) -> Result<PageRequest, Problem> {
    let (page, per_page) = (page.unwrap_or(1), per_page.unwrap_or(PageRequest::MAX_EXPORT_PER_PAGE));
    PageRequest::of_export(page, per_page).ok_or_else(|| {
        let limits = [
            ("page", page, PageRequest::MAX_PAGE),
            ("per_page", per_page, PageRequest::MAX_EXPORT_PER_PAGE),
        ];
        let wrong = limits.into_iter().filter(|(_, given, max)| !(1..=*max).contains(given));
        let errors = wrong.map(|(field, _, max)| {
            FieldError::new(field, FieldCode::OutOfRange)
                .with("min", 1)
                .with("max", max)
        });
        Problem::invalid(errors.collect())
    })
}

/// Export the audit log
///
/// The export is on record before its first byte is sent. A stream that cannot be completed breaks off: it is complete
/// only if the answer ends regularly.
#[utoipa::path(
    tag = "audit",
    operation_id = "export_audit_logs",
    params(ExportQuery),
    responses((status = 200, description = "Rows of the log", content(
        (AuditExport = "application/json"),
        (ExportedAuditLog = "application/x-ndjson")
    )))
)]
#[get("/admin/audit-logs/export")]
async fn get_export(api: web::Data<Api>, auth: Authorized<Export>, query: Query<ExportQuery>) -> Answer {
    let command = query.read()?.into_command()?;
    let (format, page) = (command.format, command.page);
    let export = export::begin(&api.platform, &auth.caller, command).await?;
    let Some(page) = page else {
        let request_id = auth.caller.context.request_id;
        return streamed(export, Arc::clone(&api.platform), request_id).await;
    };
    let found = export.page(&api.platform, page).await?;
    match format {
        Format::Ndjson => Ok(HttpResponse::Ok().content_type(NDJSON).body(lines(&found.items))),
        Format::Json => {
            let pagination = serde_json::to_string(&Pagination::of(&found))
                .map_err(|_| UseCaseError::Broken("a pagination is no JSON"))?;
            let logs = found.items.join(",");
            let body = format!(r#"{{"logs":[{logs}],"pagination":{pagination}}}"#);
            Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
        }
    }
}

const NDJSON: &str = "application/x-ndjson";

/// One object in each line.
fn lines(objects: &[String]) -> String {
    let mut text = String::with_capacity(objects.iter().map(|object| object.len() + 1).sum());
    for object in objects {
        text.push_str(object);
        text.push('\n');
    }
    text
}

/// The whole range, read as fast as the client takes it.
async fn streamed(export: export::Export, platform: Arc<Platform>, request_id: Option<String>) -> Answer {
    let mut batches = Box::pin(export.batches(platform));
    // What goes wrong before the first byte is still answered with a status.
    let first = batches.try_next().await?;
    let body = stream::iter(first.map(Ok))
        .chain(batches)
        .map_ok(|objects| web::Bytes::from(lines(&objects)))
        .inspect_err(move |error| {
            let error: &dyn std::error::Error = error;
            tracing::error!(error, request_id, "an export broke off");
        });
    Ok(HttpResponse::Ok().content_type(NDJSON).streaming(body))
}
