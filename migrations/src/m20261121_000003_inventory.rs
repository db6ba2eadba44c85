//! What the platform looks after: namespaces, clusters, systems, services, virtual machines and their revisions.
//!
//! The rule that a namespace keeps its environment while tickets refer to it stands with the tickets, in the
//! governance step.

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
CREATE TABLE namespace_registry (
    id uuid NOT NULL,
    name text NOT NULL,
    environment text NOT NULL,
    description text,
    enabled boolean NOT NULL DEFAULT true,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_namespace_registry PRIMARY KEY (id),
    CONSTRAINT uq_namespace_registry_name UNIQUE (name),
    CONSTRAINT ck_namespace_registry_name_length CHECK (char_length(name) BETWEEN 1 AND 15),
    CONSTRAINT ck_namespace_registry_name_format CHECK (name ~ '^[a-z]([a-z0-9-]*[a-z0-9])?$' AND position('--' IN name) = 0),
    CONSTRAINT ck_namespace_registry_environment CHECK (environment IN ('test', 'prod')),
    CONSTRAINT ck_namespace_registry_description CHECK (char_length(description) <= 512)
);
CREATE INDEX ix_namespace_registry_environment ON namespace_registry (environment);
CREATE INDEX ix_namespace_registry_enabled ON namespace_registry (enabled);
CREATE TRIGGER trg_namespace_registry_touch BEFORE UPDATE ON namespace_registry
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_namespace_registry_immutable BEFORE UPDATE ON namespace_registry
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.name <> OLD.name)
    EXECUTE FUNCTION reject_change('id and name are immutable');

CREATE TABLE clusters (
    id uuid NOT NULL,
    name text NOT NULL,
    display_name text,
    api_server_url text NOT NULL,
    encrypted_kubeconfig bytea NOT NULL,
    encryption_key_id text NOT NULL,
    status text NOT NULL DEFAULT 'UNKNOWN',
    status_reason text,
    last_checked_at timestamptz,
    last_healthy_at timestamptz,
    environment text NOT NULL DEFAULT 'test',
    kubevirt_version text,
    kubernetes_version text,
    enabled_features text[] NOT NULL DEFAULT '{}',
    detected_capabilities jsonb NOT NULL DEFAULT '{}',
    capabilities_detected_at timestamptz,
    storage_classes text[] NOT NULL DEFAULT '{}',
    default_storage_class text,
    storage_classes_updated_at timestamptz,
    scheduling_weight integer NOT NULL DEFAULT 100,
    concurrency_limit integer,
    allow_insecure_tls boolean NOT NULL DEFAULT false,
    enabled boolean NOT NULL DEFAULT true,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_clusters PRIMARY KEY (id),
    CONSTRAINT uq_clusters_name UNIQUE (name),
    CONSTRAINT ck_clusters_name_length CHECK (char_length(name) BETWEEN 1 AND 63),
    CONSTRAINT ck_clusters_status CHECK (status IN ('UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'UNREACHABLE')),
    CONSTRAINT ck_clusters_environment CHECK (environment IN ('test', 'prod')),
    CONSTRAINT ck_clusters_detected_capabilities CHECK (jsonb_typeof(detected_capabilities) = 'object'),
    CONSTRAINT ck_clusters_scheduling_weight CHECK (scheduling_weight BETWEEN 0 AND 1000),
    CONSTRAINT ck_clusters_concurrency_limit CHECK (concurrency_limit > 0)
);
CREATE INDEX ix_clusters_status ON clusters (status);
CREATE INDEX ix_clusters_environment ON clusters (environment, enabled, status);
CREATE TRIGGER trg_clusters_touch BEFORE UPDATE ON clusters
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_clusters_immutable BEFORE UPDATE ON clusters
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.name <> OLD.name)
    EXECUTE FUNCTION reject_change('id and name are immutable');
-- The choice is checked when it is made. It is no CHECK of the table, because detection must be able to record
-- that a class has gone, and the administrator's choice must outlive a storage class that is away for an hour.
CREATE TRIGGER trg_clusters_default_storage_class_insert BEFORE INSERT ON clusters
    FOR EACH ROW WHEN (
        NEW.default_storage_class IS NOT NULL
        AND NOT NEW.default_storage_class = ANY (NEW.storage_classes)
    )
    EXECUTE FUNCTION reject_change('default_storage_class is not one of storage_classes');
CREATE TRIGGER trg_clusters_default_storage_class BEFORE UPDATE ON clusters
    FOR EACH ROW WHEN (
        NEW.default_storage_class IS NOT NULL
        AND NEW.default_storage_class IS DISTINCT FROM OLD.default_storage_class
        AND NOT NEW.default_storage_class = ANY (NEW.storage_classes)
    )
    EXECUTE FUNCTION reject_change('default_storage_class is not one of storage_classes');

CREATE TABLE systems (
    id uuid NOT NULL,
    name text NOT NULL,
    description text,
    documentation text,
    created_by text NOT NULL,
    tenant_id text NOT NULL DEFAULT 'default',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_systems PRIMARY KEY (id),
    CONSTRAINT uq_systems_name UNIQUE (name),
    CONSTRAINT ck_systems_name_length CHECK (char_length(name) BETWEEN 1 AND 15),
    CONSTRAINT ck_systems_name_format CHECK (name ~ '^[a-z]([a-z0-9-]*[a-z0-9])?$' AND position('--' IN name) = 0),
    CONSTRAINT ck_systems_description CHECK (char_length(description) <= 512),
    CONSTRAINT ck_systems_documentation CHECK (char_length(documentation) <= 65536),
    CONSTRAINT ck_systems_tenant_id CHECK (tenant_id = 'default')
);
CREATE TRIGGER trg_systems_touch BEFORE UPDATE ON systems
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_systems_immutable BEFORE UPDATE ON systems
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.name <> OLD.name OR NEW.tenant_id <> OLD.tenant_id)
    EXECUTE FUNCTION reject_change('id, name and tenant_id are immutable');

CREATE TABLE services (
    id uuid NOT NULL,
    system_id uuid NOT NULL,
    name text NOT NULL,
    description text,
    documentation text,
    next_instance_index integer NOT NULL DEFAULT 1,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_services PRIMARY KEY (id),
    CONSTRAINT uq_services_name UNIQUE (system_id, name),
    CONSTRAINT fk_services_system_id FOREIGN KEY (system_id) REFERENCES systems (id) ON DELETE RESTRICT,
    CONSTRAINT ck_services_name_length CHECK (char_length(name) BETWEEN 1 AND 15),
    CONSTRAINT ck_services_name_format CHECK (name ~ '^[a-z]([a-z0-9-]*[a-z0-9])?$' AND position('--' IN name) = 0),
    CONSTRAINT ck_services_description CHECK (char_length(description) <= 512),
    CONSTRAINT ck_services_documentation CHECK (char_length(documentation) <= 65536),
    CONSTRAINT ck_services_next_instance_index CHECK (next_instance_index > 0)
);
CREATE TRIGGER trg_services_touch BEFORE UPDATE ON services
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_services_immutable BEFORE UPDATE ON services
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.name <> OLD.name)
    EXECUTE FUNCTION reject_change('id and name are immutable');
CREATE TRIGGER trg_services_next_instance_index BEFORE UPDATE ON services
    FOR EACH ROW WHEN (NEW.next_instance_index < OLD.next_instance_index)
    EXECUTE FUNCTION reject_change('next_instance_index only grows');

CREATE TABLE vms (
    id uuid NOT NULL,
    service_id uuid NOT NULL,
    name text NOT NULL,
    instance_index integer NOT NULL,
    instance text NOT NULL,
    namespace text NOT NULL,
    cluster_id uuid NOT NULL,
    hostname text NOT NULL,
    status text NOT NULL DEFAULT 'CREATING',
    status_reason text,
    status_message text,
    observed_at timestamptz,
    observed_resource_version text,
    k8s_uid text,
    node_name text,
    ip_address text,
    first_running_at timestamptz,
    restart_required boolean NOT NULL DEFAULT false,
    template_id uuid,
    template_version integer,
    instance_size_id uuid,
    disk_gb integer,
    cpu_cores integer,
    memory_mb integer,
    storage_class text,
    ticket_id uuid,
    created_by text NOT NULL,
    reconcile_mark text,
    marked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_vms PRIMARY KEY (id),
    CONSTRAINT uq_vms_name UNIQUE (namespace, name),
    CONSTRAINT uq_vms_instance_index UNIQUE (service_id, instance_index),
    CONSTRAINT fk_vms_service_id FOREIGN KEY (service_id) REFERENCES services (id) ON DELETE RESTRICT,
    CONSTRAINT fk_vms_namespace FOREIGN KEY (namespace) REFERENCES namespace_registry (name) ON DELETE RESTRICT,
    CONSTRAINT fk_vms_cluster_id FOREIGN KEY (cluster_id) REFERENCES clusters (id) ON DELETE RESTRICT,
    CONSTRAINT ck_vms_name_length CHECK (char_length(name) BETWEEN 1 AND 63),
    CONSTRAINT ck_vms_instance_index CHECK (instance_index > 0),
    CONSTRAINT ck_vms_instance CHECK (
        CASE WHEN instance ~ '^[0-9]{2,18}$' THEN instance::bigint = instance_index ELSE false END
    ),
    CONSTRAINT ck_vms_hostname CHECK (hostname = name),
    CONSTRAINT ck_vms_status CHECK (status IN (
        'CREATING', 'PENDING', 'RUNNING', 'STOPPING', 'STOPPED', 'PAUSED', 'MIGRATING', 'DELETING', 'FAILED', 'UNKNOWN'
    )),
    CONSTRAINT ck_vms_status_reason CHECK (char_length(status_reason) <= 128),
    CONSTRAINT ck_vms_status_message CHECK (char_length(status_message) <= 512),
    CONSTRAINT ck_vms_reconcile_mark CHECK (reconcile_mark IN ('GHOST')),
    CONSTRAINT ck_vms_marked_at CHECK ((reconcile_mark IS NULL) = (marked_at IS NULL))
);
CREATE UNIQUE INDEX uq_vms_ticket_id ON vms (ticket_id) WHERE ticket_id IS NOT NULL;
CREATE INDEX ix_vms_status ON vms (status);
CREATE INDEX ix_vms_cluster_id ON vms (cluster_id);
CREATE INDEX ix_vms_service_id ON vms (service_id, created_at DESC);
CREATE INDEX ix_vms_namespace ON vms (namespace, status);
CREATE INDEX ix_vms_created_at ON vms (created_at DESC, id DESC);
CREATE TRIGGER trg_vms_touch BEFORE UPDATE ON vms
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_vms_immutable BEFORE UPDATE ON vms
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.name <> OLD.name)
    EXECUTE FUNCTION reject_change('id and name are immutable');
CREATE TRIGGER trg_vms_first_running_at BEFORE UPDATE ON vms
    FOR EACH ROW WHEN (OLD.first_running_at IS NOT NULL AND NEW.first_running_at IS DISTINCT FROM OLD.first_running_at)
    EXECUTE FUNCTION reject_change('first_running_at is set once');

-- A cluster that changed sides under its machines would undo every placement decision made so far.
CREATE FUNCTION guard_cluster_environment() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM vms WHERE cluster_id = NEW.id) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'SH001',
            MESSAGE = 'environment of a cluster is immutable while VMs exist on it',
            SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER trg_clusters_environment BEFORE UPDATE ON clusters
    FOR EACH ROW WHEN (NEW.environment <> OLD.environment)
    EXECUTE FUNCTION guard_cluster_environment();

CREATE TABLE vm_revisions (
    id uuid NOT NULL,
    -- No foreign key: the history outlives the machine.
    vm_id uuid NOT NULL,
    vm_name text NOT NULL,
    revision integer NOT NULL,
    spec_snapshot bytea NOT NULL,
    spec_sha256 text NOT NULL,
    change_reason text,
    ticket_id uuid,
    changed_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_vm_revisions PRIMARY KEY (id),
    CONSTRAINT uq_vm_revisions_revision UNIQUE (vm_id, revision),
    CONSTRAINT ck_vm_revisions_revision CHECK (revision > 0)
);
CREATE TRIGGER trg_vm_revisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vm_revisions
    FOR EACH STATEMENT EXECUTE FUNCTION reject_change('revisions are append-only');
"#;

const DOWN: &str = r#"
DROP TABLE vm_revisions;
DROP TABLE vms;
DROP TABLE services;
DROP TABLE systems;
DROP TABLE clusters;
DROP FUNCTION guard_cluster_environment();
DROP TABLE namespace_registry;
"#;
