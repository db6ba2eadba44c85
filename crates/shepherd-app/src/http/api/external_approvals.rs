//! External approval systems; what they call back with is in `callback`.

mod callback;

use std::collections::BTreeMap;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::external_approval::{Meaning, SystemType};
use shepherd_domain::ids::ExternalSystemId;
use shepherd_ports::external_approvals::ExternalSystemRecord;
use shepherd_usecases::external_approval::create::{self, CreateExternalSystem, Headers, Words};
use shepherd_usecases::external_approval::update::{self, UpdateExternalSystem};
use shepherd_usecases::{UseCaseError, external_approval};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, page, path_id, present, requirements};
use crate::http::respond::{Answer, Pagination, created, versioned};

const DEFAULT_TIMEOUT: i32 = 30;
const DEFAULT_RETRIES: i32 = 3;
const DEFAULT_POLL_INTERVAL: i32 = 60;

requirements! {
    /// `approval:external`
    Manage = [ApprovalExternal],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_system)
        .service(patch_system)
        .service(delete_system)
        .service(test_system);
    callback::routes(config);
}

/// A system that decides tickets. Its signing secret and the values of its headers are never returned.
#[derive(Serialize, ToSchema)]
struct ExternalApprovalSystem {
    id: Uuid,
    name: String,
    /// `webhook`, `jira`, `servicenow` or `custom`.
    #[schema(value_type = String)]
    system_type: SystemType,
    webhook_url: String,
    has_secret: bool,
    /// The signing secret that was made because none was given; only in the answer to the creation itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_secret: Option<String>,
    webhook_headers: Vec<ExternalApprovalHeader>,
    /// What its words mean: `approved`, `rejected` or `pending`.
    #[schema(value_type = BTreeMap<String, String>)]
    status_mapping: BTreeMap<String, Meaning>,
    timeout_seconds: i32,
    retry_count: i32,
    poll_interval_seconds: i32,
    enabled: bool,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A header that is sent with everything.
#[derive(Serialize, ToSchema)]
struct ExternalApprovalHeader {
    name: String,
    /// Always true: the value is kept, and not shown.
    has_value: bool,
}

impl From<ExternalSystemRecord> for ExternalApprovalSystem {
    fn from(record: ExternalSystemRecord) -> Self {
        let header = |name| ExternalApprovalHeader { name, has_value: true };
        Self {
            id: record.id.into(),
            name: record.name,
            system_type: record.system_type,
            webhook_url: record.webhook_url,
            has_secret: true,
            webhook_secret: None,
            webhook_headers: record.header_names.into_iter().map(header).collect(),
            status_mapping: record.status_mapping.words().clone(),
            timeout_seconds: record.timeout_seconds,
            retry_count: record.retry_count,
            poll_interval_seconds: record.poll_interval_seconds,
            enabled: record.enabled,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of systems.
#[derive(Serialize, ToSchema)]
struct ExternalApprovalSystemList {
    items: Vec<ExternalApprovalSystem>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List external approval systems
#[utoipa::path(tag = "approvals", operation_id = "list_external_approval_systems", params(ListQuery), responses((status = 200, body = ExternalApprovalSystemList)))]
#[get("/admin/external-approval-systems")]
async fn list(api: web::Data<Api>, _auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let request = page(query.page, query.per_page)?;
    let found = api.platform.read.list_external_systems(request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(ExternalApprovalSystem::from).collect();
    Ok(HttpResponse::Ok().json(ExternalApprovalSystemList { items, pagination }))
}

/// What kind of system it is. Those without an adapter are refused.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExternalSystemType {
    Webhook,
    Jira,
    Servicenow,
    Custom,
}

impl From<ExternalSystemType> for SystemType {
    fn from(kind: ExternalSystemType) -> Self {
        match kind {
            ExternalSystemType::Webhook => Self::Webhook,
            ExternalSystemType::Jira => Self::Jira,
            ExternalSystemType::Servicenow => Self::Servicenow,
            ExternalSystemType::Custom => Self::Custom,
        }
    }
}

/// What a word of a system means.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExternalStatusMeaning {
    Approved,
    Rejected,
    Pending,
}

impl From<ExternalStatusMeaning> for Meaning {
    fn from(meaning: ExternalStatusMeaning) -> Self {
        match meaning {
            ExternalStatusMeaning::Approved => Self::Approved,
            ExternalStatusMeaning::Rejected => Self::Rejected,
            ExternalStatusMeaning::Pending => Self::Pending,
        }
    }
}

/// A new system.
///
/// Everything that is sent to it carries `X-Shepherd-Timestamp`, the seconds since 1970, `X-Signature-256`, which is
/// `sha256=` and the HMAC-SHA256 in hex of timestamp, `.` and body under the secret, and `X-Ticket-ID`. A ticket is a
/// POST to `webhook_url`; it is asked for by a GET of `webhook_url/{external_id}`, and withdrawn by a POST to
/// `webhook_url/{external_id}/cancel`, whose body has `"event": "cancel"`.
///
/// A ticket is sent again when its answer did not arrive: receivers tell it by `X-Ticket-ID`, take it once and answer
/// the same `external_id`. Until one has arrived, `{external_id}` is the id of the ticket.
///
/// A system that only calls back answers the GET with 404, 405, 410 or 501, or with a success that is no JSON object.
/// Everything else that is no state of the ticket, 401 and 403 among it, is a failure; after `retry_count` retries the
/// ticket goes back to the approvers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "change-board", "system_type": "webhook", "webhook_url": "https://changes.example.org/shepherd",
    "webhook_headers": {"Authorization": "Bearer ${ENV:CHANGES_TOKEN}"}, "status_mapping": {"done": "approved", "declined": "rejected"},
    "enabled": true,
}))]
struct CreateExternalApprovalSystemRequest {
    /// Unique.
    #[schema(min_length = 1, max_length = 63)]
    name: String,
    system_type: ExternalSystemType,
    /// HTTPS to a public address or to a network of the allow-list; HTTP to the latter only. What goes by HTTP can be
    /// read on its way: tickets, decisions and the headers with their values. Only the signature protects it, against
    /// changes.
    #[schema(min_length = 1, max_length = 2048)]
    webhook_url: String,
    /// Signs both ways. One is made, and returned this once, when it is absent.
    #[schema(min_length = 16, max_length = 255)]
    webhook_secret: Option<String>,
    /// Sent with everything. Values may name variables of the server's environment as `${ENV:NAME}`, when the operator
    /// allows them.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    webhook_headers: Option<BTreeMap<String, String>>,
    /// What the words of the system mean, whatever their case. `approved`, `rejected` and `pending` mean themselves.
    #[schema(value_type = Option<BTreeMap<String, ExternalStatusMeaning>>)]
    status_mapping: Option<BTreeMap<String, ExternalStatusMeaning>>,
    /// For one exchange; 30 when absent.
    #[schema(minimum = 1, maximum = 300)]
    timeout_seconds: Option<i32>,
    /// Retries after the first attempt; 3 when absent.
    #[schema(minimum = 0, maximum = 10)]
    retry_count: Option<i32>,
    /// Between two questions about a ticket; 60 when absent.
    #[schema(minimum = 5, maximum = 86400)]
    poll_interval_seconds: Option<i32>,
    /// False when absent.
    enabled: Option<bool>,
}

/// Create an external approval system
///
/// Tickets are handed to it by the approval policies that name it.
#[utoipa::path(tag = "approvals", operation_id = "create_external_approval_system", request_body = CreateExternalApprovalSystemRequest, responses((status = 201, body = ExternalApprovalSystem)))]
#[post("/admin/external-approval-systems")]
async fn post_system(
    api: web::Data<Api>,
    auth: Authorized<Manage, Json<CreateExternalApprovalSystemRequest>>,
) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = CreateExternalSystem {
        name: body.name,
        system_type: body.system_type.into(),
        webhook_url: body.webhook_url,
        secret: body.webhook_secret.map(Zeroizing::new),
        headers: sealable(body.webhook_headers.unwrap_or_default()),
        status_mapping: words(body.status_mapping.unwrap_or_default()),
        timeout_seconds: body.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT),
        retry_count: body.retry_count.unwrap_or(DEFAULT_RETRIES),
        poll_interval_seconds: body.poll_interval_seconds.unwrap_or(DEFAULT_POLL_INTERVAL),
        enabled: body.enabled.unwrap_or(false),
    };
    let made = create::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let record = stored(&api, made.answer.outcome).await?;
    let (id, version) = (record.id, record.row_version);
    let body = ExternalApprovalSystem {
        webhook_secret: made.secret.map(|secret| secret.to_string()),
        ..record.into()
    };
    Ok(created(
        format!("{BASE}/admin/external-approval-systems/{id}"),
        version,
        made.answer.replayed,
        body,
    ))
}

/// What changes; absent leaves a value. The type of a system never changes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateExternalApprovalSystemRequest {
    #[schema(min_length = 1, max_length = 63)]
    name: Option<String>,
    /// Another scheme, host or port needs the headers again, if there are any.
    #[schema(min_length = 1, max_length = 2048)]
    webhook_url: Option<String>,
    /// Signs both ways from now on.
    #[schema(min_length = 16, max_length = 255)]
    webhook_secret: Option<String>,
    /// All headers from now on; null removes them.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BTreeMap<String, String>>, nullable)]
    webhook_headers: Option<Option<BTreeMap<String, String>>>,
    /// All words from now on; null leaves the plain ones.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BTreeMap<String, ExternalStatusMeaning>>, nullable)]
    status_mapping: Option<Option<BTreeMap<String, ExternalStatusMeaning>>>,
    #[schema(minimum = 1, maximum = 300)]
    timeout_seconds: Option<i32>,
    #[schema(minimum = 0, maximum = 10)]
    retry_count: Option<i32>,
    #[schema(minimum = 5, maximum = 86400)]
    poll_interval_seconds: Option<i32>,
    /// What was handed to a system that is disabled goes back to the approvers.
    enabled: Option<bool>,
}

/// Change an external approval system
#[utoipa::path(tag = "approvals", operation_id = "update_external_approval_system", params(("external_system_id" = Uuid, Path)), request_body = UpdateExternalApprovalSystemRequest, responses((status = 200, body = ExternalApprovalSystem)))]
#[patch("/admin/external-approval-systems/{external_system_id}")]
async fn patch_system(
    api: web::Data<Api>,
    auth: Authorized<Manage, Json<UpdateExternalApprovalSystemRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: ExternalSystemId = path_id("external_system_id", &id)?;
    let Json(body) = auth.body;
    let command = UpdateExternalSystem {
        name: body.name,
        webhook_url: body.webhook_url,
        secret: body.webhook_secret.map(Zeroizing::new),
        headers: body
            .webhook_headers
            .map(|headers| sealable(headers.unwrap_or_default())),
        status_mapping: body.status_mapping.map(|mapping| words(mapping.unwrap_or_default())),
        timeout_seconds: body.timeout_seconds,
        retry_count: body.retry_count,
        poll_interval_seconds: body.poll_interval_seconds,
        enabled: body.enabled,
    };
    update::execute(&api.platform, &auth.caller, id, command, version.0).await?;
    let record = stored(&api, id).await?;
    Ok(versioned(record.row_version, ExternalApprovalSystem::from(record)))
}

/// Delete an external approval system
///
/// What was handed to it goes back to the approvers. Policies that name it have to be changed first.
#[utoipa::path(tag = "approvals", operation_id = "delete_external_approval_system", params(("external_system_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/external-approval-systems/{external_system_id}")]
async fn delete_system(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: ExternalSystemId = path_id("external_system_id", &id)?;
    external_approval::delete::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
struct ExternalApprovalTest {
    /// Whether the system took it.
    success: bool,
    /// Why, in fixed words: nothing of what the system said.
    message: String,
}

/// Send a test to an external approval system
///
/// It is `{"test": true}`, signed like a ticket.
#[utoipa::path(tag = "approvals", operation_id = "test_external_approval_system", params(("external_system_id" = Uuid, Path)), responses((status = 200, body = ExternalApprovalTest)))]
#[post("/admin/external-approval-systems/{external_system_id}/test")]
async fn test_system(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: ExternalSystemId = path_id("external_system_id", &id)?;
    let outcome = external_approval::test::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::Ok().json(ExternalApprovalTest {
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

fn words(mapping: BTreeMap<String, ExternalStatusMeaning>) -> Words {
    mapping
        .into_iter()
        .map(|(word, meaning)| (word, meaning.into()))
        .collect()
}

async fn stored(api: &Api, id: ExternalSystemId) -> Result<ExternalSystemRecord, UseCaseError> {
    api.platform
        .read
        .get_external_system(id)
        .await?
        .ok_or(UseCaseError::Broken("a system that was just written is not there"))
}
