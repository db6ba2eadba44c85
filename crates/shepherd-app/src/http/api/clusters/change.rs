//! Changes of a cluster.

use actix_web::{HttpResponse, delete, patch, post, put, web};
use serde::Deserialize;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::clusters::{ClusterPatch, ClusterRecord};
use shepherd_usecases::cluster;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use zeroize::Zeroizing;

use super::super::systems::ConfirmationQuery;
use super::{Cluster, EnvironmentName, Manage, Write, decode};
use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, LargeJson, Query, path_id, present};
use crate::http::respond::{Answer, versioned};

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(patch_cluster)
        .service(delete_cluster)
        .service(put_environment)
        .service(rotate_credential)
        .service(check);
}

fn shown(record: ClusterRecord) -> HttpResponse {
    versioned(record.row_version, Cluster::from(record))
}

/// What changes; absent leaves a value, null clears it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"scheduling_weight": 200, "enabled": true}))]
struct UpdateClusterRequest {
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 255)]
    display_name: Option<Option<String>>,
    /// One of `storage_classes`; null leaves the choice to the cluster.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, nullable, max_length = 253)]
    default_storage_class: Option<Option<String>>,
    /// Preference among eligible clusters.
    #[schema(minimum = 0, maximum = 1000)]
    scheduling_weight: Option<i32>,
    /// Calls of one replica at the same time; null leaves it to the configuration.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i32>, nullable, minimum = 1, maximum = 200)]
    concurrency_limit: Option<Option<i32>>,
    /// Whether it takes new machines, and is looked at and watched.
    enabled: Option<bool>,
}

/// Change a cluster
#[utoipa::path(tag = "clusters", operation_id = "update_cluster", params(("cluster_id" = Uuid, Path)), request_body = UpdateClusterRequest, responses((status = 200, body = Cluster)))]
#[patch("/admin/clusters/{cluster_id}")]
async fn patch_cluster(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<UpdateClusterRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let Json(body) = auth.body;
    let patch = ClusterPatch {
        display_name: body.display_name,
        default_storage_class: body.default_storage_class,
        scheduling_weight: body.scheduling_weight,
        concurrency_limit: body.concurrency_limit,
        enabled: body.enabled,
    };
    let record = cluster::update::execute(&api.platform, &auth.caller, id, patch, version.0).await?;
    Ok(shown(record))
}

/// Delete an unused cluster entry
///
/// The cluster itself is left alone.
#[utoipa::path(tag = "clusters", operation_id = "delete_cluster", params(("cluster_id" = Uuid, Path), ConfirmationQuery), responses((status = 204)))]
#[delete("/admin/clusters/{cluster_id}")]
async fn delete_cluster(
    api: web::Data<Api>,
    auth: Authorized<Manage>,
    id: web::Path<String>,
    query: Query<ConfirmationQuery>,
) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    cluster::delete::execute(&api.platform, &auth.caller, id, &query.read()?.into()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Where a cluster belongs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"environment": "prod"}))]
struct SetClusterEnvironmentRequest {
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
}

/// Move an unused cluster to an environment
#[utoipa::path(tag = "clusters", operation_id = "set_cluster_environment", params(("cluster_id" = Uuid, Path)), request_body = SetClusterEnvironmentRequest, responses((status = 200, body = Cluster)))]
#[put("/admin/clusters/{cluster_id}/environment")]
async fn put_environment(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<SetClusterEnvironmentRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let environment = auth.body.0.environment;
    let record = cluster::environment::execute(&api.platform, &auth.caller, id, environment, version.0).await?;
    Ok(shown(record))
}

/// New credentials.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateCredentialRequest {
    /// Base64 of the YAML.
    kubeconfig: String,
}

/// Give a cluster new credentials
///
/// They are used at once by every replica; the status is UNKNOWN until they were tried.
#[utoipa::path(tag = "clusters", operation_id = "rotate_cluster_credential", params(("cluster_id" = Uuid, Path)), request_body = RotateCredentialRequest, responses((status = 200, body = Cluster)))]
#[post("/admin/clusters/{cluster_id}/rotate-credential")]
async fn rotate_credential(
    api: web::Data<Api>,
    auth: Authorized<Manage, LargeJson<RotateCredentialRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let LargeJson(body) = auth.body;
    let given = Zeroizing::new(body.kubeconfig);
    cluster::visible(&api.platform, &auth.caller, Permission::ClusterManage, id).await?;
    let kubeconfig = decode(given)?;
    let record = cluster::rotate_credential::execute(&api.platform, &auth.caller, id, &kubeconfig).await?;
    Ok(shown(record))
}

/// Look at a cluster now
///
/// What was found is stored, also when the cluster did not answer.
#[utoipa::path(tag = "clusters", operation_id = "check_cluster", params(("cluster_id" = Uuid, Path)), responses((status = 200, body = Cluster)))]
#[post("/admin/clusters/{cluster_id}/check")]
async fn check(api: web::Data<Api>, auth: Authorized<Write>, id: web::Path<String>) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let record = cluster::check::execute(&api.platform, &auth.caller, id).await?;
    Ok(shown(record))
}
