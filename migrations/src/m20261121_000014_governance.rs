//! Approval policies and external approval systems.

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
CREATE TABLE external_approval_systems (
    id uuid NOT NULL,
    name text NOT NULL,
    system_type text NOT NULL,
    webhook_url text NOT NULL,
    webhook_secret bytea NOT NULL,
    secret_key_id text NOT NULL,
    header_names text[] NOT NULL DEFAULT '{}',
    webhook_headers bytea,
    headers_key_id text,
    status_mapping jsonb NOT NULL DEFAULT '{}',
    timeout_seconds integer NOT NULL DEFAULT 30,
    retry_count integer NOT NULL DEFAULT 3,
    poll_interval_seconds integer NOT NULL DEFAULT 60,
    enabled boolean NOT NULL DEFAULT false,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_external_approval_systems PRIMARY KEY (id),
    CONSTRAINT uq_external_approval_systems_name UNIQUE (name),
    CONSTRAINT fk_external_approval_systems_secret_key_id FOREIGN KEY (secret_key_id)
        REFERENCES encryption_keys (key_id) ON DELETE RESTRICT,
    CONSTRAINT fk_external_approval_systems_headers_key_id FOREIGN KEY (headers_key_id)
        REFERENCES encryption_keys (key_id) ON DELETE RESTRICT,
    CONSTRAINT ck_external_approval_systems_name CHECK (char_length(name) BETWEEN 1 AND 63),
    CONSTRAINT ck_external_approval_systems_system_type CHECK (
        system_type IN ('webhook', 'jira', 'servicenow', 'custom')
    ),
    CONSTRAINT ck_external_approval_systems_headers CHECK (
        (webhook_headers IS NULL) = (headers_key_id IS NULL)
        AND (webhook_headers IS NULL) = (cardinality(header_names) = 0)
    ),
    CONSTRAINT ck_external_approval_systems_status_mapping CHECK (jsonb_typeof(status_mapping) = 'object'),
    CONSTRAINT ck_external_approval_systems_timeout_seconds CHECK (timeout_seconds BETWEEN 1 AND 300),
    CONSTRAINT ck_external_approval_systems_retry_count CHECK (retry_count BETWEEN 0 AND 10),
    CONSTRAINT ck_external_approval_systems_poll_interval_seconds CHECK (poll_interval_seconds BETWEEN 5 AND 86400)
);
CREATE TRIGGER trg_external_approval_systems_touch BEFORE UPDATE ON external_approval_systems
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE external_approval_submissions (
    id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    system_id uuid NOT NULL,
    external_id text,
    state text NOT NULL DEFAULT 'QUEUED',
    -- Failed attempts at what is to be done next: to submit, to ask, or to tell of a cancellation.
    attempts integer NOT NULL DEFAULT 0,
    -- Whether it was ever claimed: then the system may have the ticket, whatever it answered, if it did.
    offered boolean NOT NULL DEFAULT false,
    -- The replacement of the spec that it was last offered with; none when that was what was asked for.
    offered_spec jsonb,
    -- When that is due; nothing is to be done without it.
    next_attempt_at timestamptz DEFAULT now(),
    last_error text,
    -- The consent or refusal as the system gave it, also when no cluster can take the machine yet.
    verdict jsonb,
    decided_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_external_approval_submissions PRIMARY KEY (id),
    CONSTRAINT uq_external_approval_submissions_ticket_id UNIQUE (ticket_id),
    CONSTRAINT fk_external_approval_submissions_ticket_id FOREIGN KEY (ticket_id)
        REFERENCES approval_tickets (id) ON DELETE RESTRICT,
    -- No foreign key to the system: a submission outlives it and falls back.
    CONSTRAINT ck_external_approval_submissions_state CHECK (
        state IN ('QUEUED', 'SUBMITTED', 'APPROVED', 'REJECTED', 'FELL_BACK', 'CANCELLED')
    ),
    CONSTRAINT ck_external_approval_submissions_attempts CHECK (attempts >= 0),
    CONSTRAINT ck_external_approval_submissions_last_error CHECK (char_length(last_error) <= 512)
);
CREATE UNIQUE INDEX uq_external_approval_submissions_external_id
    ON external_approval_submissions (system_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX ix_external_approval_submissions_due ON external_approval_submissions (state, next_attempt_at);
CREATE TRIGGER trg_external_approval_submissions_touch BEFORE UPDATE ON external_approval_submissions
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE approval_policies (
    id uuid NOT NULL,
    name text NOT NULL,
    description text,
    operation text NOT NULL,
    environment text NOT NULL,
    matchers jsonb NOT NULL DEFAULT '{}',
    requires_approval boolean NOT NULL DEFAULT true,
    approvers text[] NOT NULL DEFAULT '{}',
    external_system_id uuid,
    priority integer NOT NULL DEFAULT 0,
    enabled boolean NOT NULL DEFAULT true,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_approval_policies PRIMARY KEY (id),
    CONSTRAINT uq_approval_policies_name UNIQUE (name),
    CONSTRAINT fk_approval_policies_external_system_id FOREIGN KEY (external_system_id)
        REFERENCES external_approval_systems (id) ON DELETE RESTRICT,
    CONSTRAINT ck_approval_policies_name CHECK (char_length(name) BETWEEN 1 AND 63),
    CONSTRAINT ck_approval_policies_environment CHECK (environment IN ('test', 'prod', 'all')),
    CONSTRAINT ck_approval_policies_matchers CHECK (jsonb_typeof(matchers) = 'object'),
    -- What no policy can do, whoever writes it.
    CONSTRAINT ck_approval_policies_auto CHECK (requires_approval OR operation NOT IN ('ANY', 'BATCH_DELETE')),
    CONSTRAINT ck_approval_policies_auto_external CHECK (requires_approval OR external_system_id IS NULL)
);
CREATE INDEX ix_approval_policies_operation ON approval_policies (operation, enabled, priority DESC);
CREATE TRIGGER trg_approval_policies_touch BEFORE UPDATE ON approval_policies
    FOR EACH ROW EXECUTE FUNCTION touch_row();

-- Callbacks that nobody signed are counted as failed logins are.
ALTER TABLE login_attempts
    DROP CONSTRAINT ck_login_attempts_subject_kind,
    ADD CONSTRAINT ck_login_attempts_subject_kind CHECK (subject_kind IN ('username_hash', 'ip', 'callback'));

-- Who may decide, as the policy said at submission: later changes of the policy are for later submissions. Empty:
-- whoever holds approval:approve.
ALTER TABLE approval_tickets ADD COLUMN eligible_approvers text[] NOT NULL DEFAULT '{}';
-- The workbench: its order, and what it is counted and filtered by, for the tickets it can show.
CREATE INDEX ix_approval_tickets_workbench ON approval_tickets (created_at, id)
    INCLUDE (environment, request_type, requester_id, namespace, eligible_approvers, parent_ticket_id)
    WHERE status = 'PENDING_APPROVAL';
"#;

const DOWN: &str = r#"
DELETE FROM login_attempts WHERE subject_kind = 'callback';
ALTER TABLE login_attempts
    DROP CONSTRAINT ck_login_attempts_subject_kind,
    ADD CONSTRAINT ck_login_attempts_subject_kind CHECK (subject_kind IN ('username_hash', 'ip'));
DROP INDEX ix_approval_tickets_workbench;
ALTER TABLE approval_tickets DROP COLUMN eligible_approvers;
DROP TABLE approval_policies;
DROP TABLE external_approval_submissions;
DROP TABLE external_approval_systems;
"#;
