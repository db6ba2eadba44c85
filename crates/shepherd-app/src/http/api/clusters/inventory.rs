//! What a cluster has to offer: storage classes, instance types, preferences, namespaces.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::cluster::StorageClass as FoundClass;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::{InstanceType as FoundType, Preference as FoundPreference};
use shepherd_ports::providers::EnsuredNamespace;
use shepherd_usecases::cluster::{instance_types, namespaces, storage_classes};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Read, Write};
use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, path_id};
use crate::http::respond::Answer;

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list_storage_classes)
        .service(list_instance_types)
        .service(list_preferences)
        .service(namespace_exists)
        .service(post_namespace);
}

/// A storage class of a cluster.
#[derive(Serialize, ToSchema)]
struct StorageClass {
    name: String,
    /// Whether it is the cluster's own default.
    default: bool,
}

impl From<FoundClass> for StorageClass {
    fn from(found: FoundClass) -> Self {
        Self {
            name: found.name,
            default: found.default,
        }
    }
}

/// The storage classes that were last found.
#[derive(Serialize, ToSchema)]
struct StorageClassList {
    items: Vec<StorageClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<DateTime<Utc>>,
    /// Whether that is more than a day ago, or never was.
    stale: bool,
}

/// List the storage classes of a cluster
#[utoipa::path(tag = "clusters", operation_id = "list_cluster_storage_classes", params(("cluster_id" = Uuid, Path)), responses((status = 200, body = StorageClassList)))]
#[get("/admin/clusters/{cluster_id}/storage-classes")]
async fn list_storage_classes(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let found = storage_classes::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::Ok().json(StorageClassList {
        items: found.classes.into_iter().map(StorageClass::from).collect(),
        updated_at: found.updated_at,
        stale: found.stale,
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct NamespaceQuery {
    /// Lists what this namespace has, too.
    namespace: Option<String>,
}

/// A KubeVirt instance type.
#[derive(Serialize, ToSchema)]
struct InstanceType {
    name: String,
    /// Whether every namespace can use it.
    cluster_wide: bool,
    /// Guest processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<i64>,
    /// Guest memory, for example `4Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
}

impl From<FoundType> for InstanceType {
    fn from(found: FoundType) -> Self {
        Self {
            name: found.name,
            cluster_wide: found.cluster_wide,
            cpu: found.cpu,
            memory: found.memory,
        }
    }
}

/// Instance types.
#[derive(Serialize, ToSchema)]
struct InstanceTypeList {
    items: Vec<InstanceType>,
}

/// List the instance types of a cluster
#[utoipa::path(tag = "clusters", operation_id = "list_cluster_instance_types", params(("cluster_id" = Uuid, Path), NamespaceQuery), responses((status = 200, body = InstanceTypeList)))]
#[get("/admin/clusters/{cluster_id}/instancetypes")]
async fn list_instance_types(
    api: web::Data<Api>,
    auth: Authorized<Read>,
    id: web::Path<String>,
    query: Query<NamespaceQuery>,
) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let query = query.read()?;
    let found = instance_types::instance_types(&api.platform, &auth.caller, id, query.namespace.as_deref()).await?;
    let items = found.into_iter().map(InstanceType::from).collect();
    Ok(HttpResponse::Ok().json(InstanceTypeList { items }))
}

/// A KubeVirt preference.
#[derive(Serialize, ToSchema)]
struct Preference {
    name: String,
    /// Whether every namespace can use it.
    cluster_wide: bool,
}

impl From<FoundPreference> for Preference {
    fn from(found: FoundPreference) -> Self {
        Self {
            name: found.name,
            cluster_wide: found.cluster_wide,
        }
    }
}

/// Preferences.
#[derive(Serialize, ToSchema)]
struct PreferenceList {
    items: Vec<Preference>,
}

/// List the preferences of a cluster
#[utoipa::path(tag = "clusters", operation_id = "list_cluster_preferences", params(("cluster_id" = Uuid, Path), NamespaceQuery), responses((status = 200, body = PreferenceList)))]
#[get("/admin/clusters/{cluster_id}/preferences")]
async fn list_preferences(
    api: web::Data<Api>,
    auth: Authorized<Read>,
    id: web::Path<String>,
    query: Query<NamespaceQuery>,
) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let query = query.read()?;
    let found = instance_types::preferences(&api.platform, &auth.caller, id, query.namespace.as_deref()).await?;
    let items = found.into_iter().map(Preference::from).collect();
    Ok(HttpResponse::Ok().json(PreferenceList { items }))
}

/// Whether a namespace is there.
#[derive(Serialize, ToSchema)]
struct NamespaceExistence {
    exists: bool,
}

/// Ask a cluster whether it has a namespace
#[utoipa::path(tag = "clusters", operation_id = "cluster_namespace_exists", params(("cluster_id" = Uuid, Path), ("name" = String, Path)), responses((status = 200, body = NamespaceExistence)))]
#[get("/admin/clusters/{cluster_id}/namespaces/{name}/exists")]
async fn namespace_exists(api: web::Data<Api>, auth: Authorized<Read>, path: web::Path<(String, String)>) -> Answer {
    let (id, name) = path.into_inner();
    let id: ClusterId = path_id("cluster_id", &id)?;
    let exists = namespaces::exists(&api.platform, &auth.caller, id, &name).await?;
    Ok(HttpResponse::Ok().json(NamespaceExistence { exists }))
}

/// A registered namespace that a cluster should have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "dev"}))]
struct CreateClusterNamespaceRequest {
    /// A registered, enabled namespace of the cluster's environment.
    #[schema(min_length = 1, max_length = 63)]
    name: String,
}

/// What became of a namespace that a cluster should have.
#[derive(Serialize, ToSchema)]
struct ClusterNamespace {
    created: bool,
    /// NAMESPACE_CREATED or NAMESPACE_ALREADY_EXISTS.
    code: &'static str,
}

/// Make a namespace on a cluster
///
/// One that exists is left as it is.
#[utoipa::path(tag = "clusters", operation_id = "create_cluster_namespace", params(("cluster_id" = Uuid, Path)), request_body = CreateClusterNamespaceRequest, responses((status = 200, body = ClusterNamespace)))]
#[post("/admin/clusters/{cluster_id}/namespaces")]
async fn post_namespace(
    api: web::Data<Api>,
    auth: Authorized<Write, Json<CreateClusterNamespaceRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: ClusterId = path_id("cluster_id", &id)?;
    let ensured = namespaces::create(&api.platform, &auth.caller, id, &auth.body.0.name).await?;
    let created = ensured == EnsuredNamespace::Created;
    let code = if created {
        "NAMESPACE_CREATED"
    } else {
        "NAMESPACE_ALREADY_EXISTS"
    };
    Ok(HttpResponse::Ok().json(ClusterNamespace { created, code }))
}
