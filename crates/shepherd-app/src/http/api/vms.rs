//! Virtual machines.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::cluster::{ClusterStatus, WatchState};
use shepherd_domain::ids::{InstanceSizeId, ServiceId, TemplateId, VmId};
use shepherd_domain::vm::VmStatus;
use shepherd_ports::vms::{VmFilter, VmRecord, VmSort};
use shepherd_usecases::confirmation::Confirmation;
use shepherd_usecases::vm::{self, Submitted, SubmittedStatus, request, request_deletion};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination, WarningBody, versioned, warnings};

requirements! {
    /// `vm:read`
    Read = [VmRead],
    /// `vm:create`
    Create = [VmCreate],
    /// `vm:delete`
    Delete = [VmDelete],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_vm)
        .service(post_vm_alias)
        .service(get_vm)
        .service(delete_vm);
}

/// A virtual machine.
#[derive(Serialize, ToSchema)]
#[schema(as = VM)]
struct Vm {
    id: Uuid,
    /// `{namespace}-{system}-{service}-{instance}`.
    name: String,
    namespace: String,
    #[schema(value_type = String)]
    environment: Environment,
    cluster_id: Uuid,
    cluster_name: String,
    /// CREATING, PENDING, RUNNING, STOPPING, STOPPED, PAUSED, MIGRATING, DELETING, FAILED or UNKNOWN.
    #[schema(value_type = String)]
    status: VmStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    /// STALE while the cluster does not report.
    cache_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_at: Option<DateTime<Utc>>,
    hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<String>,
    system_id: Uuid,
    system_name: String,
    service_id: Uuid,
    service_name: String,
    instance: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_cores: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_gb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_size_id: Option<Uuid>,
    restart_required: bool,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<VmRecord> for Vm {
    fn from(record: VmRecord) -> Self {
        Self {
            id: record.id.into(),
            name: record.name,
            namespace: record.namespace,
            environment: record.environment,
            cluster_id: record.cluster_id.into(),
            cluster_name: record.cluster_name,
            status: record.status,
            status_reason: record.status_reason,
            status_message: record.status_message,
            cache_status: if record.cluster_status == ClusterStatus::Healthy && record.watch_state == WatchState::Live {
                "FRESH"
            } else {
                "STALE"
            },
            observed_at: record.observed_at,
            hostname: record.hostname,
            ip_address: record.ip_address,
            node_name: record.node_name,
            system_id: record.system_id.into(),
            system_name: record.system_name,
            service_id: record.service_id.into(),
            service_name: record.service_name,
            instance: record.instance,
            ticket_id: record.ticket_id.map(Into::into),
            cpu_cores: record.cpu_cores,
            memory_mb: record.memory_mb,
            disk_gb: record.disk_gb,
            template_id: record.template_id.map(Into::into),
            template_version: record.template_version,
            instance_size_id: record.instance_size_id.map(Into::into),
            restart_required: record.restart_required,
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of machines.
#[derive(Serialize, ToSchema)]
#[schema(as = VMList)]
struct VmList {
    items: Vec<Vm>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// `created_at`, `name` or `status`.
    sort_by: Option<String>,
    /// `asc` or `desc`.
    sort_order: Option<String>,
    namespace: Option<String>,
    status: Option<String>,
    environment: Option<String>,
    system_id: Option<String>,
    service_id: Option<String>,
    cluster_id: Option<String>,
    /// Looks into the name.
    q: Option<String>,
}

/// List visible machines
#[utoipa::path(tag = "vms", operation_id = "list_vms", params(ListQuery), responses((status = 200, body = VmList)))]
#[get("/vms")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let filter = VmFilter {
        status: query_value("status", query.status.as_deref())?,
        environment: query_value("environment", query.environment.as_deref())?,
        system_id: query_value("system_id", query.system_id.as_deref())?,
        service_id: query_value("service_id", query.service_id.as_deref())?,
        cluster_id: query_value("cluster_id", query.cluster_id.as_deref())?,
        namespace: query.namespace,
        q: query.q,
    };
    let sort = match query.sort_by.as_deref() {
        Some("created_at") | None => VmSort::CreatedAt,
        Some("name") => VmSort::Name,
        Some("status") => VmSort::Status,
        Some(_) => return Err(super::unknown_sort().into()),
    };
    let descending = super::descending(query.sort_order.as_deref(), sort == VmSort::CreatedAt)?;
    let visibility = auth.caller.subject.visibility(Permission::VmRead);
    let found = api
        .platform
        .read
        .list_vms(
            &visibility,
            &filter,
            sort,
            descending,
            page(query.page, query.per_page)?,
        )
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(VmList {
        items: found.items.into_iter().map(Vm::from).collect(),
        pagination,
    }))
}

/// Get a machine
#[utoipa::path(tag = "vms", operation_id = "get_vm", params(("vm_id" = Uuid, Path)), responses((status = 200, body = Vm)))]
#[get("/vms/{vm_id}")]
async fn get_vm(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let record = vm::visible(
        &api.platform,
        &auth.caller,
        Permission::VmRead,
        ResourceAction::View,
        id,
    )
    .await?;
    Ok(versioned(record.row_version, Vm::from(record)))
}

/// What a requester says: what, never where.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateVmRequest {
    service_id: Uuid,
    template_id: Uuid,
    instance_size_id: Uuid,
    /// A registered namespace.
    #[schema(min_length = 1, max_length = 63)]
    namespace: String,
    /// Why.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
    /// Disk in GiB; absent takes the size's.
    #[schema(minimum = 1, maximum = 1048576)]
    disk_gb: Option<i32>,
}

impl From<CreateVmRequest> for request::RequestVm {
    fn from(body: CreateVmRequest) -> Self {
        Self {
            service: ServiceId::from_uuid(body.service_id),
            template: TemplateId::from_uuid(body.template_id),
            size: InstanceSizeId::from_uuid(body.instance_size_id),
            namespace: body.namespace,
            disk_gb: body.disk_gb,
            reason: body.reason,
        }
    }
}

/// A submission that was accepted.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// The work event, also the id of the task.
    event_id: Uuid,
    ticket_id: Uuid,
    /// PENDING_APPROVAL or PROCESSING.
    #[schema(value_type = String)]
    status: SubmittedStatus,
    /// APPROVAL_REQUIRED or AUTO_APPROVED.
    message_code: &'static str,
    links: AcceptedLinks,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningBody>>,
}

/// Where to follow a submission.
#[derive(Serialize, ToSchema)]
pub(super) struct AcceptedLinks {
    /// The event.
    #[serde(rename = "self")]
    itself: String,
    ticket: String,
}

/// 202 with the place of the work event.
pub(super) fn accepted(submitted: Submitted, replayed: bool) -> HttpResponse {
    let event = format!("{BASE}/events/{}", submitted.event_id);
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, event.clone()));
    if replayed {
        response.insert_header(("idempotency-replayed", "true"));
    }
    response.json(Accepted {
        event_id: submitted.event_id.into(),
        ticket_id: submitted.ticket_id.into(),
        status: submitted.status,
        message_code: match submitted.status {
            SubmittedStatus::PendingApproval => "APPROVAL_REQUIRED",
            SubmittedStatus::Processing => "AUTO_APPROVED",
        },
        links: AcceptedLinks {
            itself: event,
            ticket: format!("{BASE}/approvals/{}", submitted.ticket_id),
        },
        warnings: warnings(submitted.warnings),
    })
}

/// Request a machine
#[utoipa::path(tag = "vms", operation_id = "request_vm", request_body = CreateVmRequest, responses((status = 202, body = Accepted)))]
#[post("/vms")]
async fn post_vm(api: web::Data<Api>, auth: Authorized<Create, Json<CreateVmRequest>>) -> Answer {
    submit(&api, auth).await
}

/// Request a machine (alias)
#[utoipa::path(tag = "vms", operation_id = "request_vm_alias", request_body = CreateVmRequest, responses((status = 202, body = Accepted)))]
#[post("/vms/request")]
async fn post_vm_alias(api: web::Data<Api>, auth: Authorized<Create, Json<CreateVmRequest>>) -> Answer {
    submit(&api, auth).await
}

async fn submit(api: &Api, auth: Authorized<Create, Json<CreateVmRequest>>) -> Answer {
    let idempotent = auth.idempotent(api);
    let Json(body) = auth.body;
    let answer = request::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        body.into(),
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// `true` for a machine in test.
    confirm: Option<bool>,
    /// The exact name; required for a machine in prod.
    confirm_name: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// Request the deletion of a machine
#[utoipa::path(tag = "vms", operation_id = "delete_vm", params(("vm_id" = Uuid, Path), DeleteQuery), responses((status = 202, body = Accepted)))]
#[delete("/vms/{vm_id}")]
async fn delete_vm(
    api: web::Data<Api>,
    auth: Authorized<Delete>,
    id: web::Path<String>,
    query: Query<DeleteQuery>,
) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let query = query.read()?;
    let given = Confirmation {
        confirm: query.confirm.unwrap_or(false),
        confirm_name: query.confirm_name,
    };
    let submitted =
        request_deletion::execute(&api.platform, &api.operations, &auth.caller, id, &given, query.reason).await?;
    Ok(accepted(submitted, false))
}
