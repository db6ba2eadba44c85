//! Revisions of machines.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::ids::VmId;
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_domain::revision::{Change, ChangeOp};
use shepherd_ports::revisions::RevisionRecord;
use shepherd_usecases::revision;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{Authorized, Query, page, path_id, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `vm:read`
    Read = [VmRead],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    // `diff` would be taken for a number.
    config.service(list).service(diff).service(get_revision);
}

/// A revision of a machine.
#[derive(Serialize, ToSchema)]
#[schema(as = VMRevision)]
struct Revision {
    /// From 1.
    revision: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_reason: Option<String>,
    /// The ticket that changed the machine; an adoption has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<Uuid>,
    changed_by: String,
    created_at: DateTime<Utc>,
}

impl From<RevisionRecord> for Revision {
    fn from(record: RevisionRecord) -> Self {
        Self {
            revision: record.revision,
            change_reason: record.change_reason,
            ticket_id: record.ticket_id.map(Into::into),
            changed_by: record.changed_by.to_string(),
            created_at: record.created_at,
        }
    }
}

/// A revision with its document.
#[derive(Serialize, ToSchema)]
#[schema(as = VMRevisionDetail)]
struct RevisionDetail {
    #[serde(flatten)]
    revision: Revision,
    /// The object as it was applied, without Secrets and with what looks like a secret masked.
    spec_yaml: String,
}

/// A page of revisions.
#[derive(Serialize, ToSchema)]
#[schema(as = VMRevisionList)]
struct RevisionList {
    items: Vec<Revision>,
    pagination: Pagination,
}

/// What lies between two revisions.
#[derive(Serialize, ToSchema)]
#[schema(as = VMRevisionDiff)]
struct RevisionDiff {
    from: i32,
    to: i32,
    /// By path.
    changes: Vec<RevisionChange>,
}

/// One difference.
#[derive(Serialize, ToSchema)]
#[schema(as = VMRevisionChange)]
struct RevisionChange {
    /// `spec.template.spec.domain.devices.disks[name=root].disk.bus`
    path: String,
    /// add, remove or replace.
    #[schema(value_type = String)]
    op: ChangeOp,
    /// Absent when it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Value>,
    /// Absent when it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Value>,
}

impl From<Change> for RevisionChange {
    fn from(change: Change) -> Self {
        Self {
            path: change.path,
            op: change.op,
            old: change.old,
            new: change.new,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List revisions of a machine
///
/// Newest first.
#[utoipa::path(tag = "revisions", operation_id = "list_revisions", params(("vm_id" = Uuid, Path), ListQuery), responses((status = 200, body = RevisionList)))]
#[get("/vms/{vm_id}/revisions")]
async fn list(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>, query: Query<ListQuery>) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let query = query.read()?;
    let page = page(query.page, query.per_page)?;
    let found = revision::list(&api.platform, &auth.caller, id, page).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(Revision::from).collect();
    Ok(HttpResponse::Ok().json(RevisionList { items, pagination }))
}

/// Get a revision of a machine
#[utoipa::path(tag = "revisions", operation_id = "get_revision", params(("vm_id" = Uuid, Path), ("revision" = i32, Path)), responses((status = 200, body = RevisionDetail)))]
#[get("/vms/{vm_id}/revisions/{revision}")]
async fn get_revision(api: web::Data<Api>, auth: Authorized<Read>, path: web::Path<(String, String)>) -> Answer {
    let (id, number) = path.into_inner();
    let id: VmId = path_id("vm_id", &id)?;
    let number: i32 = path_id("revision", &number)?;
    let shown = revision::get(&api.platform, &auth.caller, id, number).await?;
    Ok(HttpResponse::Ok().json(RevisionDetail {
        revision: shown.record.into(),
        spec_yaml: shown.yaml,
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The revision before.
    #[param(required = true)]
    from: Option<i32>,
    /// The revision afterwards; it need not be the newer one.
    #[param(required = true)]
    to: Option<i32>,
}

impl DiffQuery {
    fn both(&self) -> Result<(i32, i32), Problem> {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            return Ok((from, to));
        }
        let missing = [("from", self.from), ("to", self.to)]
            .into_iter()
            .filter(|(_, given)| given.is_none());
        Err(Problem::invalid(
            missing
                .map(|(field, _)| FieldError::new(field, FieldCode::Required))
                .collect(),
        ))
    }
}

/// Compare two revisions of a machine
#[utoipa::path(tag = "revisions", operation_id = "diff_revisions", params(("vm_id" = Uuid, Path), DiffQuery), responses((status = 200, body = RevisionDiff)))]
#[get("/vms/{vm_id}/revisions/diff")]
async fn diff(api: web::Data<Api>, auth: Authorized<Read>, id: web::Path<String>, query: Query<DiffQuery>) -> Answer {
    let id: VmId = path_id("vm_id", &id)?;
    let (from, to) = query.read()?.both()?;
    let changes = revision::diff(&api.platform, &auth.caller, id, from, to).await?;
    Ok(HttpResponse::Ok().json(RevisionDiff {
        from,
        to,
        changes: changes.into_iter().map(RevisionChange::from).collect(),
    }))
}
