//! What the boundary to the clusters remembers: how far each watch is, what could be adopted, what the reconciler
//! found, snapshots, clones and migrations; and a hint to all replicas when a cluster or a key changes.
//!
//! The state of a watch has a table of its own, because it changes by itself: the version of a cluster, which is the
//! ETag of the API, tells what people changed.

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
ALTER TABLE clusters
    ADD COLUMN detected_default_storage_class text,
    ADD COLUMN credentials_set_at timestamptz NOT NULL DEFAULT now();
-- What is found on a cluster changes by itself, and so does the seal around its credentials; new credentials are noted by
-- credentials_set_at.
CREATE OR REPLACE TRIGGER trg_clusters_touch BEFORE UPDATE ON clusters
    FOR EACH ROW EXECUTE FUNCTION touch_row(
        'encrypted_kubeconfig', 'encryption_key_id', 'status', 'status_reason', 'last_checked_at', 'last_healthy_at',
        'kubevirt_version', 'kubernetes_version', 'enabled_features', 'detected_capabilities',
        'capabilities_detected_at', 'storage_classes', 'storage_classes_updated_at', 'detected_default_storage_class'
    );

CREATE TABLE cluster_watches (
    cluster_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'STARTING',
    since timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_cluster_watches PRIMARY KEY (cluster_id),
    CONSTRAINT fk_cluster_watches_cluster_id FOREIGN KEY (cluster_id) REFERENCES clusters (id) ON DELETE CASCADE,
    CONSTRAINT ck_cluster_watches_state CHECK (state IN ('STARTING', 'LIVE', 'REBUILDING', 'DEGRADED'))
);
CREATE TRIGGER trg_cluster_watches_touch BEFORE UPDATE ON cluster_watches
    FOR EACH ROW EXECUTE FUNCTION touch_row();
-- What was said about a machine lately, so that a machine that comes and goes is not announced every time.
CREATE INDEX ix_notifications_vm_status ON notifications (resource_id, created_at)
    WHERE type = 'VM_STATUS_CHANGE' AND resource_type = 'vm';

-- When each cluster was last looked through for machines without row, and when somebody last asked for it.
CREATE TABLE adoption_scans (
    cluster_id uuid NOT NULL,
    requested_at timestamptz,
    scanned_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_adoption_scans PRIMARY KEY (cluster_id),
    CONSTRAINT fk_adoption_scans_cluster_id FOREIGN KEY (cluster_id) REFERENCES clusters (id) ON DELETE CASCADE
);

CREATE TABLE pending_adoptions (
    id uuid NOT NULL,
    cluster_id uuid NOT NULL,
    namespace text NOT NULL,
    resource_name text NOT NULL,
    resource_type text NOT NULL DEFAULT 'vm',
    k8s_uid text NOT NULL,
    system text NOT NULL,
    service text NOT NULL,
    instance text NOT NULL,
    resource_spec jsonb NOT NULL,
    labels jsonb NOT NULL,
    status text NOT NULL DEFAULT 'PENDING',
    last_seen_at timestamptz NOT NULL,
    decided_by text,
    decided_at timestamptz,
    vm_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_pending_adoptions PRIMARY KEY (id),
    CONSTRAINT uq_pending_adoptions_object UNIQUE (cluster_id, namespace, resource_name),
    CONSTRAINT fk_pending_adoptions_cluster_id FOREIGN KEY (cluster_id) REFERENCES clusters (id) ON DELETE CASCADE,
    CONSTRAINT ck_pending_adoptions_resource_type CHECK (resource_type = 'vm'),
    CONSTRAINT ck_pending_adoptions_status CHECK (status IN ('PENDING', 'ADOPTED', 'IGNORED', 'EXPIRED')),
    CONSTRAINT ck_pending_adoptions_decided CHECK (
        (status IN ('ADOPTED', 'IGNORED')) = (decided_by IS NOT NULL AND decided_at IS NOT NULL)
    ),
    CONSTRAINT ck_pending_adoptions_vm_id CHECK ((status = 'ADOPTED') = (vm_id IS NOT NULL))
);
CREATE INDEX ix_pending_adoptions_status ON pending_adoptions (status, created_at DESC, id DESC);
CREATE TRIGGER trg_pending_adoptions_touch BEFORE UPDATE ON pending_adoptions
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE reconciler_runs (
    id uuid NOT NULL,
    mode text NOT NULL,
    cluster_id uuid,
    status text NOT NULL DEFAULT 'RUNNING',
    examined integer NOT NULL DEFAULT 0,
    ghosts integer NOT NULL DEFAULT 0,
    orphans integer NOT NULL DEFAULT 0,
    skipped jsonb NOT NULL DEFAULT '[]',
    halted_cluster_ids uuid[] NOT NULL DEFAULT '{}',
    error text,
    started_by text NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    -- Since then somebody works on it.
    claimed_at timestamptz,
    finished_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_reconciler_runs PRIMARY KEY (id),
    CONSTRAINT ck_reconciler_runs_mode CHECK (mode IN ('dry-run', 'mark')),
    CONSTRAINT ck_reconciler_runs_status CHECK (status IN ('RUNNING', 'COMPLETED', 'HALTED', 'FAILED')),
    CONSTRAINT ck_reconciler_runs_counts CHECK (examined >= 0 AND ghosts >= 0 AND orphans >= 0),
    CONSTRAINT ck_reconciler_runs_skipped CHECK (jsonb_typeof(skipped) = 'array'),
    CONSTRAINT ck_reconciler_runs_error CHECK (char_length(error) <= 512),
    CONSTRAINT ck_reconciler_runs_finished_at CHECK ((status = 'RUNNING') = (finished_at IS NULL))
);
CREATE INDEX ix_reconciler_runs_created_at ON reconciler_runs (created_at DESC, id DESC);
CREATE INDEX ix_reconciler_runs_running ON reconciler_runs (heartbeat_at) WHERE status = 'RUNNING';
CREATE TRIGGER trg_reconciler_runs_touch BEFORE UPDATE ON reconciler_runs
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE reconciler_findings (
    id uuid NOT NULL,
    run_id uuid NOT NULL,
    kind text NOT NULL,
    cluster_id uuid NOT NULL,
    namespace text NOT NULL,
    name text NOT NULL,
    vm_id uuid,
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_reconciler_findings PRIMARY KEY (id),
    CONSTRAINT uq_reconciler_findings_object UNIQUE (run_id, kind, cluster_id, namespace, name),
    CONSTRAINT fk_reconciler_findings_run_id FOREIGN KEY (run_id) REFERENCES reconciler_runs (id) ON DELETE CASCADE,
    CONSTRAINT ck_reconciler_findings_kind CHECK (kind IN ('GHOST', 'ORPHAN')),
    CONSTRAINT ck_reconciler_findings_vm_id CHECK ((kind = 'GHOST') = (vm_id IS NOT NULL)),
    CONSTRAINT ck_reconciler_findings_details CHECK (jsonb_typeof(details) = 'object')
);

CREATE TABLE vm_snapshots (
    id uuid NOT NULL,
    vm_id uuid NOT NULL,
    name text NOT NULL,
    ready boolean NOT NULL DEFAULT false,
    k8s_name text NOT NULL,
    k8s_uid text,
    error text,
    ticket_id uuid,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_vm_snapshots PRIMARY KEY (id),
    CONSTRAINT uq_vm_snapshots_name UNIQUE (vm_id, name),
    CONSTRAINT fk_vm_snapshots_vm_id FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE,
    CONSTRAINT ck_vm_snapshots_name_length CHECK (char_length(name) BETWEEN 1 AND 63),
    CONSTRAINT ck_vm_snapshots_k8s_name_length CHECK (char_length(k8s_name) BETWEEN 1 AND 253),
    CONSTRAINT ck_vm_snapshots_error CHECK (char_length(error) <= 512)
);
CREATE TRIGGER trg_vm_snapshots_touch BEFORE UPDATE ON vm_snapshots
    FOR EACH ROW EXECUTE FUNCTION touch_row();

-- The machines may go and the record stays.
CREATE TABLE vm_clones (
    id uuid NOT NULL,
    source_vm_id uuid NOT NULL,
    target_vm_id uuid,
    k8s_name text NOT NULL,
    phase text NOT NULL DEFAULT 'PENDING',
    start_after_clone boolean NOT NULL DEFAULT false,
    error text,
    ticket_id uuid NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_vm_clones PRIMARY KEY (id),
    CONSTRAINT uq_vm_clones_ticket_id UNIQUE (ticket_id),
    CONSTRAINT ck_vm_clones_phase CHECK (phase IN ('PENDING', 'IN_PROGRESS', 'SUCCEEDED', 'FAILED')),
    CONSTRAINT ck_vm_clones_error CHECK (char_length(error) <= 512)
);
CREATE INDEX ix_vm_clones_source_vm_id ON vm_clones (source_vm_id, created_at DESC);
CREATE TRIGGER trg_vm_clones_touch BEFORE UPDATE ON vm_clones
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE vm_migrations (
    id uuid NOT NULL,
    vm_id uuid NOT NULL,
    k8s_name text NOT NULL,
    k8s_uid text,
    phase text NOT NULL DEFAULT 'PENDING',
    source_node text,
    target_node text,
    error text,
    ticket_id uuid NOT NULL,
    cancel_event_id uuid,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_vm_migrations PRIMARY KEY (id),
    CONSTRAINT uq_vm_migrations_ticket_id UNIQUE (ticket_id),
    CONSTRAINT fk_vm_migrations_vm_id FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE,
    CONSTRAINT ck_vm_migrations_phase CHECK (
        phase IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')
    ),
    CONSTRAINT ck_vm_migrations_error CHECK (char_length(error) <= 512)
);
CREATE INDEX ix_vm_migrations_vm_id ON vm_migrations (vm_id, created_at DESC, id DESC);
CREATE TRIGGER trg_vm_migrations_touch BEFORE UPDATE ON vm_migrations
    FOR EACH ROW EXECUTE FUNCTION touch_row();

-- A trigger and not the application, so that no statement can forget it. It is told at commit.
CREATE FUNCTION announce_cluster() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shepherd_changes', 'cluster:' || coalesce(NEW.id, OLD.id));
    RETURN NULL;
END;
$$;
CREATE TRIGGER trg_clusters_announce AFTER INSERT OR DELETE ON clusters
    FOR EACH ROW EXECUTE FUNCTION announce_cluster();
CREATE TRIGGER trg_clusters_announce_update AFTER UPDATE ON clusters
    FOR EACH ROW WHEN (
        (NEW.encrypted_kubeconfig, NEW.enabled, NEW.concurrency_limit, NEW.allow_insecure_tls, NEW.environment)
        IS DISTINCT FROM
        (OLD.encrypted_kubeconfig, OLD.enabled, OLD.concurrency_limit, OLD.allow_insecure_tls, OLD.environment)
    )
    EXECUTE FUNCTION announce_cluster();

CREATE FUNCTION announce_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shepherd_changes', 'keys');
    RETURN NULL;
END;
$$;
CREATE TRIGGER trg_encryption_keys_announce AFTER INSERT OR UPDATE OR DELETE ON encryption_keys
    FOR EACH STATEMENT EXECUTE FUNCTION announce_keys();
"#;

const DOWN: &str = r#"
DROP TRIGGER trg_encryption_keys_announce ON encryption_keys;
DROP FUNCTION announce_keys();
DROP TRIGGER trg_clusters_announce_update ON clusters;
DROP TRIGGER trg_clusters_announce ON clusters;
DROP FUNCTION announce_cluster();
DROP TABLE vm_migrations;
DROP TABLE vm_clones;
DROP TABLE vm_snapshots;
DROP TABLE reconciler_findings;
DROP TABLE reconciler_runs;
DROP TABLE pending_adoptions;
DROP TABLE adoption_scans;
DROP INDEX ix_notifications_vm_status;
DROP TABLE cluster_watches;
CREATE OR REPLACE TRIGGER trg_clusters_touch BEFORE UPDATE ON clusters
    FOR EACH ROW EXECUTE FUNCTION touch_row();
ALTER TABLE clusters DROP COLUMN credentials_set_at, DROP COLUMN detected_default_storage_class;
"#;
