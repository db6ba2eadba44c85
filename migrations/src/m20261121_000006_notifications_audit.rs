//! What people are told and what is kept as evidence: notifications, audit rows and legal holds.
//!
//! The role `shepherd_retention` and its function `audit_purge` come with the retention job: roles belong to the
//! server, not to one database. Until that role exists nobody can delete an audit row.

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
CREATE TABLE notifications (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    type text NOT NULL,
    severity text NOT NULL,
    title text NOT NULL,
    message text NOT NULL,
    params jsonb NOT NULL DEFAULT '{}',
    resource_type text,
    resource_id text,
    read boolean NOT NULL DEFAULT false,
    read_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_notifications PRIMARY KEY (id),
    CONSTRAINT fk_notifications_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_notifications_type CHECK (type IN (
        'APPROVAL_PENDING', 'APPROVAL_COMPLETED', 'APPROVAL_REJECTED', 'VM_STATUS_CHANGE', 'SYSTEM_ALERT'
    )),
    CONSTRAINT ck_notifications_severity CHECK (severity IN ('info', 'warning', 'urgent')),
    CONSTRAINT ck_notifications_title CHECK (char_length(title) <= 255),
    CONSTRAINT ck_notifications_message CHECK (char_length(message) <= 2048),
    CONSTRAINT ck_notifications_read_at CHECK (read OR read_at IS NULL)
);
CREATE INDEX ix_notifications_user_id ON notifications (user_id, read, created_at DESC);
CREATE INDEX ix_notifications_created_at ON notifications (created_at);
CREATE TRIGGER trg_notifications_touch BEFORE UPDATE ON notifications
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_notifications_immutable BEFORE UPDATE ON notifications
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');

CREATE TABLE audit_legal_holds (
    id uuid NOT NULL,
    name text NOT NULL,
    filter jsonb NOT NULL,
    created_by text NOT NULL,
    released_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_audit_legal_holds PRIMARY KEY (id),
    CONSTRAINT uq_audit_legal_holds_name UNIQUE (name),
    -- A misspelt key would make a hold that holds nothing. An empty filter holds everything.
    CONSTRAINT ck_audit_legal_holds_filter CHECK (
        jsonb_typeof(filter) = 'object'
        AND filter - ARRAY['action', 'resource_type', 'resource_id', 'performed_by', 'environment', 'ticket_id'] = '{}'
        AND NOT jsonb_path_exists(filter, 'strict $.* ? (@.type() != "string")')
    )
);
CREATE TRIGGER trg_audit_legal_holds_touch BEFORE UPDATE ON audit_legal_holds
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_audit_legal_holds_immutable BEFORE UPDATE ON audit_legal_holds
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');

-- performed_at is this table's created_at.
CREATE TABLE audit_logs (
    id uuid NOT NULL,
    action text NOT NULL,
    action_code text NOT NULL,
    performed_by text NOT NULL,
    performed_by_name text NOT NULL,
    performed_at timestamptz NOT NULL DEFAULT now(),
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    resource_name text,
    parent_type text,
    parent_id text,
    ticket_id uuid,
    environment text,
    params jsonb NOT NULL DEFAULT '{}',
    outcome text NOT NULL,
    request_id text,
    ip inet,
    user_agent text,
    retention_class text NOT NULL,
    retain_until timestamptz NOT NULL,
    CONSTRAINT pk_audit_logs PRIMARY KEY (id),
    CONSTRAINT ck_audit_logs_action CHECK (char_length(action) BETWEEN 1 AND 64),
    CONSTRAINT ck_audit_logs_action_code CHECK (action_code IN (
        'REQUEST_SUBMITTED', 'REQUEST_CANCELLED',
        'APPROVAL_APPROVED', 'APPROVAL_REJECTED', 'APPROVAL_MODIFIED',
        'EXECUTION_STARTED', 'EXECUTION_COMPLETED', 'EXECUTION_FAILED',
        'RESOURCE_CREATED', 'RESOURCE_UPDATED', 'RESOURCE_DELETED',
        'ACCESS_GRANTED', 'ACCESS_REVOKED', 'ACCESS_USED', 'ACCESS_DENIED',
        'AUTHENTICATION', 'SECURITY', 'DATA_EXPORTED'
    )),
    CONSTRAINT ck_audit_logs_environment CHECK (environment IN ('test', 'prod')),
    CONSTRAINT ck_audit_logs_outcome CHECK (outcome IN ('success', 'failure')),
    CONSTRAINT ck_audit_logs_retention_class CHECK (retention_class IN ('sensitive', 'prod', 'test'))
);
CREATE INDEX ix_audit_logs_performed_at ON audit_logs (performed_at DESC, id);
CREATE INDEX ix_audit_logs_performed_by ON audit_logs (performed_by, performed_at DESC);
CREATE INDEX ix_audit_logs_resource ON audit_logs (resource_type, resource_id, performed_at DESC);
CREATE INDEX ix_audit_logs_action ON audit_logs (action, performed_at DESC);
CREATE INDEX ix_audit_logs_ticket_id ON audit_logs (ticket_id);
CREATE TRIGGER trg_audit_logs_append_only BEFORE UPDATE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION reject_change('audit rows are append-only');

CREATE FUNCTION guard_audit_delete() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    obstacle text;
BEGIN
    IF current_user <> 'shepherd_retention' THEN
        obstacle := 'audit rows are append-only';
    ELSIF OLD.retain_until >= now() THEN
        obstacle := 'the row is still within its retention';
    ELSIF EXISTS (
        SELECT FROM audit_legal_holds
        WHERE released_at IS NULL
            AND filter <@ jsonb_build_object(
                'action', OLD.action,
                'resource_type', OLD.resource_type,
                'resource_id', OLD.resource_id,
                'performed_by', OLD.performed_by,
                'environment', OLD.environment,
                'ticket_id', OLD.ticket_id
            )
    ) THEN
        obstacle := 'a legal hold covers the row';
    ELSE
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'SH001',
        MESSAGE = format('DELETE of audit_logs is refused: %s', obstacle),
        SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
END;
$$;
CREATE TRIGGER trg_audit_logs_delete BEFORE DELETE ON audit_logs
    FOR EACH ROW EXECUTE FUNCTION guard_audit_delete();
"#;

const DOWN: &str = r#"
DROP TABLE audit_logs;
DROP FUNCTION guard_audit_delete();
DROP TABLE audit_legal_holds;
DROP TABLE notifications;
"#;
