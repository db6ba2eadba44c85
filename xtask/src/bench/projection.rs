//! 20 simulated clusters with 1,000 machines each: how fast the first list is in the rows, how far the rows are behind
//! 1,000 changes per second, what a watched machine takes of memory, and what a list that says nothing new writes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use super::bed::{Bed, Database, Served, execute};
use super::figure::{Figure, Goal};
use super::http::{Connection, request};
use super::people::{self, Person};
use super::process::resident_mib;
use crate::fleet::Fleet;
use crate::progress::Step;

const CLUSTERS: u32 = 20;
const MACHINES: u32 = 1_000;
const CHANGES_PER_SECOND: u32 = 1_000;
const SECONDS: u32 = 20;
/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);
/// After this long, what a start or a list needed has been given back.
const REST: Duration = Duration::from_secs(5);
pub(super) const ROLES: &str = "api,controllers";
/// The simulated clusters listen on this machine, which is no place for a cluster otherwise.
pub(super) const ENVIRONMENT: [(&str, &str); 1] = [("SECURITY_OUTBOUND_ALLOWLIST", "127.0.0.1/32")];

/// Every changed machine says when it was changed; the server knows when its row was committed.
const LAGS: &str = "SELECT percentile_disc(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY \
         extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision * 1000 \
             - status_message::double precision / 1000) \
     FROM vms WHERE status_message ~ '^[0-9]+$'";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("memory without a cluster");
    let database = bed.database("bench_projection").await?;
    let served = bed.serve_with(&database, ROLES, &ENVIRONMENT).await?;
    tokio::time::sleep(REST).await;
    let idle = resident_mib(bed.shepherd(), served.port)?;
    served.stop().await;

    step.detail("starting 20 clusters of 1,000 machines");
    let mut fleet = Fleet::start(bed.fleet(), bed.directory(), CLUSTERS, MACHINES).await?;
    register(bed, &database, &fleet).await?;
    let mut db = database.connect().await?;
    execute(&mut db, &fleet.rows()).await?;
    execute(&mut db, "VACUUM (ANALYZE)").await?;

    step.detail("the first list");
    let started = Instant::now();
    let served = bed.serve_with(&database, ROLES, &ENVIRONMENT).await?;
    until(
        &mut db,
        "SELECT count(*) FROM vms WHERE observed_at IS NOT NULL",
        fleet.size(),
    )
    .await?;
    let listed = started.elapsed();
    let live = "SELECT count(*) FROM cluster_watches WHERE state = 'LIVE'";
    until(&mut db, live, i64::from(CLUSTERS)).await?;
    tokio::time::sleep(REST).await;
    let watching = resident_mib(bed.shepherd(), served.port)?;

    step.detail("1,000 changes per second");
    let (changes, _) = fleet.obey(&format!("flip {CHANGES_PER_SECOND} {SECONDS}")).await?;
    let changed = i64::try_from(changes)?.min(fleet.size());
    until(
        &mut db,
        "SELECT count(*) FROM vms WHERE status_message ~ '^[0-9]+$'",
        changed,
    )
    .await?;
    let lags: Vec<f64> = sqlx::query_scalar(LAGS).fetch_one(&mut db).await?;
    served.stop().await;

    step.detail("a list that says nothing new");
    let written = written_by_relist(bed, &database, &mut db).await?;
    let per_thousand = (watching - idle) / f64::from(CLUSTERS * MACHINES / 1_000);
    Ok(vec![
        Figure::new("projection_first_list", listed.as_secs_f64(), "s", Goal::AtMost(60.0))
            .noted("from the start of the process until 20,000 rows say what their machines do"),
        Figure::new("projection_lag_p99", lags[1], "ms", Goal::AtMost(1000.0))
            .noted("from a change on a cluster until its row is committed, at 1,000 changes/s over 20 clusters")
            .detailed(json!({"changes": changes, "p50_ms": lags[0], "longest_ms": lags[2]})),
        Figure::new("rss_per_1000_watched", per_thousand, "MiB", Goal::AtMost(4.0))
            .detailed(json!({"idle_mib": idle, "watching_20000_mib": watching})),
        Figure::new("relist_writes", written, "rows", Goal::AtMost(0.0))
            .noted("rows written when another process lists 20,000 machines about which nothing is new"),
    ])
}

/// Registers the clusters of a fleet, as an administrator would.
pub(super) async fn register(bed: &Bed<'_>, database: &Database, fleet: &Fleet) -> anyhow::Result<()> {
    let served = bed.serve_with(database, "api", &ENVIRONMENT).await?;
    let administrator = people::administrator(bed, &served).await?;
    register_as(&served, &administrator, fleet).await?;
    served.stop().await;
    Ok(())
}

/// As [`register`], with a process that runs and by somebody who is logged in.
pub(super) async fn register_as(served: &Served, administrator: &Person, fleet: &Fleet) -> anyhow::Result<()> {
    let mut connection = Connection::open(served.port).await?;
    for body in fleet.registrations()? {
        let call = request(
            "POST",
            "/admin/clusters",
            Some(&administrator.token),
            Some(&body.to_string()),
        );
        connection.send(&call).await?.json(201).context("register a cluster")?;
    }
    Ok(())
}

/// How many rows another process writes that lists everything anew.
async fn written_by_relist(bed: &Bed<'_>, database: &Database, db: &mut PgConnection) -> anyhow::Result<f64> {
    let places = "CREATE TEMP TABLE before AS SELECT id, xmin::text AS written_by, ctid::text AS place FROM vms";
    execute(db, places).await?;
    execute(db, "CREATE TEMP TABLE restarted AS SELECT clock_timestamp() AS at").await?;
    let served: Served = bed.serve_with(database, ROLES, &ENVIRONMENT).await?;
    let live = "SELECT count(*) FROM cluster_watches, restarted WHERE state = 'LIVE' AND since > at";
    until(db, live, i64::from(CLUSTERS)).await?;
    served.stop().await;
    let written: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM vms v JOIN before b USING (id) \
         WHERE (v.xmin::text, v.ctid::text) <> (b.written_by, b.place)",
    )
    .fetch_one(db)
    .await?;
    Ok(f64::from(u32::try_from(written)?))
}

/// Waits until a query counts so many.
pub(super) async fn until(db: &mut PgConnection, query: &str, wanted: i64) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let found: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut *db).await?;
        if found >= wanted {
            return Ok(());
        }
        ensure!(started.elapsed() < LIMIT, "{found} instead of {wanted}: {query}");
        tokio::time::sleep(POLL).await;
    }
}
