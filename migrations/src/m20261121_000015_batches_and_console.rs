//! Batches and their limits; console grants, tokens and sessions.

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
CREATE TABLE batch_day_counters (
    day date NOT NULL,
    last integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_batch_day_counters PRIMARY KEY (day),
    CONSTRAINT ck_batch_day_counters_last CHECK (last > 0)
);
-- At least three digits; the row lock orders the submissions of a day.
CREATE FUNCTION next_batch_number(at timestamptz) RETURNS text LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    WITH counted AS (
        INSERT INTO batch_day_counters (day, last) VALUES ((at AT TIME ZONE 'UTC')::date, 1)
        ON CONFLICT (day) DO UPDATE SET last = batch_day_counters.last + 1
        RETURNING day, last::text AS n
    )
    SELECT 'BAT-' || to_char(day, 'YYYYMMDD') || '-' || lpad(n, greatest(3, char_length(n)), '0') FROM counted;
$$;

CREATE TABLE batch_approval_tickets (
    id uuid NOT NULL,
    number text NOT NULL,
    batch_type text NOT NULL,
    power_action text,
    status text NOT NULL DEFAULT 'PENDING_APPROVAL',
    environment text NOT NULL,
    child_count integer NOT NULL,
    success_count integer NOT NULL DEFAULT 0,
    -- Rejected ones included.
    failed_count integer NOT NULL DEFAULT 0,
    pending_count integer NOT NULL,
    rejected_count integer NOT NULL DEFAULT 0,
    cancelled_count integer NOT NULL DEFAULT 0,
    request_id uuid,
    request_hash text NOT NULL,
    reason text,
    created_by text NOT NULL,
    completed_at timestamptz,
    archived_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_batch_approval_tickets PRIMARY KEY (id),
    CONSTRAINT uq_batch_approval_tickets_number UNIQUE (number),
    CONSTRAINT fk_batch_approval_tickets_id FOREIGN KEY (id) REFERENCES approval_tickets (id) ON DELETE RESTRICT,
    CONSTRAINT ck_batch_approval_tickets_number CHECK (number ~ '^BAT-[0-9]{8}-[0-9]{3,}$'),
    CONSTRAINT ck_batch_approval_tickets_batch_type CHECK (batch_type IN ('BATCH_CREATE', 'BATCH_DELETE', 'BATCH_POWER')),
    CONSTRAINT ck_batch_approval_tickets_power_action CHECK (
        (batch_type = 'BATCH_POWER') = (power_action IS NOT NULL) AND power_action IN ('START', 'STOP', 'RESTART')
    ),
    CONSTRAINT ck_batch_approval_tickets_status CHECK (status IN (
        'PENDING_APPROVAL', 'IN_PROGRESS', 'COMPLETED', 'PARTIAL_SUCCESS', 'FAILED', 'CANCELLED'
    )),
    CONSTRAINT ck_batch_approval_tickets_environment CHECK (environment IN ('test', 'prod')),
    CONSTRAINT ck_batch_approval_tickets_reason CHECK (char_length(reason) <= 1024),
    CONSTRAINT ck_batch_approval_tickets_counts CHECK (
        child_count > 0 AND success_count >= 0 AND pending_count >= 0 AND rejected_count >= 0 AND cancelled_count >= 0
        AND failed_count >= rejected_count
        AND success_count + failed_count + pending_count + cancelled_count = child_count
    ),
    CONSTRAINT ck_batch_approval_tickets_completed CHECK (
        (status IN ('PENDING_APPROVAL', 'IN_PROGRESS')) = (completed_at IS NULL)
    )
);
CREATE UNIQUE INDEX uq_batch_request_id ON batch_approval_tickets (created_by, batch_type, request_id)
    WHERE request_id IS NOT NULL;
CREATE INDEX ix_batch_approval_tickets_status ON batch_approval_tickets (status, created_at);
CREATE INDEX ix_batch_approval_tickets_created_by ON batch_approval_tickets (created_by, created_at DESC);
-- What limits count; it stays small, however long the history.
CREATE INDEX ix_batch_approval_tickets_open ON batch_approval_tickets (created_by)
    WHERE status IN ('PENDING_APPROVAL', 'IN_PROGRESS');
CREATE TRIGGER trg_batch_approval_tickets_touch BEFORE UPDATE ON batch_approval_tickets
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE rate_limit_exemptions (
    user_id uuid NOT NULL,
    exempted_by text NOT NULL,
    reason text,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_rate_limit_exemptions PRIMARY KEY (user_id),
    CONSTRAINT fk_rate_limit_exemptions_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_rate_limit_exemptions_reason CHECK (char_length(reason) <= 1024)
);
CREATE TRIGGER trg_rate_limit_exemptions_touch BEFORE UPDATE ON rate_limit_exemptions
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE rate_limit_user_overrides (
    user_id uuid NOT NULL,
    max_pending_parents integer,
    max_pending_children integer,
    cooldown_seconds integer,
    reason text,
    updated_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_rate_limit_user_overrides PRIMARY KEY (user_id),
    CONSTRAINT fk_rate_limit_user_overrides_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_rate_limit_user_overrides_numbers CHECK (
        max_pending_parents > 0 AND max_pending_children > 0 AND cooldown_seconds >= 0
    ),
    CONSTRAINT ck_rate_limit_user_overrides_reason CHECK (char_length(reason) <= 1024)
);
CREATE TRIGGER trg_rate_limit_user_overrides_touch BEFORE UPDATE ON rate_limit_user_overrides
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE rate_limit_counters (
    scope text NOT NULL,
    -- A user id; empty for what is counted globally.
    subject_id text NOT NULL,
    limit_type text NOT NULL,
    window_start timestamptz NOT NULL,
    current_value integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_rate_limit_counters PRIMARY KEY (scope, subject_id, limit_type, window_start),
    CONSTRAINT ck_rate_limit_counters_scope CHECK (scope IN ('global', 'user')),
    CONSTRAINT ck_rate_limit_counters_current_value CHECK (current_value >= 0)
);
CREATE INDEX ix_rate_limit_counters_window_start ON rate_limit_counters (window_start);

CREATE TABLE console_grants (
    id uuid NOT NULL,
    -- Grants outlive machine and user: they are history for thirty days after their end.
    vm_id uuid NOT NULL,
    user_id uuid NOT NULL,
    environment text NOT NULL,
    ticket_id uuid,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_console_grants PRIMARY KEY (id),
    CONSTRAINT fk_console_grants_ticket_id FOREIGN KEY (ticket_id) REFERENCES approval_tickets (id) ON DELETE RESTRICT,
    CONSTRAINT ck_console_grants_environment CHECK (environment IN ('test', 'prod')),
    CONSTRAINT ck_console_grants_ticket CHECK (environment = 'test' OR ticket_id IS NOT NULL),
    -- Eight hours are the most a configuration can give.
    CONSTRAINT ck_console_grants_expires_at CHECK (
        expires_at > granted_at AND expires_at <= granted_at + interval '8 hours'
    ),
    CONSTRAINT ck_console_grants_revoked CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE UNIQUE INDEX uq_console_grants_ticket_id ON console_grants (ticket_id) WHERE ticket_id IS NOT NULL;
CREATE INDEX ix_console_grants_vm_id ON console_grants (vm_id, user_id, expires_at);
CREATE INDEX ix_console_grants_expires_at ON console_grants (expires_at);
CREATE TRIGGER trg_console_grants_touch BEFORE UPDATE ON console_grants
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE vnc_access_tokens (
    token_id uuid NOT NULL,
    grant_id uuid NOT NULL,
    session_id uuid NOT NULL,
    user_id uuid NOT NULL,
    vm_id uuid NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_vnc_access_tokens PRIMARY KEY (token_id),
    CONSTRAINT fk_vnc_access_tokens_grant_id FOREIGN KEY (grant_id) REFERENCES console_grants (id) ON DELETE CASCADE,
    CONSTRAINT ck_vnc_access_tokens_expires_at CHECK (expires_at > issued_at),
    CONSTRAINT ck_vnc_access_tokens_revoked CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE UNIQUE INDEX uq_vnc_access_tokens_unused ON vnc_access_tokens (grant_id)
    WHERE used_at IS NULL AND revoked_at IS NULL;
CREATE INDEX ix_vnc_access_tokens_grant_id ON vnc_access_tokens (grant_id, issued_at);

CREATE TABLE console_sessions (
    id uuid NOT NULL,
    token_id uuid NOT NULL,
    grant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    vm_id uuid NOT NULL,
    -- The replica that relays it.
    replica text NOT NULL,
    started_at timestamptz NOT NULL,
    -- Its replica's last sign of life. A console without one for two minutes is over, whatever else is said of it.
    seen_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text,
    bytes_in bigint NOT NULL DEFAULT 0,
    bytes_out bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_console_sessions PRIMARY KEY (id),
    CONSTRAINT uq_console_sessions_token_id UNIQUE (token_id),
    CONSTRAINT fk_console_sessions_grant_id FOREIGN KEY (grant_id) REFERENCES console_grants (id) ON DELETE CASCADE,
    CONSTRAINT ck_console_sessions_ended CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    CONSTRAINT ck_console_sessions_bytes CHECK (bytes_in >= 0 AND bytes_out >= 0)
);
CREATE INDEX ix_console_sessions_open ON console_sessions (user_id, seen_at) WHERE ended_at IS NULL;
CREATE INDEX ix_console_sessions_grant_id ON console_sessions (grant_id);
"#;

const DOWN: &str = r#"
DROP TABLE console_sessions;
DROP TABLE vnc_access_tokens;
DROP TABLE console_grants;
DROP TABLE rate_limit_counters;
DROP TABLE rate_limit_user_overrides;
DROP TABLE rate_limit_exemptions;
DROP TABLE batch_approval_tickets;
DROP FUNCTION next_batch_number(timestamptz);
DROP TABLE batch_day_counters;
"#;
