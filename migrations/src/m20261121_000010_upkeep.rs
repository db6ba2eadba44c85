//! What periodic jobs remember: when a ticket's approvers were reminded last, and when each job did its work last.
//!
//! A reminder is no change of the ticket: its version, which is the ETag of the API, and `updated_at` stay.

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
-- Overdue tickets are found by ix_approval_tickets_status.
ALTER TABLE approval_tickets ADD COLUMN reminded_at timestamptz;
CREATE OR REPLACE TRIGGER trg_approval_tickets_touch BEFORE UPDATE ON approval_tickets
    FOR EACH ROW EXECUTE FUNCTION touch_row('operation_group', 'reminded_at');

CREATE TABLE periodic_jobs (
    job text NOT NULL,
    succeeded_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_periodic_jobs PRIMARY KEY (job)
);
CREATE TRIGGER trg_periodic_jobs_touch BEFORE UPDATE ON periodic_jobs
    FOR EACH ROW EXECUTE FUNCTION touch_row();

-- Somebody who guesses passwords writes many of them; the clean-up must not read them all every hour.
CREATE INDEX ix_login_attempts_at ON login_attempts (at);
"#;

const DOWN: &str = r#"
DROP INDEX ix_login_attempts_at;
DROP TABLE periodic_jobs;
CREATE OR REPLACE TRIGGER trg_approval_tickets_touch BEFORE UPDATE ON approval_tickets
    FOR EACH ROW EXECUTE FUNCTION touch_row('operation_group');
ALTER TABLE approval_tickets DROP COLUMN reminded_at;
"#;
