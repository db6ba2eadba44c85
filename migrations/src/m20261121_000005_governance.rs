//! How a wish becomes a deed: events, tickets and their transitions, and the tables that make commands safe to
//! repeat.
//!
//! `approval_tickets.policy_id` and `external_system_id` get their foreign keys with the tables they point to.

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
CREATE TABLE domain_events (
    id uuid NOT NULL,
    event_type text NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    payload jsonb NOT NULL,
    status text NOT NULL,
    causation_id uuid,
    environment text,
    error_code text,
    error_params jsonb,
    trace_id text,
    created_by text NOT NULL,
    processed_at timestamptz,
    archived_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_domain_events PRIMARY KEY (id),
    CONSTRAINT ck_domain_events_event_type CHECK (event_type ~ (
        '^(VM_(CREATION|MODIFY|DELETION|START|STOP|RESTART)_(REQUESTED|COMPLETED|FAILED)'
        '|VM_(SNAPSHOT|SNAPSHOT_DELETE|RESTORE|CLONE|MIGRATION|MIGRATION_CANCEL)_(REQUESTED|COMPLETED|FAILED)'
        '|BATCH_(CREATE|DELETE|POWER)_(REQUESTED|COMPLETED|FAILED)|REQUEST_CANCELLED'
        '|VNC_ACCESS_(REQUESTED|GRANTED|DENIED)|VNC_TOKEN_REVOKED'
        '|(SYSTEM|SERVICE)_(CREATED|DELETED)|NAMESPACE_CREATED|VM_ADOPTED'
        '|CLUSTER_KUBEVIRT_VERSION_CHANGED|NOTIFICATION_SENT)$'
    )),
    CONSTRAINT ck_domain_events_aggregate_type CHECK (
        aggregate_type IN ('vm', 'service', 'system', 'batch', 'namespace', 'cluster', 'notification')
    ),
    CONSTRAINT ck_domain_events_status CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    CONSTRAINT ck_domain_events_environment CHECK (environment IN ('test', 'prod'))
);
CREATE INDEX ix_domain_events_aggregate ON domain_events (aggregate_type, aggregate_id, created_at DESC);
CREATE INDEX ix_domain_events_event_type ON domain_events (event_type);
CREATE INDEX ix_domain_events_status ON domain_events (status);
CREATE INDEX ix_domain_events_created_by ON domain_events (created_by, created_at DESC);
CREATE INDEX ix_domain_events_archived_at ON domain_events (archived_at);
CREATE TRIGGER trg_domain_events_touch BEFORE UPDATE ON domain_events
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_domain_events_immutable BEFORE UPDATE ON domain_events
    FOR EACH ROW WHEN (
        (NEW.id, NEW.event_type, NEW.aggregate_type, NEW.aggregate_id, NEW.payload, NEW.causation_id,
         NEW.environment, NEW.created_by, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.event_type, OLD.aggregate_type, OLD.aggregate_id, OLD.payload, OLD.causation_id,
         OLD.environment, OLD.created_by, OLD.created_at)
    )
    EXECUTE FUNCTION reject_change('what an event says is immutable');
CREATE TRIGGER trg_domain_events_append_only BEFORE DELETE OR TRUNCATE ON domain_events
    FOR EACH STATEMENT EXECUTE FUNCTION reject_change('events are append-only');

CREATE SEQUENCE ticket_number_seq AS bigint;
-- At least six digits; to_char would print ###### after the millionth ticket, lpad would cut it short.
CREATE FUNCTION next_ticket_number() RETURNS text LANGUAGE sql VOLATILE SET search_path FROM CURRENT AS $$
    SELECT 'TKT-' || lpad(n, greatest(6, char_length(n)), '0')
    FROM (SELECT nextval('ticket_number_seq')::text AS n) AS next;
$$;

CREATE TABLE approval_tickets (
    id uuid NOT NULL,
    number text NOT NULL DEFAULT next_ticket_number(),
    event_id uuid NOT NULL,
    request_type text NOT NULL,
    operation_group text NOT NULL GENERATED ALWAYS AS (
        CASE request_type
            WHEN 'CREATE_VM' THEN 'CREATE'
            WHEN 'CLONE_VM' THEN 'CREATE'
            WHEN 'MODIFY_VM' THEN 'MODIFY'
            WHEN 'DELETE_VM' THEN 'DELETE'
            WHEN 'START_VM' THEN 'POWER'
            WHEN 'STOP_VM' THEN 'POWER'
            WHEN 'RESTART_VM' THEN 'POWER'
            WHEN 'VNC_ACCESS' THEN 'VNC'
            WHEN 'BATCH_CREATE' THEN 'BATCH'
            WHEN 'BATCH_DELETE' THEN 'BATCH'
            WHEN 'BATCH_POWER' THEN 'BATCH'
            WHEN 'SNAPSHOT_VM' THEN 'SNAPSHOT'
            WHEN 'DELETE_SNAPSHOT' THEN 'SNAPSHOT'
            WHEN 'RESTORE_VM' THEN 'SNAPSHOT'
            WHEN 'MIGRATE_VM' THEN 'MIGRATE'
            -- Never stored: an unknown type is left to its own CHECK instead of failing here as a NULL.
            ELSE request_type
        END
    ) STORED,
    status text NOT NULL,
    environment text NOT NULL,
    requester_id text NOT NULL,
    reason text,
    system_id uuid,
    service_id uuid,
    vm_id uuid,
    template_id uuid,
    instance_size_id uuid,
    namespace text,
    context_snapshot jsonb NOT NULL,
    approver_id text,
    decided_at timestamptz,
    decided_by_kind text,
    decision_comment text,
    reject_reason text,
    selected_cluster_id uuid,
    selected_template_version integer,
    selected_storage_class text,
    template_snapshot jsonb,
    instance_size_snapshot jsonb,
    modified_spec jsonb,
    modification_reason text,
    modified_by text,
    modified_at timestamptz,
    policy_id uuid,
    external_system_id uuid,
    parent_ticket_id uuid,
    sequence_no integer,
    attempt_count integer NOT NULL DEFAULT 0,
    retry_count integer NOT NULL DEFAULT 0,
    last_attempt_at timestamptz,
    next_attempt_at timestamptz,
    unavailable_since timestamptz,
    power_guard_uid text,
    error_code text,
    error_params jsonb,
    last_error text,
    archived_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_approval_tickets PRIMARY KEY (id),
    CONSTRAINT uq_approval_tickets_number UNIQUE (number),
    CONSTRAINT uq_approval_tickets_event_id UNIQUE (event_id),
    CONSTRAINT fk_approval_tickets_event_id FOREIGN KEY (event_id) REFERENCES domain_events (id) ON DELETE RESTRICT,
    CONSTRAINT fk_approval_tickets_parent_ticket_id
        FOREIGN KEY (parent_ticket_id) REFERENCES approval_tickets (id) ON DELETE RESTRICT,
    CONSTRAINT ck_approval_tickets_number CHECK (number ~ '^TKT-[0-9]{6,}$'),
    CONSTRAINT ck_approval_tickets_request_type CHECK (request_type IN (
        'CREATE_VM', 'MODIFY_VM', 'DELETE_VM', 'START_VM', 'STOP_VM', 'RESTART_VM', 'VNC_ACCESS',
        'BATCH_CREATE', 'BATCH_DELETE', 'BATCH_POWER',
        'SNAPSHOT_VM', 'DELETE_SNAPSHOT', 'RESTORE_VM', 'CLONE_VM', 'MIGRATE_VM'
    )),
    CONSTRAINT ck_approval_tickets_status CHECK (status IN (
        'SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'REJECTED', 'CANCELLED', 'EXECUTING', 'COMPLETED', 'FAILED'
    )),
    CONSTRAINT ck_approval_tickets_environment CHECK (environment IN ('test', 'prod')),
    CONSTRAINT ck_approval_tickets_decided_by_kind CHECK (decided_by_kind IN ('USER', 'POLICY', 'EXTERNAL')),
    CONSTRAINT ck_approval_tickets_reason CHECK (char_length(reason) <= 1024),
    CONSTRAINT ck_approval_tickets_decision_comment CHECK (char_length(decision_comment) <= 1024),
    CONSTRAINT ck_approval_tickets_reject_reason CHECK (char_length(reject_reason) <= 1024),
    CONSTRAINT ck_approval_tickets_last_error CHECK (char_length(last_error) <= 512),
    CONSTRAINT ck_approval_tickets_attempt_count CHECK (attempt_count >= 0),
    CONSTRAINT ck_approval_tickets_retry_count CHECK (retry_count >= 0),
    CONSTRAINT ck_approval_tickets_decided CHECK (
        status NOT IN ('APPROVED', 'EXECUTING', 'COMPLETED', 'FAILED')
        OR (approver_id IS NOT NULL AND decided_at IS NOT NULL)
    ),
    CONSTRAINT ck_approval_tickets_rejected CHECK (status <> 'REJECTED' OR reject_reason IS NOT NULL),
    CONSTRAINT ck_approval_tickets_create_placed CHECK (
        request_type <> 'CREATE_VM'
        OR status NOT IN ('APPROVED', 'EXECUTING', 'COMPLETED')
        OR (
            selected_cluster_id IS NOT NULL
            AND template_snapshot IS NOT NULL
            AND instance_size_snapshot IS NOT NULL
        )
    ),
    CONSTRAINT ck_approval_tickets_modification_reason CHECK (modified_spec IS NULL OR modification_reason IS NOT NULL),
    CONSTRAINT ck_approval_tickets_child CHECK ((parent_ticket_id IS NULL) = (sequence_no IS NULL)),
    -- A NULL would slip past the duplicate guards below, which are unique indexes over these columns.
    CONSTRAINT ck_approval_tickets_target CHECK (
        CASE
            WHEN request_type = 'CREATE_VM' THEN
                service_id IS NOT NULL AND template_id IS NOT NULL
                AND instance_size_id IS NOT NULL AND namespace IS NOT NULL
            WHEN request_type IN ('BATCH_CREATE', 'BATCH_DELETE', 'BATCH_POWER') THEN true
            ELSE vm_id IS NOT NULL
        END
    )
);
CREATE UNIQUE INDEX uq_ticket_pending_create
    ON approval_tickets (requester_id, service_id, template_id, instance_size_id, namespace)
    WHERE request_type = 'CREATE_VM' AND status IN ('SUBMITTED', 'PENDING_APPROVAL') AND parent_ticket_id IS NULL;
CREATE UNIQUE INDEX uq_ticket_active_vm_op
    ON approval_tickets (vm_id, operation_group)
    WHERE operation_group IN ('MODIFY', 'DELETE', 'POWER', 'SNAPSHOT', 'MIGRATE')
        AND status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING');
CREATE UNIQUE INDEX uq_ticket_pending_vnc
    ON approval_tickets (vm_id, requester_id)
    WHERE request_type = 'VNC_ACCESS' AND status = 'PENDING_APPROVAL';
CREATE UNIQUE INDEX uq_ticket_child_seq
    ON approval_tickets (parent_ticket_id, sequence_no)
    WHERE parent_ticket_id IS NOT NULL;
CREATE INDEX ix_approval_tickets_status ON approval_tickets (status, environment, created_at, id);
CREATE INDEX ix_approval_tickets_created_at ON approval_tickets (created_at DESC, id DESC);
CREATE INDEX ix_approval_tickets_requester_id ON approval_tickets (requester_id, created_at DESC, id DESC);
CREATE INDEX ix_approval_tickets_parent_ticket_id ON approval_tickets (parent_ticket_id, status, sequence_no);
CREATE INDEX ix_approval_tickets_vm_id ON approval_tickets (vm_id, created_at DESC);
CREATE INDEX ix_approval_tickets_archived_at ON approval_tickets (archived_at);
CREATE TRIGGER trg_approval_tickets_touch BEFORE UPDATE ON approval_tickets
    FOR EACH ROW EXECUTE FUNCTION touch_row('operation_group');
CREATE TRIGGER trg_approval_tickets_immutable BEFORE UPDATE ON approval_tickets
    FOR EACH ROW WHEN (
        (NEW.id, NEW.number, NEW.event_id, NEW.request_type, NEW.requester_id)
        IS DISTINCT FROM (OLD.id, OLD.number, OLD.event_id, OLD.request_type, OLD.requester_id)
    )
    EXECUTE FUNCTION reject_change('id, number, event_id, request_type and requester_id are immutable');
CREATE TRIGGER trg_approval_tickets_snapshots BEFORE UPDATE ON approval_tickets
    FOR EACH ROW WHEN (
        (OLD.template_snapshot IS NOT NULL AND NEW.template_snapshot IS DISTINCT FROM OLD.template_snapshot)
        OR (
            OLD.instance_size_snapshot IS NOT NULL
            AND NEW.instance_size_snapshot IS DISTINCT FROM OLD.instance_size_snapshot
        )
    )
    EXECUTE FUNCTION reject_change('snapshots are immutable once written');

CREATE TABLE ticket_transitions (
    id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    seq integer NOT NULL,
    from_status text,
    to_status text NOT NULL,
    actor_id text NOT NULL,
    actor_kind text NOT NULL,
    reason text,
    at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_ticket_transitions PRIMARY KEY (id),
    CONSTRAINT uq_ticket_transitions_seq UNIQUE (ticket_id, seq),
    CONSTRAINT fk_ticket_transitions_ticket_id
        FOREIGN KEY (ticket_id) REFERENCES approval_tickets (id) ON DELETE RESTRICT,
    CONSTRAINT ck_ticket_transitions_seq CHECK (seq > 0),
    CONSTRAINT ck_ticket_transitions_first CHECK (
        (seq = 1) = (from_status IS NULL) AND (seq = 1) = (to_status = 'SUBMITTED')
    ),
    CONSTRAINT ck_ticket_transitions_from_status CHECK (from_status IN (
        'SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'REJECTED', 'CANCELLED', 'EXECUTING', 'COMPLETED', 'FAILED'
    )),
    CONSTRAINT ck_ticket_transitions_to_status CHECK (to_status IN (
        'SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'REJECTED', 'CANCELLED', 'EXECUTING', 'COMPLETED', 'FAILED'
    )),
    CONSTRAINT ck_ticket_transitions_actor_kind CHECK (
        actor_kind IN ('USER', 'POLICY', 'EXTERNAL', 'WORKER', 'SYSTEM')
    )
);
CREATE TRIGGER trg_ticket_transitions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ticket_transitions
    FOR EACH STATEMENT EXECUTE FUNCTION reject_change('transitions are append-only');

-- A namespace that changed sides would move its machines, and what was asked for them, to other rules.
CREATE FUNCTION guard_namespace_environment() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM vms WHERE namespace = NEW.name)
        OR EXISTS (
            SELECT FROM approval_tickets
            WHERE namespace = NEW.name AND status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING')
        )
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'SH001',
            MESSAGE = 'environment of a namespace is immutable while VMs or open tickets refer to it',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER trg_namespace_registry_environment BEFORE UPDATE ON namespace_registry
    FOR EACH ROW WHEN (NEW.environment <> OLD.environment)
    EXECUTE FUNCTION guard_namespace_environment();

CREATE TABLE confirmation_failures (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_confirmation_failures PRIMARY KEY (id)
);
CREATE INDEX ix_confirmation_failures_user_id ON confirmation_failures (user_id, at);

CREATE TABLE idempotency_keys (
    user_id uuid NOT NULL,
    key text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    request_hash text NOT NULL,
    state text NOT NULL DEFAULT 'IN_PROGRESS',
    status integer,
    headers jsonb,
    body jsonb,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, key),
    CONSTRAINT ck_idempotency_keys_key CHECK (char_length(key) BETWEEN 1 AND 128),
    CONSTRAINT ck_idempotency_keys_state CHECK (state IN ('IN_PROGRESS', 'DONE')),
    CONSTRAINT ck_idempotency_keys_done CHECK (state <> 'DONE' OR status IS NOT NULL)
);
CREATE INDEX ix_idempotency_keys_expires_at ON idempotency_keys (expires_at);
CREATE TRIGGER trg_idempotency_keys_touch BEFORE UPDATE ON idempotency_keys
    FOR EACH ROW EXECUTE FUNCTION touch_row();
"#;

const DOWN: &str = r#"
DROP TABLE idempotency_keys;
DROP TABLE confirmation_failures;
DROP TRIGGER trg_namespace_registry_environment ON namespace_registry;
DROP FUNCTION guard_namespace_environment();
DROP TABLE ticket_transitions;
DROP TABLE approval_tickets;
DROP FUNCTION next_ticket_number();
DROP SEQUENCE ticket_number_seq;
DROP TABLE domain_events;
"#;
