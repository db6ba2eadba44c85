//! Runs of the reconciler.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::{ClusterId, ReconcilerRunId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::reconciler::{FindingKind, ReconcilerMode, RunStatus, SkipReason};
use shepherd_ports::RepositoryError;
use shepherd_ports::reconciler::{FindingRecord, RunRecord, Skipped};
use shepherd_usecases::reconciler::start;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{Authorized, Json, Query, page, path_id, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `reconciler:manage`
    Manage = [ReconcilerManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(post_run).service(get_run);
}

/// A comparison of rows with clusters.
#[derive(Serialize, ToSchema)]
struct ReconcilerRun {
    id: Uuid,
    /// `dry-run` or `mark`.
    #[schema(value_type = String)]
    mode: ReconcilerMode,
    /// Absent for a run of all clusters.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_id: Option<Uuid>,
    /// RUNNING, COMPLETED, HALTED or FAILED.
    #[schema(value_type = String)]
    status: RunStatus,
    /// Rows that were looked for.
    examined: u32,
    /// Rows without object.
    ghost_count: u32,
    /// Objects without row.
    orphan_count: u32,
    /// Clusters that could not be compared.
    skipped: Vec<SkippedCluster>,
    /// Clusters on which too many rows were missing to believe it; nothing was marked there.
    halted_cluster_ids: Vec<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    started_by: String,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<DateTime<Utc>>,
}

/// A cluster that a run did not compare.
#[derive(Serialize, ToSchema)]
struct SkippedCluster {
    cluster_id: Uuid,
    cluster: String,
    /// GONE, DISABLED, NOT_HEALTHY, NOT_LIVE, LIST_FAILED or READ_FAILED.
    #[schema(value_type = String)]
    reason: SkipReason,
}

impl From<Skipped> for SkippedCluster {
    fn from(skipped: Skipped) -> Self {
        Self {
            cluster_id: skipped.cluster_id.into(),
            cluster: skipped.cluster,
            reason: skipped.reason,
        }
    }
}

impl From<RunRecord> for ReconcilerRun {
    fn from(record: RunRecord) -> Self {
        Self {
            id: record.id.into(),
            mode: record.mode,
            cluster_id: record.cluster_id.map(Into::into),
            status: record.status,
            examined: record.examined,
            ghost_count: record.ghosts,
            orphan_count: record.orphans,
            skipped: record.skipped.into_iter().map(SkippedCluster::from).collect(),
            halted_cluster_ids: record.halted_cluster_ids.into_iter().map(Into::into).collect(),
            error: record.error,
            started_by: record.started_by.to_string(),
            created_at: record.created_at,
            finished_at: record.finished_at,
        }
    }
}

/// A page of runs.
#[derive(Serialize, ToSchema)]
struct ReconcilerRunList {
    items: Vec<ReconcilerRun>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
}

/// List runs of the reconciler
///
/// Newest first. Runs of all clusters are shown to those who hold the permission in both environments.
#[utoipa::path(tag = "reconciler", operation_id = "list_reconciler_runs", params(ListQuery), responses((status = 200, body = ReconcilerRunList)))]
#[get("/admin/reconciler/runs")]
async fn list(api: web::Data<Api>, auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let visible = auth.caller.subject.environments(Permission::ReconcilerManage, None);
    let request = page(query.page, query.per_page)?;
    let found = api.platform.read.list_runs(visible, request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(ReconcilerRun::from).collect();
    Ok(HttpResponse::Ok().json(ReconcilerRunList { items, pagination }))
}

/// A run that is to begin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"mode": "dry-run"}))]
struct StartRunRequest {
    /// `dry-run` reports; `mark` also marks rows whose object is missing.
    #[schema(max_length = 64)]
    mode: String,
    /// One cluster; absent means all that are enabled.
    cluster_id: Option<Uuid>,
}

/// A run that begins.
#[derive(Serialize, ToSchema)]
struct RunStarted {
    run_id: Uuid,
}

/// Start a run of the reconciler
///
/// Nothing is ever deleted. Two runs never look at the same cluster at the same time.
#[utoipa::path(tag = "reconciler", operation_id = "start_reconciler_run", request_body = StartRunRequest, responses((status = 202, body = RunStarted)))]
#[post("/admin/reconciler/runs")]
async fn post_run(api: web::Data<Api>, auth: Authorized<Manage, Json<StartRunRequest>>) -> Answer {
    let request = auth.idempotent(&api);
    let Json(body) = auth.body;
    let command = start::StartRun {
        mode: mode(&body.mode)?,
        cluster: body.cluster_id.map(ClusterId::from_uuid),
    };
    let answer = start::execute(&api.platform, &auth.caller, command, request.as_ref()).await?;
    let mut response = HttpResponse::Accepted();
    if answer.replayed {
        response.insert_header(("idempotency-replayed", "true"));
    }
    Ok(response.json(RunStarted {
        run_id: answer.outcome.into(),
    }))
}

fn mode(text: &str) -> Result<ReconcilerMode, Problem> {
    if text == "delete" {
        return Err(Problem::new(ErrorCode::ReconcilerModeNotImplemented).with("mode", text));
    }
    text.parse()
        .map_err(|_| Problem::invalid_field("mode", FieldCode::UnknownValue))
}

/// A run with what it found.
#[derive(Serialize, ToSchema)]
struct ReconcilerRunDetails {
    #[serde(flatten)]
    run: ReconcilerRun,
    /// Rows without object; absent when only orphans were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    ghosts: Option<Vec<ReconcilerFinding>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ghosts_pagination: Option<Pagination>,
    /// Objects without row; absent when only ghosts were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    orphans: Option<Vec<ReconcilerFinding>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orphans_pagination: Option<Pagination>,
}

/// A row without object, or an object without row.
#[derive(Serialize, ToSchema)]
struct ReconcilerFinding {
    id: Uuid,
    /// GHOST or ORPHAN.
    #[schema(value_type = String)]
    kind: FindingKind,
    cluster_id: Uuid,
    /// Absent when the cluster is no longer registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_name: Option<String>,
    namespace: String,
    name: String,
    /// The row of a ghost.
    #[serde(skip_serializing_if = "Option::is_none")]
    vm_id: Option<Uuid>,
    /// What is known of it; for an orphan with the reason why it has no row.
    #[schema(value_type = Object)]
    details: Value,
}

impl From<FindingRecord> for ReconcilerFinding {
    fn from(record: FindingRecord) -> Self {
        Self {
            id: record.id.into(),
            kind: record.kind,
            cluster_id: record.cluster_id.into(),
            cluster_name: record.cluster_name,
            namespace: record.namespace,
            name: record.name,
            vm_id: record.vm_id.map(Into::into),
            details: record.details,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RunQuery {
    /// GHOST or ORPHAN; both when absent.
    kind: Option<String>,
    /// Page of each kind.
    page: Option<u32>,
    per_page: Option<u32>,
}

/// Get a run of the reconciler
///
/// Ghosts and orphans apart, each by cluster, namespace and name.
#[utoipa::path(tag = "reconciler", operation_id = "get_reconciler_run", params(("run_id" = Uuid, Path), RunQuery), responses((status = 200, body = ReconcilerRunDetails)))]
#[get("/admin/reconciler/runs/{run_id}")]
async fn get_run(
    api: web::Data<Api>,
    auth: Authorized<Manage>,
    id: web::Path<String>,
    query: Query<RunQuery>,
) -> Answer {
    let id: ReconcilerRunId = path_id("run_id", &id)?;
    let visible = auth.caller.subject.environments(Permission::ReconcilerManage, None);
    let run = api
        .platform
        .read
        .get_run(visible, id)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::ReconcilerRunNotFound, id))?;
    let query = query.read()?;
    let kind: Option<FindingKind> = query_value("kind", query.kind.as_deref())?;
    let request = page(query.page, query.per_page)?;
    let (ghosts, ghosts_pagination) = findings(&api, id, FindingKind::Ghost, kind, request).await?.unzip();
    let (orphans, orphans_pagination) = findings(&api, id, FindingKind::Orphan, kind, request).await?.unzip();
    Ok(HttpResponse::Ok().json(ReconcilerRunDetails {
        run: run.into(),
        ghosts,
        ghosts_pagination,
        orphans,
        orphans_pagination,
    }))
}

/// A page of findings of a kind, unless only the other kind was asked for.
async fn findings(
    api: &Api,
    run: ReconcilerRunId,
    kind: FindingKind,
    asked: Option<FindingKind>,
    request: PageRequest,
) -> Result<Option<(Vec<ReconcilerFinding>, Pagination)>, RepositoryError> {
    if asked.is_some_and(|asked| asked != kind) {
        return Ok(None);
    }
    let found = api.platform.read.list_findings(run, kind, request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(ReconcilerFinding::from).collect();
    Ok(Some((items, pagination)))
}
