//! Liveness and readiness.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::json;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::leases::HeartbeatKind;
use utoipa::ToSchema;

use super::Api;
use super::error::ErrorBody;
use super::respond::Answer;

/// How long the database may take to answer a ping.
const PING: Duration = Duration::from_secs(2);
/// Age from which a worker or holder of leases counts as silent.
const SILENT: TimeDelta = TimeDelta::seconds(60);
/// Age from which a watcher counts as silent.
const WATCHER_SILENT: Duration = Duration::from_secs(120);

/// How the process is.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `degraded`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Version of the product.
    version: &'static str,
    /// State of each check.
    checks: BTreeMap<&'static str, &'static str>,
}

/// The process serves
#[utoipa::path(tag = "health", responses((status = 200, body = Health)))]
#[get("/health/live")]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: "ok",
        version: VERSION,
        checks: BTreeMap::new(),
    })
}

/// Version of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The process can do its work
///
/// 503 while the database does not answer, migrations are pending, or a part that runs in this process is silent;
/// `degraded` while no replica runs one of the parts.
#[utoipa::path(tag = "health", responses((status = 200, body = Health), (status = 503, body = ErrorBody)))]
#[get("/health/ready")]
pub(super) async fn ready(api: web::Data<Api>) -> Answer {
    let mut checks = BTreeMap::new();
    if !store_checks(&api, &mut checks).await {
        return Err(not_ready(&checks).into());
    }
    let parts = [
        ("worker", HeartbeatKind::Worker, api.roles.worker),
        ("leader", HeartbeatKind::Leader, api.roles.controllers),
    ];
    let settings = api.platform.settings();
    let mut own_silent = false;
    for (name, kind, runs_here) in parts {
        let beat = api.platform.leases.last_beat(kind, None).await;
        let state = state_of(beat, api.platform.now());
        let instance = Some(settings.controllers.instance.as_str());
        // Only the worker beats in every process that runs it; leases have one holder.
        if runs_here && kind == HeartbeatKind::Worker {
            own_silent |= state_of(api.platform.leases.last_beat(kind, instance).await, api.platform.now()) != "ok";
        }
        checks.insert(name, state);
    }
    checks.insert("watcher", watcher_state(&api).await);
    if own_silent {
        checks.insert("worker", "failing");
        return Err(not_ready(&checks).into());
    }
    let status = if checks.values().all(|state| *state == "ok") {
        "ok"
    } else {
        "degraded"
    };
    Ok(HttpResponse::Ok().json(Health {
        status,
        version: VERSION,
        checks,
    }))
}

/// Every enabled cluster has a watcher that is alive, on whichever replica.
async fn watcher_state(api: &Api) -> &'static str {
    match api.platform.read.silent_watches(WATCHER_SILENT).await {
        Ok(0) => "ok",
        Ok(_) | Err(_) => "failing",
    }
}

async fn store_checks(api: &Api, checks: &mut BTreeMap<&'static str, &'static str>) -> bool {
    let answers = matches!(tokio::time::timeout(PING, api.store_health.ping()).await, Ok(Ok(())));
    checks.insert("database", if answers { "ok" } else { "failing" });
    let current = answers
        && matches!(tokio::time::timeout(PING, api.store_health.pending_migrations()).await, Ok(Ok(pending)) if pending.is_empty());
    checks.insert("migrations", if current { "ok" } else { "failing" });
    answers && current
}

fn state_of(beat: Result<Option<DateTime<Utc>>, RepositoryError>, now: DateTime<Utc>) -> &'static str {
    match beat {
        Ok(Some(at)) if now - at <= SILENT => "ok",
        Ok(_) | Err(_) => "failing",
    }
}

fn not_ready(checks: &BTreeMap<&'static str, &'static str>) -> Problem {
    Problem::new(ErrorCode::NotReady).with("checks", json!(checks))
}
