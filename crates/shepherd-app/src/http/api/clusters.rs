//! Clusters: the list and registration here, changes in `change`, and what a cluster has to offer in `inventory`.

mod change;
mod inventory;

use actix_web::{HttpResponse, get, post, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::cluster::{ClusterStatus, DetectedCapabilities};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_usecases::UseCaseError;
use shepherd_usecases::cluster::{self, register};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::BASE;
use crate::http::Api;
use crate::http::extract::{Authorized, LargeJson, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination, created, versioned};

requirements! {
    /// `cluster:read`
    Read = [ClusterRead],
    /// `cluster:write`
    Write = [ClusterWrite],
    /// `cluster:manage`
    Manage = [ClusterManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(post_cluster)
        .service(get_cluster)
        .configure(change::routes)
        .configure(inventory::routes);
}

/// A registered cluster. Its kubeconfig is never returned.
#[derive(Serialize, ToSchema)]
struct Cluster {
    id: Uuid,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    api_server_url: String,
    /// UNKNOWN, HEALTHY, UNHEALTHY or UNREACHABLE.
    #[schema(value_type = String)]
    status: ClusterStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    #[schema(value_type = String)]
    environment: Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubevirt_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes_version: Option<String>,
    enabled_features: Vec<String>,
    /// Found on the cluster; nobody types these.
    #[schema(value_type = Object)]
    detected_capabilities: DetectedCapabilities,
    storage_classes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_storage_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_classes_updated_at: Option<DateTime<Utc>>,
    scheduling_weight: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_limit: Option<i32>,
    enabled: bool,
    vm_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl From<ClusterRecord> for Cluster {
    fn from(record: ClusterRecord) -> Self {
        Self {
            id: record.id.into(),
            name: record.name,
            display_name: record.display_name,
            api_server_url: record.api_server_url,
            status: record.status,
            status_reason: record.status_reason,
            environment: record.environment,
            kubevirt_version: record.kubevirt_version,
            kubernetes_version: record.kubernetes_version,
            enabled_features: record.enabled_features,
            detected_capabilities: record.detected_capabilities,
            storage_classes: record.storage_classes,
            default_storage_class: record.default_storage_class,
            storage_classes_updated_at: record.storage_classes_updated_at,
            scheduling_weight: record.scheduling_weight,
            concurrency_limit: record.concurrency_limit,
            enabled: record.enabled,
            vm_count: record.vm_count,
            last_checked_at: record.last_checked_at,
            created_at: record.created_at,
        }
    }
}

/// A page of clusters.
#[derive(Serialize, ToSchema)]
struct ClusterList {
    items: Vec<Cluster>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    environment: Option<String>,
    status: Option<String>,
}

/// List clusters
#[utoipa::path(tag = "clusters", operation_id = "list_clusters", params(ListQuery), responses((status = 200, body = ClusterList)))]
#[get("/admin/clusters")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let visible = auth.caller.subject.environments(Permission::ClusterRead, None);
    let environment = query_value("environment", query.environment.as_deref())?;
    let status = query_value("status", query.status.as_deref())?;
    let found = api
        .platform
        .read
        .list_clusters(visible, environment, status, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(ClusterList {
        items: found.items.into_iter().map(Cluster::from).collect(),
        pagination,
    }))
}

/// A cluster to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterClusterRequest {
    /// A DNS label; unique and immutable.
    name: String,
    #[schema(max_length = 255)]
    display_name: Option<String>,
    /// Base64 of the YAML.
    kubeconfig: String,
    /// `test` or `prod`; `test` when absent.
    #[schema(value_type = Option<EnvironmentName>)]
    environment: Option<Environment>,
    /// Preference among eligible clusters.
    #[schema(minimum = 0, maximum = 1000)]
    scheduling_weight: Option<i32>,
    /// Counts only where the configuration allows it, too.
    allow_insecure_tls: Option<bool>,
}

/// An environment.
#[derive(Deserialize, ToSchema)]
#[schema(as = Environment)]
#[serde(rename_all = "lowercase")]
pub(super) enum EnvironmentName {
    Test,
    Prod,
}

/// Register a cluster
#[utoipa::path(tag = "clusters", operation_id = "register_cluster", request_body = RegisterClusterRequest, responses((status = 201, body = Cluster)))]
#[post("/admin/clusters")]
async fn post_cluster(api: web::Data<Api>, auth: Authorized<Write, LargeJson<RegisterClusterRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let LargeJson(body) = auth.body;
    let command = register::RegisterCluster {
        name: body.name,
        display_name: body.display_name,
        kubeconfig: decode(Zeroizing::new(body.kubeconfig))?,
        environment: body.environment.unwrap_or(Environment::Test),
        scheduling_weight: body.scheduling_weight.unwrap_or(100),
        allow_insecure_tls: body.allow_insecure_tls.unwrap_or(false),
    };
    let answer = register::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let record = api
        .platform
        .read
        .get_cluster(answer.outcome)
        .await?
        .ok_or(UseCaseError::Broken("a new cluster is not there"))?;
    Ok(created(
        format!("{BASE}/admin/clusters/{}", record.id),
        record.row_version,
        answer.replayed,
        Cluster::from(record),
    ))
}

fn decode(text: Zeroizing<String>) -> Result<Zeroizing<String>, Problem> {
    let compact: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
    let bytes = STANDARD
        .decode(compact.as_bytes())
        .map_err(|_| Problem::invalid_field("kubeconfig", FieldCode::InvalidFormat))?;
    String::from_utf8(bytes)
        .map(Zeroizing::new)
        .map_err(|_| Problem::new(ErrorCode::InvalidKubeconfig).with("reason", "syntax"))
}

/// Get a cluster
#[utoipa::path(tag = "clusters", operation_id = "get_cluster", params(("cluster_id" = Uuid, Path)), responses((status = 200, body = Cluster)))]
#[get("/admin/clusters/{cluster_id}")]
async fn get_cluster(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let record = cluster::visible(&api.platform, &auth.caller, Permission::ClusterRead, id).await?;
    Ok(versioned(record.row_version, Cluster::from(record)))
}
