//! Schemas of virtual machines and initial passwords.

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
-- When a cluster refused an active version that was published while no cluster could be asked. What clusters say changes
-- by itself and is no change that somebody made.
ALTER TABLE templates ADD COLUMN refused_at timestamptz;
CREATE OR REPLACE TRIGGER trg_templates_touch BEFORE UPDATE ON templates
    FOR EACH ROW EXECUTE FUNCTION touch_row('validated_at', 'refused_at');

-- Immutable per version: whatever was validated against a schema can be validated against the same one again.
CREATE TABLE kubevirt_schemas (
    minor_version text NOT NULL,
    schema jsonb NOT NULL,
    source text NOT NULL,
    sha256 text NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_kubevirt_schemas PRIMARY KEY (minor_version),
    CONSTRAINT ck_kubevirt_schemas_minor_version CHECK (minor_version ~ '^[0-9]+[.][0-9]+$'),
    CONSTRAINT ck_kubevirt_schemas_schema CHECK (jsonb_typeof(schema) = 'object'),
    CONSTRAINT ck_kubevirt_schemas_source CHECK (source IN ('baseline', 'cluster'))
);
CREATE TRIGGER trg_kubevirt_schemas_immutable BEFORE UPDATE ON kubevirt_schemas
    FOR EACH ROW EXECUTE FUNCTION reject_change('schemas are immutable');

-- The password leaves at reveal or expiry, its hash when the machine was created: until then whoever repeats the creation
-- renders the same Secret, whatever was shown in the meantime. The row stays as the record that it was shown.
CREATE TABLE vm_initial_credentials (
    vm_id uuid NOT NULL,
    username text NOT NULL,
    password bytea,
    password_key_id text,
    hash bytea,
    hash_key_id text,
    expires_at timestamptz NOT NULL,
    revealed_at timestamptz,
    revealed_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_vm_initial_credentials PRIMARY KEY (vm_id),
    CONSTRAINT fk_vm_initial_credentials_vm_id FOREIGN KEY (vm_id) REFERENCES vms (id) ON DELETE CASCADE,
    CONSTRAINT fk_vm_initial_credentials_password_key_id FOREIGN KEY (password_key_id)
        REFERENCES encryption_keys (key_id) ON DELETE RESTRICT,
    CONSTRAINT fk_vm_initial_credentials_hash_key_id FOREIGN KEY (hash_key_id)
        REFERENCES encryption_keys (key_id) ON DELETE RESTRICT,
    CONSTRAINT ck_vm_initial_credentials_password CHECK ((password IS NULL) = (password_key_id IS NULL)),
    CONSTRAINT ck_vm_initial_credentials_hash CHECK ((hash IS NULL) = (hash_key_id IS NULL)),
    CONSTRAINT ck_vm_initial_credentials_revealed CHECK (
        (revealed_at IS NULL) = (revealed_by IS NULL) AND (revealed_at IS NULL OR password IS NULL)
    )
);
CREATE INDEX ix_vm_initial_credentials_expires_at ON vm_initial_credentials (expires_at)
    WHERE password IS NOT NULL;

-- What the platform finds out by itself about a size is no change of it: the version is that of people.
CREATE OR REPLACE TRIGGER trg_instance_sizes_touch BEFORE UPDATE ON instance_sizes
    FOR EACH ROW EXECUTE FUNCTION touch_row(
        'cpu_overcommit_enabled', 'memory_overcommit_enabled', 'validation_status'
    );
"#;

const DOWN: &str = r#"
CREATE OR REPLACE TRIGGER trg_instance_sizes_touch BEFORE UPDATE ON instance_sizes
    FOR EACH ROW EXECUTE FUNCTION touch_row('cpu_overcommit_enabled', 'memory_overcommit_enabled');
DROP TABLE vm_initial_credentials;
DROP TABLE kubevirt_schemas;
CREATE OR REPLACE TRIGGER trg_templates_touch BEFORE UPDATE ON templates
    FOR EACH ROW EXECUTE FUNCTION touch_row();
ALTER TABLE templates DROP COLUMN refused_at;
"#;
