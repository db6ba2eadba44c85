//! Console grants of everybody.

use actix_web::{HttpResponse, delete, get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::Environment;
use shepherd_domain::ids::ConsoleGrantId;
use shepherd_domain::problem::Problem;
use shepherd_ports::consoles::{GrantFilter, ListedGrant};
use shepherd_usecases::console::revoke;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::clusters::EnvironmentName;
use crate::http::Api;
use crate::http::extract::{Authorized, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `vnc:manage`
    Manage = [VncManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(delete_grant);
}

/// The right of one person to open the console of one machine for a while.
#[derive(Serialize, ToSchema)]
struct ConsoleGrant {
    id: Uuid,
    vm_id: Uuid,
    user_id: Uuid,
    #[schema(value_type = EnvironmentName)]
    environment: Environment,
    /// The approval; none for access that was given directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<Uuid>,
    granted_by: String,
    granted_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<DateTime<Utc>>,
    /// Consoles that are open by it.
    open_sessions: i64,
}

impl From<ListedGrant> for ConsoleGrant {
    fn from(listed: ListedGrant) -> Self {
        let grant = listed.grant;
        Self {
            id: grant.id.into(),
            vm_id: grant.vm_id.into(),
            user_id: grant.user_id.into(),
            environment: grant.environment,
            ticket_id: grant.ticket_id.map(Into::into),
            granted_by: grant.granted_by.to_string(),
            granted_at: grant.granted_at,
            expires_at: grant.expires_at,
            revoked_at: grant.revoked_at,
            open_sessions: listed.open_sessions,
        }
    }
}

/// A page of console grants.
#[derive(Serialize, ToSchema)]
struct ConsoleGrantList {
    items: Vec<ConsoleGrant>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    vm_id: Option<String>,
    user_id: Option<String>,
    /// Those that give access, or those that no longer do.
    active: Option<bool>,
}

impl ListQuery {
    fn filter(&self) -> Result<GrantFilter, Problem> {
        Ok(GrantFilter {
            vm_id: query_value("vm_id", self.vm_id.as_deref())?,
            user_id: query_value("user_id", self.user_id.as_deref())?,
            active: self.active,
        })
    }
}

/// List console grants
///
/// Newest first, expired and revoked ones too.
#[utoipa::path(tag = "consoles", operation_id = "list_console_grants", params(ListQuery), responses((status = 200, body = ConsoleGrantList)))]
#[get("/admin/console-grants")]
async fn list(api: web::Data<Api>, _auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let wanted = page(query.page, query.per_page)?;
    let platform = &api.platform;
    let found = platform
        .read
        .list_console_grants(&query.filter()?, platform.now(), wanted)
        .await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(ConsoleGrant::from).collect();
    Ok(HttpResponse::Ok().json(ConsoleGrantList { items, pagination }))
}

/// Revoke a console grant
///
/// Its tokens end with it, and consoles that are open by it are closed shortly after. A grant that was revoked before
/// stays as it is.
#[utoipa::path(tag = "consoles", operation_id = "revoke_console_grant", params(("grant_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/console-grants/{grant_id}")]
async fn delete_grant(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id: ConsoleGrantId = path_id("grant_id", &id)?;
    revoke::execute(&api.platform, &auth.caller, id).await?;
    api.consoles.look_again();
    Ok(HttpResponse::NoContent().finish())
}
