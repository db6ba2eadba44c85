//! What can be ordered: templates (software) and instance sizes (hardware).

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
CREATE TABLE templates (
    id uuid NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    status text NOT NULL DEFAULT 'draft',
    display_name text,
    description text,
    category text,
    os_family text,
    os_version text,
    spec jsonb NOT NULL,
    quick_fields jsonb NOT NULL DEFAULT '[]',
    advanced_fields jsonb NOT NULL DEFAULT '[]',
    content_sha256 text NOT NULL,
    validated_at timestamptz,
    source text NOT NULL DEFAULT 'api',
    created_by text,
    published_by text,
    published_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_templates PRIMARY KEY (id),
    CONSTRAINT ck_templates_name_length CHECK (char_length(name) BETWEEN 1 AND 63),
    CONSTRAINT ck_templates_name_format CHECK (name ~ '^[a-z]([a-z0-9-]*[a-z0-9])?$' AND position('--' IN name) = 0),
    CONSTRAINT ck_templates_version CHECK (version > 0),
    CONSTRAINT ck_templates_status CHECK (status IN ('draft', 'active', 'deprecated', 'archived')),
    CONSTRAINT ck_templates_spec CHECK (jsonb_typeof(spec) = 'object'),
    CONSTRAINT ck_templates_quick_fields CHECK (jsonb_typeof(quick_fields) = 'array'),
    CONSTRAINT ck_templates_advanced_fields CHECK (jsonb_typeof(advanced_fields) = 'array'),
    CONSTRAINT ck_templates_source CHECK (source IN ('api', 'seed'))
);
-- One index for the rule and for "latest version of a name".
CREATE UNIQUE INDEX uq_templates_name_version ON templates (name, version DESC);
CREATE UNIQUE INDEX uq_templates_active_name ON templates (name) WHERE status = 'active';
CREATE INDEX ix_templates_status ON templates (status);
CREATE TRIGGER trg_templates_touch BEFORE UPDATE ON templates
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_templates_immutable BEFORE UPDATE ON templates
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');

CREATE TABLE instance_sizes (
    id uuid NOT NULL,
    name text NOT NULL,
    display_name text,
    description text,
    cpu_cores integer NOT NULL,
    memory_mb integer NOT NULL,
    disk_gb integer NOT NULL DEFAULT 100,
    min_disk_gb integer NOT NULL DEFAULT 50,
    max_disk_gb integer NOT NULL DEFAULT 500,
    cpu_request integer,
    memory_request_mb integer,
    cpu_overcommit_enabled boolean NOT NULL
        GENERATED ALWAYS AS (cpu_request IS NOT NULL AND cpu_request < cpu_cores) STORED,
    memory_overcommit_enabled boolean NOT NULL
        GENERATED ALWAYS AS (memory_request_mb IS NOT NULL AND memory_request_mb < memory_mb) STORED,
    dedicated_cpu boolean NOT NULL DEFAULT false,
    requires_gpu boolean NOT NULL DEFAULT false,
    requires_sriov boolean NOT NULL DEFAULT false,
    requires_hugepages boolean NOT NULL DEFAULT false,
    hugepages_size text,
    gpu_devices jsonb NOT NULL DEFAULT '[]',
    spec_overrides jsonb NOT NULL DEFAULT '{}',
    capabilities text[] NOT NULL DEFAULT '{}',
    derived_sha256 text NOT NULL,
    sort_order integer NOT NULL DEFAULT 0,
    enabled boolean NOT NULL DEFAULT true,
    validation_status text NOT NULL DEFAULT 'unknown',
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_instance_sizes PRIMARY KEY (id),
    CONSTRAINT uq_instance_sizes_name UNIQUE (name),
    CONSTRAINT ck_instance_sizes_name_length CHECK (char_length(name) BETWEEN 1 AND 63),
    CONSTRAINT ck_instance_sizes_cpu_cores CHECK (cpu_cores > 0),
    CONSTRAINT ck_instance_sizes_memory_mb CHECK (memory_mb > 0),
    CONSTRAINT ck_instance_sizes_disk_range CHECK (
        min_disk_gb > 0 AND min_disk_gb <= disk_gb AND disk_gb <= max_disk_gb
    ),
    CONSTRAINT ck_instance_sizes_cpu_request CHECK (cpu_request > 0 AND cpu_request <= cpu_cores),
    CONSTRAINT ck_instance_sizes_memory_request_mb CHECK (memory_request_mb > 0 AND memory_request_mb <= memory_mb),
    CONSTRAINT ck_instance_sizes_hugepages CHECK (requires_hugepages = (hugepages_size IS NOT NULL)),
    CONSTRAINT ck_instance_sizes_hugepages_size CHECK (hugepages_size IN ('2Mi', '1Gi')),
    CONSTRAINT ck_instance_sizes_gpu_devices CHECK (jsonb_typeof(gpu_devices) = 'array'),
    CONSTRAINT ck_instance_sizes_spec_overrides CHECK (jsonb_typeof(spec_overrides) = 'object'),
    CONSTRAINT ck_instance_sizes_validation_status CHECK (validation_status IN ('valid', 'invalid', 'unknown'))
);
CREATE INDEX ix_instance_sizes_enabled ON instance_sizes (enabled, sort_order, name);
CREATE INDEX ix_instance_sizes_capabilities ON instance_sizes USING gin (capabilities);
CREATE INDEX ix_instance_sizes_cpu_cores ON instance_sizes (cpu_cores, memory_mb);
CREATE INDEX ix_instance_sizes_dedicated_cpu ON instance_sizes (dedicated_cpu);
CREATE TRIGGER trg_instance_sizes_touch BEFORE UPDATE ON instance_sizes
    FOR EACH ROW EXECUTE FUNCTION touch_row('cpu_overcommit_enabled', 'memory_overcommit_enabled');
CREATE TRIGGER trg_instance_sizes_immutable BEFORE UPDATE ON instance_sizes
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');
-- The application derives these columns from spec_overrides and stamps the outcome. A hand-made UPDATE that
-- forgets one of the two would let a size promise hardware it does not ask the cluster for.
CREATE TRIGGER trg_instance_sizes_derived BEFORE UPDATE ON instance_sizes
    FOR EACH ROW WHEN (
        (
            NEW.capabilities, NEW.gpu_devices, NEW.requires_gpu, NEW.requires_sriov,
            NEW.requires_hugepages, NEW.hugepages_size, NEW.dedicated_cpu, NEW.cpu_cores,
            NEW.memory_mb
        ) IS DISTINCT FROM (
            OLD.capabilities, OLD.gpu_devices, OLD.requires_gpu, OLD.requires_sriov,
            OLD.requires_hugepages, OLD.hugepages_size, OLD.dedicated_cpu, OLD.cpu_cores,
            OLD.memory_mb
        )
        AND NEW.spec_overrides = OLD.spec_overrides
        AND NEW.derived_sha256 = OLD.derived_sha256
    )
    EXECUTE FUNCTION reject_change('derived columns changed without spec_overrides or derived_sha256');
"#;

const DOWN: &str = r#"
DROP TABLE instance_sizes;
DROP TABLE templates;
"#;
