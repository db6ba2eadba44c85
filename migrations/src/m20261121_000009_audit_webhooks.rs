//! Webhooks that audit rows are pushed to, and the order they are pushed in (docs/adr/0007-audit-push-cursor.md).
//!
//! The number of a row is drawn after its transaction has its id, so whoever sees a row knows that all transactions with
//! smaller numbers had begun when it was written, and can wait for them to end.

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
-- One number after the other: a cache would hand some out before others that were drawn earlier.
CREATE SEQUENCE audit_logs_seq AS bigint CACHE 1;
-- CASE looks at its condition first, which gives the transaction its id. Rows that are there already are rewritten.
ALTER TABLE audit_logs ADD COLUMN seq bigint NOT NULL
    DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('audit_logs_seq') END;
ALTER SEQUENCE audit_logs_seq OWNED BY audit_logs.seq;
CREATE UNIQUE INDEX uq_audit_logs_seq ON audit_logs (seq);

CREATE TABLE audit_webhooks (
    id uuid NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    method text NOT NULL,
    header_names text[] NOT NULL DEFAULT '{}',
    headers bytea,
    headers_key_id text,
    secret bytea NOT NULL,
    secret_key_id text NOT NULL,
    filters jsonb NOT NULL DEFAULT '{}',
    batch_size integer NOT NULL DEFAULT 100,
    flush_interval_seconds integer NOT NULL DEFAULT 60,
    enabled boolean NOT NULL DEFAULT true,
    -- audit_logs.seq up to which everything that the filters let through was delivered.
    cursor bigint NOT NULL,
    last_success_at timestamptz,
    last_error text,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    next_attempt_at timestamptz,
    alerted_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_audit_webhooks PRIMARY KEY (id),
    CONSTRAINT uq_audit_webhooks_name UNIQUE (name),
    CONSTRAINT ck_audit_webhooks_name CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT ck_audit_webhooks_url CHECK (char_length(url) BETWEEN 1 AND 2048),
    CONSTRAINT ck_audit_webhooks_method CHECK (method IN ('POST', 'PUT')),
    CONSTRAINT ck_audit_webhooks_headers CHECK (
        (headers IS NULL) = (headers_key_id IS NULL) AND (headers IS NULL) = (cardinality(header_names) = 0)
    ),
    -- A misspelt key would push what was to be left out.
    CONSTRAINT ck_audit_webhooks_filters CHECK (
        jsonb_typeof(filters) = 'object' AND filters - ARRAY['actions', 'environments'] = '{}'
    ),
    CONSTRAINT ck_audit_webhooks_batch_size CHECK (batch_size BETWEEN 1 AND 1000),
    CONSTRAINT ck_audit_webhooks_flush_interval_seconds CHECK (flush_interval_seconds BETWEEN 1 AND 3600),
    CONSTRAINT ck_audit_webhooks_cursor CHECK (cursor >= 0),
    CONSTRAINT ck_audit_webhooks_failures CHECK (failures >= 0)
);
-- The version is that of what people set; deliveries come and go below it.
CREATE TRIGGER trg_audit_webhooks_touch BEFORE UPDATE ON audit_webhooks
    FOR EACH ROW EXECUTE FUNCTION touch_row(
        'cursor', 'last_success_at', 'last_error', 'failures', 'failing_since', 'next_attempt_at', 'alerted_at'
    );
CREATE TRIGGER trg_audit_webhooks_immutable BEFORE UPDATE ON audit_webhooks
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');
-- A cursor that falls would push again what was pushed; one that is set back on purpose is a new webhook.
CREATE TRIGGER trg_audit_webhooks_cursor BEFORE UPDATE ON audit_webhooks
    FOR EACH ROW WHEN (NEW.cursor < OLD.cursor)
    EXECUTE FUNCTION reject_change('cursor never falls');
"#;

const DOWN: &str = r#"
DROP TABLE audit_webhooks;
ALTER TABLE audit_logs DROP COLUMN seq;
"#;
