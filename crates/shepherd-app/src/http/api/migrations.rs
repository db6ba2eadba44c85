//! Live migrations.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::{MigrationId, VmId};
use shepherd_domain::infrastructure::MigrationPhase;
use shepherd_ports::migrations::MigrationRecord;
use shepherd_usecases::migration::{self, cancel, create};
use shepherd_usecases::vm;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::vm_power::OperationRequest;
use super::vms::{Accepted, accepted};
use crate::http::Api;
use crate::http::extract::{Authorized, OptionalJson, Query, page, path_id, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `vm:read`
    Read = [VmRead],
    /// `vm:migrate`
    Migrate = [VmMigrate],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(post_migration)
        .service(list)
        .service(get_migration)
        .service(post_cancel);
}

/// A live migration of a machine.
#[derive(Serialize, ToSchema)]
#[schema(as = VMMigration)]
struct Migration {
    id: Uuid,
    vm_id: Uuid,
    /// PENDING, RUNNING, SUCCEEDED, FAILED or CANCELLED.
    #[schema(value_type = String)]
    phase: MigrationPhase,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_node: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether somebody called it off.
    cancel_requested: bool,
    ticket_id: Uuid,
    created_by: String,
    created_at: DateTime<Utc>,
}

impl From<MigrationRecord> for Migration {
    fn from(record: MigrationRecord) -> Self {
        Self {
            id: record.id.into(),
            vm_id: record.vm_id.into(),
            phase: record.phase,
            source_node: record.source_node,
            target_node: record.target_node,
            error: record.error,
            cancel_requested: record.cancel_event_id.is_some(),
            ticket_id: record.ticket_id.into(),
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
        }
    }
}

/// A page of migrations.
#[derive(Serialize, ToSchema)]
#[schema(as = VMMigrationList)]
struct MigrationList {
    items: Vec<Migration>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// Request that a running machine moves to another node
#[utoipa::path(tag = "migrations", operation_id = "migrate_vm", params(("vm_id" = Uuid, Path)), request_body = OperationRequest, responses((status = 202, body = Accepted)))]
#[post("/vms/{vm_id}/migrate")]
async fn post_migration(
    api: web::Data<Api>,
    auth: Authorized<Migrate, OptionalJson<OperationRequest>>,
    id: web::Path<String>,
) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let idempotent = auth.idempotent(&api);
    let OptionalJson(body) = auth.body;
    let answer = create::execute(
        &api.platform,
        &api.operations,
        &auth.caller,
        id,
        body.reason,
        idempotent.as_ref(),
    )
    .await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

/// List migrations of a machine
///
/// Newest first.
#[utoipa::path(tag = "migrations", operation_id = "list_migrations", params(("vm_id" = Uuid, Path), ListQuery), responses((status = 200, body = MigrationList)))]
#[get("/vms/{vm_id}/migrations")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>, query: Query<ListQuery>) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let vm = vm::visible(
        &api.platform,
        &auth.caller,
        Permission::VmRead,
        ResourceAction::View,
        id,
    )
    .await?;
    let query = query.read()?;
    let found = api
        .platform
        .read
        .list_migrations(vm.id, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(Migration::from).collect();
    Ok(HttpResponse::Ok().json(MigrationList { items, pagination }))
}

/// Get a migration
#[utoipa::path(tag = "migrations", operation_id = "get_migration", params(("migration_id" = Uuid, Path)), responses((status = 200, body = Migration)))]
#[get("/migrations/{migration_id}")]
async fn get_migration(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>) -> Answer {
    let id: MigrationId = path_id("migration_id", &id)?;
    let (record, _) = migration::visible(
        &api.platform,
        &auth.caller,
        Permission::VmRead,
        ResourceAction::View,
        id,
    )
    .await?;
    Ok(HttpResponse::Ok().json(Migration::from(record)))
}

/// Call a migration off
///
/// The event tells whether that came in time.
#[utoipa::path(tag = "migrations", operation_id = "cancel_migration", params(("migration_id" = Uuid, Path)), responses((status = 202, body = Accepted)))]
#[post("/migrations/{migration_id}/cancel")]
async fn post_cancel(api: web::Data<Api>, auth: Authorized<Migrate>, id: web::Path<String>) -> Answer {
    let id: MigrationId = path_id("migration_id", &id)?;
    let idempotent = auth.idempotent(&api);
    let answer = cancel::execute(&api.platform, &auth.caller, id, idempotent.as_ref()).await?;
    Ok(accepted(answer.outcome, answer.replayed))
}
