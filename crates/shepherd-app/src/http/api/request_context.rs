//! What a requester can choose from.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use shepherd_domain::Environment;
use shepherd_ports::workbench::{OfferedNamespace, OfferedService};
use shepherd_usecases::vm::request_context::{self, RequestContext};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::instance_sizes::shown::InstanceSize;
use super::templates::Template;
use crate::http::Api;
use crate::http::extract::{Authorized, requirements};
use crate::http::respond::Answer;

requirements! {
    /// `vm:create`
    Create = [VmCreate],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(get_context);
}

/// A namespace and its environment.
#[derive(Serialize, ToSchema)]
struct NamespaceDetail {
    name: String,
    /// `test` or `prod`.
    #[schema(value_type = String)]
    environment: Environment,
}

impl From<OfferedNamespace> for NamespaceDetail {
    fn from(namespace: OfferedNamespace) -> Self {
        Self {
            name: namespace.name,
            environment: namespace.environment,
        }
    }
}

/// A Service that machines can be asked for.
#[derive(Serialize, ToSchema)]
struct RequestService {
    id: Uuid,
    name: String,
    system_id: Uuid,
    system_name: String,
}

impl From<OfferedService> for RequestService {
    fn from(service: OfferedService) -> Self {
        Self {
            id: service.id.into(),
            name: service.name,
            system_id: service.system_id.into(),
            system_name: service.system_name,
        }
    }
}

/// Everything a request may name.
#[derive(Serialize, ToSchema)]
struct VmRequestContext {
    /// Active versions by name, without their content; at most 1000.
    templates: Vec<Template>,
    /// Enabled sizes by sort order and name, without requests and overrides; at most 1000.
    instance_sizes: Vec<InstanceSize>,
    /// Names of enabled namespaces; at most 1000.
    namespaces: Vec<String>,
    /// The same namespaces with their environments.
    namespace_details: Vec<NamespaceDetail>,
    /// Services by the name of their System and their own; at most 1000.
    services: Vec<RequestService>,
}

impl From<RequestContext> for VmRequestContext {
    fn from(context: RequestContext) -> Self {
        let places = context.places;
        Self {
            templates: context.templates.into_iter().map(Template::offered).collect(),
            instance_sizes: context.sizes.into_iter().map(InstanceSize::offered).collect(),
            namespaces: places
                .namespaces
                .iter()
                .map(|namespace| namespace.name.clone())
                .collect(),
            namespace_details: places.namespaces.into_iter().map(NamespaceDetail::from).collect(),
            services: places.services.into_iter().map(RequestService::from).collect(),
        }
    }
}

/// Get what a request may name
///
/// Only what the caller can really use: of the namespaces those of environments where the caller creates machines, of
/// the Services those of Systems where the caller may create.
#[utoipa::path(tag = "vms", operation_id = "get_vm_request_context", responses((status = 200, body = VmRequestContext)))]
#[get("/vms/request-context")]
async fn get_context(api: web::Data<Api>, auth: Authorized<Create>) -> Answer {
    let context = request_context::execute(&api.platform, &auth.caller).await?;
    Ok(HttpResponse::Ok().json(VmRequestContext::from(context)))
}
