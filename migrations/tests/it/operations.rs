//! Storage parameters and the view that operators look at (operations.md §7).

use sea_orm::sqlx;

use crate::{Database, TestResult};

const VACUUM_OF_JOBS: &str = "autovacuum_vacuum_scale_factor=0.01,autovacuum_vacuum_threshold=100,\
     autovacuum_analyze_scale_factor=0.01,autovacuum_analyze_threshold=500,\
     autovacuum_vacuum_cost_limit=2000,autovacuum_vacuum_cost_delay=5";
const VACUUM_OF_BEATS: &str = "autovacuum_vacuum_scale_factor=0.01,autovacuum_vacuum_threshold=50";

/// The table of operations.md §7.
const TUNED: [(&str, &str); 7] = [
    ("graphile_worker._private_jobs", VACUUM_OF_JOBS),
    ("graphile_worker._private_job_queues", VACUUM_OF_JOBS),
    ("graphile_worker._private_workers", VACUUM_OF_BEATS),
    ("leader_leases", VACUUM_OF_BEATS),
    ("heartbeats", VACUUM_OF_BEATS),
    (
        "audit_logs",
        // Rows are seldom changed, so that insertions have to count as well.
        "autovacuum_vacuum_scale_factor=0.02,autovacuum_vacuum_threshold=5000,\
         autovacuum_vacuum_insert_scale_factor=0.02,autovacuum_vacuum_insert_threshold=5000",
    ),
    (
        "domain_events",
        "autovacuum_vacuum_scale_factor=0.02,autovacuum_vacuum_threshold=2000",
    ),
];

async fn storage_parameters(database: &Database, table: &str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(array_to_string(reloptions, ','), '') FROM pg_class WHERE oid = $1::regclass")
        .bind(table)
        .fetch_one(database.pool())
        .await
}

#[tokio::test]
async fn every_table_that_turns_over_fast_has_its_storage_parameters() -> TestResult {
    let database = Database::migrated().await?;
    for (table, expected) in TUNED {
        assert_eq!(storage_parameters(&database, table).await?, expected, "{table}");
    }
    Ok(())
}

#[tokio::test]
async fn a_table_that_the_queue_made_anew_is_tuned_again_and_one_of_an_operator_left_alone() -> TestResult {
    const UNTUNED: &str = "ALTER TABLE graphile_worker._private_jobs RESET (
            autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_analyze_scale_factor,
            autovacuum_analyze_threshold, autovacuum_vacuum_cost_limit, autovacuum_vacuum_cost_delay)";
    const OWN: &str = "ALTER TABLE graphile_worker._private_job_queues SET (autovacuum_vacuum_threshold = 7)";
    let database = Database::migrated().await?;
    database.run(UNTUNED).await?;
    database.run(OWN).await?;
    migrations::up(&database.connection).await?;
    let jobs = storage_parameters(&database, "graphile_worker._private_jobs").await?;
    assert_eq!(jobs, VACUUM_OF_JOBS);
    let queues = storage_parameters(&database, "graphile_worker._private_job_queues").await?;
    assert!(queues.contains("autovacuum_vacuum_threshold=7"), "{queues}");
    Ok(())
}

#[tokio::test]
async fn the_step_goes_back_and_forth() -> TestResult {
    const BEATS_ARE_TUNED: &str =
        "SELECT count(*) FROM pg_class WHERE relname = '_private_workers' AND reloptions IS NOT NULL";
    const VIEWS: &str = "SELECT count(*) FROM pg_views WHERE viewname = 'queue_health'";
    let database = Database::filled().await?;
    let later = migrations::status(&database.connection)
        .await?
        .iter()
        .filter(|(name, _)| name.as_str() >= "m20261121_000016")
        .count();
    migrations::down(&database.connection, Some(u32::try_from(later)?)).await?;
    assert_eq!(database.number(VIEWS).await?, 0);
    assert_eq!(database.number(BEATS_ARE_TUNED).await?, 0);
    migrations::up(&database.connection).await?;
    assert_eq!(database.number(VIEWS).await?, 1);
    assert_eq!(database.number(BEATS_ARE_TUNED).await?, 1);
    Ok(())
}

#[tokio::test]
async fn the_view_counts_what_waits_and_only_that() -> TestResult {
    const ADD: &str = "SELECT graphile_worker.add_job('view', run_at => now() + late * interval '1 minute')
                       FROM unnest(ARRAY[-10, -5, 10]) AS late";
    const BACKLOG: &str = "SELECT backlog FROM queue_health";
    const OLDEST: &str = "SELECT (coalesce(oldest_available_seconds, 0) / 60)::bigint FROM queue_health";
    const ROWS: &str = "SELECT count(*) FROM queue_health WHERE live >= 0 AND dead >= 0 AND dead_ratio BETWEEN 0 AND 1
                            AND NOT vacuum_due AND seconds_since_vacuum >= 0";
    const LOOKED_AFTER: &str =
        "SELECT count(*) FROM queue_health WHERE last_vacuum IS NOT NULL AND last_analyze IS NOT NULL";
    let database = Database::migrated().await?;
    assert_eq!(database.number(BACKLOG).await?, 0);
    database.run(ADD).await?;
    assert_eq!(database.number(ROWS).await?, 1);
    assert_eq!(
        database.number(BACKLOG).await?,
        2,
        "a job that is due later does not wait"
    );
    assert_eq!(database.number(OLDEST).await?, 10);
    database.run("VACUUM ANALYZE graphile_worker._private_jobs").await?;
    // Statistics are written when a session becomes idle, so the count may come a moment later.
    for _ in 0..1200 {
        if database.number(LOOKED_AFTER).await? == 1 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err("the view does not show the vacuum".into())
}
