//! Vacuum settings for the tables that turn over fast (operations.md §7), as storage parameters, so that they travel with
//! the schema and ask nothing of the server's configuration.
//!
//! The queue's tables are its own; they are tuned where they exist and left alone otherwise.

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

const UP: &str = r#"
ALTER TABLE leader_leases SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 50);
ALTER TABLE heartbeats SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 50);
ALTER TABLE audit_logs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
ALTER TABLE domain_events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);

DO $$
DECLARE
    job_table text;
BEGIN
    FOREACH job_table IN ARRAY ARRAY['graphile_worker._private_jobs', 'graphile_worker._private_job_queues'] LOOP
        IF to_regclass(job_table) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s SET (
                    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 100,
                    autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 500,
                    autovacuum_vacuum_cost_limit = 2000, autovacuum_vacuum_cost_delay = 5
                )', job_table);
        END IF;
    END LOOP;
END;
$$;
"#;

const DOWN: &str = r#"
DO $$
DECLARE
    job_table text;
BEGIN
    FOREACH job_table IN ARRAY ARRAY['graphile_worker._private_jobs', 'graphile_worker._private_job_queues'] LOOP
        IF to_regclass(job_table) IS NOT NULL THEN
            EXECUTE format('ALTER TABLE %s RESET (
                    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
                    autovacuum_analyze_scale_factor, autovacuum_analyze_threshold,
                    autovacuum_vacuum_cost_limit, autovacuum_vacuum_cost_delay
                )', job_table);
        END IF;
    END LOOP;
END;
$$;

ALTER TABLE domain_events RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE audit_logs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE heartbeats RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE leader_leases RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
"#;
