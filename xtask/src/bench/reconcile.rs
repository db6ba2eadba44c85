//! A run of the reconciler over 20,000 rows on 20 simulated clusters, as the queue carries it out.
//!
//! Health and watches are said to be well and not looked at, so that nothing else asks the clusters meanwhile. What is
//! timed is how long after the insertion of the run its row says that it ended.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use sqlx::PgConnection;

use super::bed::{Bed, execute};
use super::figure::{Figure, Goal, median, percentile};
use super::projection::{ENVIRONMENT, register};
use crate::fleet::Fleet;
use crate::progress::Step;

const CLUSTERS: u32 = 20;
const MACHINES: u32 = 1_000;
const RUNS: usize = 5;
const POLL: Duration = Duration::from_millis(5);
/// Longest wait for a run; the first one waits until the worker has started.
const LIMIT: Duration = Duration::from_secs(60);

/// Rows that are old enough to be looked for, on clusters whose rows follow them.
const WELL: &str = "
    UPDATE vms SET status = 'RUNNING', created_at = now() - interval '1 hour';
    UPDATE clusters SET status = 'HEALTHY';
    INSERT INTO cluster_watches (cluster_id, state, since) SELECT id, 'LIVE', now() FROM clusters
        ON CONFLICT (cluster_id) DO UPDATE SET state = 'LIVE';
";

/// As `shepherd-postgres` begins a run and leaves it to the queue (reconciler.rs, periodic.rs).
const BEGIN: &str = "WITH begun AS ( \
         INSERT INTO reconciler_runs (id, mode, started_by, heartbeat_at) \
         VALUES (gen_random_uuid(), 'mark', 'system:bench', now()) RETURNING id \
     ) \
     SELECT begun.id::text FROM begun CROSS JOIN LATERAL graphile_worker.add_job('periodic_job', \
         payload => '{\"job\": \"reconciler_runs\"}', queue_name => 'periodic:reconciler_runs', max_attempts => 1, \
         job_key => 'periodic:reconciler_runs') AS job";

/// Nothing while it goes on; else how it ended and what it counted.
const ENDED: &str = "SELECT status || ' ' || examined || ' ' || ghosts || ' ' || orphans || ' ' \
         || jsonb_array_length(skipped) FROM reconciler_runs WHERE id = $1::uuid AND status <> 'RUNNING'";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("starting 20 clusters of 1,000 machines");
    let database = bed.database("bench_reconcile").await?;
    let fleet = Fleet::start(bed.fleet(), bed.directory(), CLUSTERS, MACHINES).await?;
    register(bed, &database, &fleet).await?;
    let mut db = database.connect().await?;
    execute(&mut db, &fleet.rows()).await?;
    execute(&mut db, WELL).await?;
    execute(&mut db, "VACUUM (ANALYZE)").await?;
    let served = bed.serve_with(&database, "worker", &ENVIRONMENT).await?;
    // Whatever a process does once, such as building its clients, is not what a run costs.
    run(&mut db, fleet.size()).await?;
    let mut samples = Vec::new();
    for number in 1..=RUNS {
        step.detail(&format!("run {number} of {RUNS}"));
        samples.push(run(&mut db, fleet.size()).await?.as_secs_f64());
    }
    served.stop().await;
    let details = json!({"rows": fleet.size(), "clusters": CLUSTERS, "p50_s": median(&samples), "s": samples});
    Ok(vec![
        Figure::new(
            "reconcile_20000_rows",
            percentile(&samples, 100),
            "s",
            Goal::AtMost(5.0),
        )
        .noted("from the insertion of a run until its end; the longest of 5")
        .detailed(details),
    ])
}

/// A run over everything, in which nothing may be missing.
async fn run(db: &mut PgConnection, rows: i64) -> anyhow::Result<Duration> {
    let id: String = sqlx::query_scalar(BEGIN).fetch_one(&mut *db).await?;
    let begun = Instant::now();
    loop {
        let ended: Option<String> = sqlx::query_scalar(ENDED).bind(&id).fetch_optional(&mut *db).await?;
        if let Some(ended) = ended {
            let elapsed = begun.elapsed();
            ensure!(
                ended == format!("COMPLETED {rows} 0 0 0"),
                "the run is not the one to be measured: {ended}"
            );
            return Ok(elapsed);
        }
        ensure!(begun.elapsed() < LIMIT, "the run did not end within {LIMIT:?}");
        tokio::time::sleep(POLL).await;
    }
}
