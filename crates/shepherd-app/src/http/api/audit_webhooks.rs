//! Webhooks that audit rows are pushed to.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::audit_webhook::{PushFilters, WebhookMethod};
use shepherd_domain::ids::AuditWebhookId;
use shepherd_ports::audit_webhooks::AuditWebhookRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::audit_webhook;
use shepherd_usecases::audit_webhook::create::{self, CreateAuditWebhook, FilterFields, Headers};
use shepherd_usecases::audit_webhook::update::{self, UpdateAuditWebhook};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::BASE;
use super::clusters::EnvironmentName;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, page, path_id, present, requirements};
use crate::http::respond::{Answer, Pagination, created, versioned};

const DEFAULT_BATCH_SIZE: i32 = 100;
const DEFAULT_FLUSH_INTERVAL: i32 = 60;

requirements! {
    /// `audit:manage`
    Manage = [AuditManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_webhook)
        .service(patch_webhook)
        .service(delete_webhook)
        .service(test_webhook);
}

/// A webhook that audit rows are pushed to. Its signing secret and the values of its headers are never returned.
#[derive(Serialize, ToSchema)]
struct AuditWebhook {
    id: Uuid,
    name: String,
    url: String,
    /// `POST` or `PUT`.
    #[schema(value_type = String)]
    method: WebhookMethod,
    headers: Vec<AuditWebhookHeader>,
    filters: AuditWebhookFilters,
    batch_size: i32,
    flush_interval_seconds: i32,
    enabled: bool,
    has_secret: bool,
    /// The signing secret that was made because none was given; only in the answer to the creation itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// When rows were taken last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success_at: Option<DateTime<Utc>>,
    /// Why the last push failed, in fixed words; absent when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When pushes began to fail; absent while they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<DateTime<Utc>>,
    /// When a failed push is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<DateTime<Utc>>,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A header that is sent with every batch.
#[derive(Serialize, ToSchema)]
struct AuditWebhookHeader {
    name: String,
    /// Always true: the value is kept, and not shown.
    has_value: bool,
}

/// Which rows are pushed; both must hold.
#[derive(Serialize, ToSchema)]
struct AuditWebhookFilters {
    /// Globs over actions; empty for every action.
    actions: Vec<String>,
    /// Rows that carry one of these environments; empty for all rows.
    #[schema(value_type = Vec<String>)]
    environments: Vec<Environment>,
}

impl From<PushFilters> for AuditWebhookFilters {
    fn from(filters: PushFilters) -> Self {
        Self {
            actions: filters.actions.into_iter().map(String::from).collect(),
            environments: filters.environments.iter().collect(),
        }
    }
}

impl From<AuditWebhookRecord> for AuditWebhook {
    fn from(record: AuditWebhookRecord) -> Self {
        let header = |name| AuditWebhookHeader { name, has_value: true };
        Self {
            id: record.id.into(),
            name: record.name,
            url: record.url,
            method: record.method,
            headers: record.header_names.into_iter().map(header).collect(),
            filters: record.filters.into(),
            batch_size: record.batch_size,
            flush_interval_seconds: record.flush_interval_seconds,
            enabled: record.enabled,
            has_secret: true,
            secret: None,
            last_success_at: record.last_success_at,
            last_error: record.last_error,
            failing_since: record.failing_since,
            next_attempt_at: record.next_attempt_at,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of webhooks.
#[derive(Serialize, ToSchema)]
struct AuditWebhookList {
    items: Vec<AuditWebhook>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List audit webhooks
#[utoipa::path(tag = "audit", operation_id = "list_audit_webhooks", params(ListQuery), responses((status = 200, body = AuditWebhookList)))]
#[get("/admin/audit-logs/webhooks")]
async fn list(api: web::Data<Api>, _auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let request = page(query.page, query.per_page)?;
    let found = api.platform.read.list_audit_webhooks(request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(AuditWebhook::from).collect();
    Ok(HttpResponse::Ok().json(AuditWebhookList { items, pagination }))
}

/// How batches are sent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum AuditWebhookMethod {
    Post,
    Put,
}

impl From<AuditWebhookMethod> for WebhookMethod {
    fn from(method: AuditWebhookMethod) -> Self {
        match method {
            AuditWebhookMethod::Post => Self::Post,
            AuditWebhookMethod::Put => Self::Put,
        }
    }
}

/// Which rows are pushed; both must hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AuditWebhookFiltersRequest {
    /// Globs over actions, where `*` stands for any text; absent or empty for every action.
    #[schema(max_items = 50)]
    actions: Option<Vec<String>>,
    /// Rows that carry one of these environments; absent or empty for all rows.
    #[schema(value_type = Option<Vec<EnvironmentName>>)]
    environments: Option<Vec<Environment>>,
}

impl From<AuditWebhookFiltersRequest> for FilterFields {
    fn from(body: AuditWebhookFiltersRequest) -> Self {
        Self {
            actions: body.actions.unwrap_or_default(),
            environments: body.environments.unwrap_or_default().into_iter().collect(),
        }
    }
}

/// A new webhook.
///
/// Every batch carries `X-Shepherd-Timestamp`, the seconds since 1970, and `X-Signature-256`, which is `sha256=` and the
/// HMAC-SHA256 in hex of timestamp, `.` and body under the secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "archive", "url": "https://siem.example.org/shepherd",
    "headers": {"Authorization": "Bearer ${ENV:SIEM_TOKEN}"}, "filters": {"actions": ["vm.*", "role.*"], "environments": ["prod"]},
}))]
struct CreateAuditWebhookRequest {
    /// Unique.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// HTTPS to a public address or to a network of the allow-list; HTTP to the latter only.
    #[schema(min_length = 1, max_length = 2048)]
    url: String,
    #[schema(value_type = Option<AuditWebhookMethod>)]
    method: Option<AuditWebhookMethod>,
    /// Sent with every batch. Values may name variables of the server's environment as `${ENV:NAME}`, when the operator
    /// allows them.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<BTreeMap<String, String>>,
    /// Signs batches. One is made, and returned this once, when it is absent.
    #[schema(min_length = 16, max_length = 255)]
    secret: Option<String>,
    filters: Option<AuditWebhookFiltersRequest>,
    /// Most rows of a batch; 100 when absent.
    #[schema(minimum = 1, maximum = 1000)]
    batch_size: Option<i32>,
    /// How long a row waits for its batch to fill; 60 when absent.
    #[schema(minimum = 1, maximum = 3600)]
    flush_interval_seconds: Option<i32>,
    /// True when absent.
    enabled: Option<bool>,
}

/// Create an audit webhook
///
/// It gets what happens from now on, its own creation first.
#[utoipa::path(tag = "audit", operation_id = "create_audit_webhook", request_body = CreateAuditWebhookRequest, responses((status = 201, body = AuditWebhook)))]
#[post("/admin/audit-logs/webhooks")]
async fn post_webhook(api: web::Data<Api>, auth: Authorized<Manage, Json<CreateAuditWebhookRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = CreateAuditWebhook {
        name: body.name,
        url: body.url,
        method: body.method.map(WebhookMethod::from).unwrap_or_default(),
        headers: sealable(body.headers.unwrap_or_default()),
        secret: body.secret.map(Zeroizing::new),
        filters: body.filters.map(FilterFields::from).unwrap_or_default(),
        batch_size: body.batch_size.unwrap_or(DEFAULT_BATCH_SIZE),
        flush_interval_seconds: body.flush_interval_seconds.unwrap_or(DEFAULT_FLUSH_INTERVAL),
        enabled: body.enabled.unwrap_or(true),
    };
    let made = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let record = stored(&api, made.answer.outcome).await?;
    let (id, version) = (record.id, record.row_version);
    let body = AuditWebhook {
        secret: made.secret.map(|secret| secret.to_string()),
        ..record.into()
    };
    Ok(created(
        format!("{BASE}/admin/audit-logs/webhooks/{id}"),
        version,
        made.answer.replayed,
        body,
    ))
}

/// What changes; absent leaves a value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateAuditWebhookRequest {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Another scheme, host or port needs the headers again, if there are any.
    #[schema(min_length = 1, max_length = 2048)]
    url: Option<String>,
    #[schema(value_type = Option<AuditWebhookMethod>)]
    method: Option<AuditWebhookMethod>,
    /// All headers from now on; null removes them.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BTreeMap<String, String>>, nullable)]
    headers: Option<Option<BTreeMap<String, String>>>,
    /// Signs batches from now on.
    #[schema(min_length = 16, max_length = 255)]
    secret: Option<String>,
    /// Both parts are replaced; null lets everything through.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<AuditWebhookFiltersRequest>, nullable)]
    filters: Option<Option<AuditWebhookFiltersRequest>>,
    #[schema(minimum = 1, maximum = 1000)]
    batch_size: Option<i32>,
    #[schema(minimum = 1, maximum = 3600)]
    flush_interval_seconds: Option<i32>,
    /// What a disabled webhook missed is pushed when it is enabled again.
    enabled: Option<bool>,
}

/// Change an audit webhook
#[utoipa::path(tag = "audit", operation_id = "update_audit_webhook", params(("webhook_id" = Uuid, Path)), request_body = UpdateAuditWebhookRequest, responses((status = 200, body = AuditWebhook)))]
#[patch("/admin/audit-logs/webhooks/{webhook_id}")]
async fn patch_webhook(
    api: web::Data<Api>,
    auth: Authorized<Manage, Json<UpdateAuditWebhookRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: AuditWebhookId = path_id("webhook_id", &id)?;
    let Json(body) = auth.body;
    let command = UpdateAuditWebhook {
        name: body.name,
        url: body.url,
        method: body.method.map(WebhookMethod::from),
        headers: body.headers.map(|headers| sealable(headers.unwrap_or_default())),
        secret: body.secret.map(Zeroizing::new),
        filters: body
            .filters
            .map(|filters| filters.map(FilterFields::from).unwrap_or_default()),
        batch_size: body.batch_size,
        flush_interval_seconds: body.flush_interval_seconds,
        enabled: body.enabled,
    };
    update::execute(&api.platform, &auth.caller, id, command, version.0).await?;
    let record = stored(&api, id).await?;
    Ok(versioned(record.row_version, AuditWebhook::from(record)))
}

/// Delete an audit webhook
#[utoipa::path(tag = "audit", operation_id = "delete_audit_webhook", params(("webhook_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/audit-logs/webhooks/{webhook_id}")]
async fn delete_webhook(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: AuditWebhookId = path_id("webhook_id", &id)?;
    audit_webhook::delete::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
struct AuditWebhookTest {
    /// Whether the receiver took the event.
    success: bool,
    /// Why, in fixed words: nothing of what the receiver said.
    message: String,
}

/// Send a test event to an audit webhook
///
/// The event is `{"test": true}`, signed like a batch.
#[utoipa::path(tag = "audit", operation_id = "test_audit_webhook", params(("webhook_id" = Uuid, Path)), responses((status = 200, body = AuditWebhookTest)))]
#[post("/admin/audit-logs/webhooks/{webhook_id}/test")]
async fn test_webhook(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: AuditWebhookId = path_id("webhook_id", &id)?;
    let outcome = audit_webhook::test::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::Ok().json(AuditWebhookTest {
        success: outcome.success,
        message: outcome.message,
    }))
}

fn sealable(headers: BTreeMap<String, String>) -> Headers {
    headers
        .into_iter()
        .map(|(name, value)| (name, Zeroizing::new(value)))
        .collect()
}

async fn stored(api: &Api, id: AuditWebhookId) -> Result<AuditWebhookRecord, UseCaseError> {
    api.platform
        .read
        .get_audit_webhook(id)
        .await?
        .ok_or(UseCaseError::Broken("a webhook that was just written is not there"))
}
