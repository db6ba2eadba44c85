//! Machines that may be adopted.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::access::Permission;
use shepherd_domain::adoption::AdoptionStatus;
use shepherd_domain::ids::{AdoptionId, ClusterId};
use shepherd_ports::adoptions::{AdoptionFilter, AdoptionRecord};
use shepherd_usecases::adoption::{adopt, ignore, request_scan};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{Authorized, OptionalJson, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `adoption:manage`
    Manage = [AdoptionManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_scan)
        .service(post_adopt)
        .service(post_ignore);
}

/// A machine on a cluster that carries the platform's labels and has no row.
#[derive(Serialize, ToSchema)]
struct PendingAdoption {
    id: Uuid,
    cluster_id: Uuid,
    namespace: String,
    resource_name: String,
    /// `vm`.
    resource_type: String,
    /// What the labels of the object say.
    system: String,
    service: String,
    instance: String,
    /// PENDING, ADOPTED, IGNORED or EXPIRED.
    #[schema(value_type = String)]
    status: AdoptionStatus,
    /// All labels of the object.
    labels: BTreeMap<String, String>,
    last_seen_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_at: Option<DateTime<Utc>>,
    /// The machine that it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    vm_id: Option<Uuid>,
}

impl From<AdoptionRecord> for PendingAdoption {
    fn from(record: AdoptionRecord) -> Self {
        Self {
            id: record.id.into(),
            cluster_id: record.cluster_id.into(),
            namespace: record.namespace,
            resource_name: record.resource_name,
            resource_type: record.resource_type,
            system: record.system,
            service: record.service,
            instance: record.instance,
            status: record.status,
            labels: record.labels,
            last_seen_at: record.last_seen_at,
            decided_by: record.decided_by.map(|actor| actor.to_string()),
            decided_at: record.decided_at,
            vm_id: record.vm_id.map(Into::into),
        }
    }
}

/// A page of machines that may be adopted.
#[derive(Serialize, ToSchema)]
struct PendingAdoptionList {
    items: Vec<PendingAdoption>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// PENDING, ADOPTED, IGNORED or EXPIRED.
    status: Option<String>,
    cluster_id: Option<String>,
}

/// List machines that may be adopted
///
/// Newest first, those too that were decided about.
#[utoipa::path(tag = "adoption", operation_id = "list_pending_adoptions", params(ListQuery), responses((status = 200, body = PendingAdoptionList)))]
#[get("/admin/pending-adoptions")]
async fn list(api: web::Data<Api>, auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let filter = AdoptionFilter {
        visible: auth.caller.subject.environments(Permission::AdoptionManage, None),
        status: query_value("status", query.status.as_deref())?,
        cluster: query_value("cluster_id", query.cluster_id.as_deref())?,
    };
    let request = page(query.page, query.per_page)?;
    let found = api.platform.read.list_adoptions(&filter, request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(PendingAdoption::from).collect();
    Ok(HttpResponse::Ok().json(PendingAdoptionList { items, pagination }))
}

/// What is to be scanned.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScanRequest {
    /// One cluster; absent means all.
    cluster_id: Option<Uuid>,
}

/// A scan that was asked for.
#[derive(Serialize, ToSchema)]
struct ScanScheduled {
    /// How many clusters will be scanned: those that are enabled and HEALTHY.
    scheduled: u32,
}

/// Ask for a scan
///
/// Decisions stay as they are; what was ignored stays ignored.
#[utoipa::path(tag = "adoption", operation_id = "scan_for_adoptions", request_body = ScanRequest, responses((status = 202, body = ScanScheduled)))]
#[post("/admin/pending-adoptions/scan")]
async fn post_scan(api: web::Data<Api>, auth: Authorized<Manage, OptionalJson<ScanRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let cluster = auth.body.0.cluster_id.map(ClusterId::from_uuid);
    let answer = request_scan::execute(&api.platform, &auth.caller, cluster, request.as_ref()).await?;
    let mut response = HttpResponse::Accepted();
    if answer.replayed {
        response.insert_header(("idempotency-replayed", "true"));
    }
    Ok(response.json(ScanScheduled {
        scheduled: answer.outcome,
    }))
}

/// A machine that was adopted.
#[derive(Serialize, ToSchema)]
struct Adopted {
    vm_id: Uuid,
}

/// Adopt a machine
///
/// It gets a row as it is now; the object is not changed. Its owner is whoever adopts it.
#[utoipa::path(tag = "adoption", operation_id = "adopt_vm", params(("adoption_id" = Uuid, Path)), responses((status = 200, body = Adopted)))]
#[post("/admin/pending-adoptions/{adoption_id}/adopt")]
async fn post_adopt(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: AdoptionId = path_id("adoption_id", &id)?;
    let vm = adopt::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::Ok().json(Adopted { vm_id: vm.into() }))
}

/// Why a machine is left alone.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IgnoreRequest {
    #[schema(max_length = 512)]
    reason: Option<String>,
    /// `true` takes an earlier decision back: the machine may be adopted again.
    restore: Option<bool>,
}

/// Ignore a machine, or stop ignoring it
///
/// The object is not touched.
#[utoipa::path(tag = "adoption", operation_id = "ignore_adoption", params(("adoption_id" = Uuid, Path)), request_body = IgnoreRequest, responses((status = 204)))]
#[post("/admin/pending-adoptions/{adoption_id}/ignore")]
async fn post_ignore(
    api: web::Data<Api>,
    auth: Authorized<Manage, OptionalJson<IgnoreRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: AdoptionId = path_id("adoption_id", &id)?;
    let OptionalJson(body) = auth.body;
    let command = ignore::IgnoreAdoption {
        reason: body.reason,
        restore: body.restore.unwrap_or(false),
    };
    ignore::execute(&api.platform, &auth.caller, id, command).await?;
    Ok(HttpResponse::NoContent().finish())
}
