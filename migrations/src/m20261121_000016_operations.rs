//! What operators look at: the view `queue_health`, and the vacuum settings of the queue's own tables kept where the
//! queue's library makes a table anew.
//!
//! Step 7 tuned the tables that were there (operations.md §7). A later version of the library may replace one of them, and
//! its storage parameters would go with it; `tune_queue_tables` therefore runs at the end of every `migrate up`. It leaves
//! a table alone that has any storage parameters, so what an operator set stays.
//!
//! Nothing here depends on the queue's tables in the eyes of PostgreSQL (they are named in text only), or the library could
//! not change them any more.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbErr, DeriveMigrationName};
use sea_orm_migration::{MigrationTrait, SchemaManager};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await?;
        Ok(())
    }
}

/// Tunes what is there and has no storage parameters yet.
pub(crate) const TUNE_QUEUE: &str = "SELECT tune_queue_tables()";

const UP: &str = r#"
CREATE FUNCTION tune_queue_tables() RETURNS void LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
    tuned record;
BEGIN
    FOR tuned IN
        SELECT c.oid::regclass AS name, c.relname = '_private_workers' AS is_heartbeat
        FROM pg_class c
        WHERE c.oid IN (
                to_regclass('graphile_worker._private_jobs'),
                to_regclass('graphile_worker._private_job_queues'),
                to_regclass('graphile_worker._private_workers')
            )
            AND c.reloptions IS NULL
    LOOP
        IF tuned.is_heartbeat THEN
            EXECUTE format('ALTER TABLE %s SET (
                    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 50
                )', tuned.name);
        ELSE
            EXECUTE format('ALTER TABLE %s SET (
                    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 100,
                    autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 500,
                    autovacuum_vacuum_cost_limit = 2000, autovacuum_vacuum_cost_delay = 5
                )', tuned.name);
        END IF;
    END LOOP;
END;
$$;
SELECT tune_queue_tables();

-- Jobs that could run now, and how long the oldest of them has waited.
CREATE FUNCTION queue_backlog(OUT backlog bigint, OUT oldest_available_seconds double precision)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
BEGIN
    backlog := 0;
    IF to_regclass('graphile_worker._private_jobs') IS NOT NULL THEN
        EXECUTE 'SELECT count(*), extract(epoch FROM now() - min(run_at))
                 FROM graphile_worker._private_jobs WHERE is_available AND run_at <= now()'
        INTO backlog, oldest_available_seconds;
    END IF;
END;
$$;

-- One row, or none where there is no queue.
CREATE VIEW queue_health AS
SELECT
    counted.n_live_tup AS live,
    counted.n_dead_tup AS dead,
    CASE WHEN counted.n_dead_tup = 0 THEN 0::double precision
        ELSE counted.n_dead_tup::double precision / (counted.n_live_tup + counted.n_dead_tup)
    END AS dead_ratio,
    -- The queue is empty most of the time, and then a handful of dead rows is all there is: the ratio says something only
    -- when there are more of them than autovacuum waits for.
    counted.n_dead_tup > 100 + 0.01 * counted.n_live_tup AS vacuum_due,
    greatest(counted.last_vacuum, counted.last_autovacuum) AS last_vacuum,
    -- A server counts anew after a crash; before its start nothing can have been owed.
    extract(epoch FROM now()
        - coalesce(greatest(counted.last_vacuum, counted.last_autovacuum), pg_postmaster_start_time())
    )::double precision AS seconds_since_vacuum,
    greatest(counted.last_analyze, counted.last_autoanalyze) AS last_analyze,
    waiting.backlog,
    waiting.oldest_available_seconds
FROM pg_stat_all_tables counted
CROSS JOIN queue_backlog() waiting
WHERE counted.schemaname = 'graphile_worker' AND counted.relname = '_private_jobs';
"#;

const DOWN: &str = r#"
DROP VIEW queue_health;
DROP FUNCTION queue_backlog();
DROP FUNCTION tune_queue_tables();

DO $$
BEGIN
    IF to_regclass('graphile_worker._private_workers') IS NOT NULL THEN
        ALTER TABLE graphile_worker._private_workers RESET (
            autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold
        );
    END IF;
END;
$$;
"#;
