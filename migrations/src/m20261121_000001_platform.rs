//! What every other step stands on: the trigger functions, keys and secrets, leases and heartbeats.
//!
//! The functions live beside the tables and not in a schema of their own: one named after the product would be
//! picked up by `"$user"` in the search path of a database user of the same name, in the middle of a migration.

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
-- Gives mutable rows their version, which is the ETag of the API. An update that changes nothing keeps it; what
-- the statement itself writes to the two columns is ignored. Stored generated columns are not computed yet when
-- this runs, so a table that has some names them as arguments.
CREATE FUNCTION touch_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed boolean;
BEGIN
    NEW.updated_at := OLD.updated_at;
    NEW.row_version := OLD.row_version;
    IF TG_NARGS = 0 THEN
        changed := NEW IS DISTINCT FROM OLD;
    ELSE
        changed := to_jsonb(NEW) - TG_ARGV IS DISTINCT FROM to_jsonb(OLD) - TG_ARGV;
    END IF;
    IF changed THEN
        NEW.updated_at := now();
        NEW.row_version := OLD.row_version + 1;
    END IF;
    RETURN NEW;
END;
$$;

-- Refuses whatever its trigger's WHEN clause lets through. SQLSTATE SH001 is ours alone (PostgreSQL 18 reports
-- ON DELETE RESTRICT as 23001), and the trigger's name travels as the constraint's name, so the application maps
-- it like any other constraint.
CREATE FUNCTION reject_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'SH001',
        MESSAGE = format('%s of %I is refused: %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]),
        SCHEMA = TG_TABLE_SCHEMA,
        TABLE = TG_TABLE_NAME,
        CONSTRAINT = TG_NAME;
END;
$$;

CREATE TABLE system_secrets (
    key_name text NOT NULL,
    key_value text NOT NULL,
    source text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_system_secrets PRIMARY KEY (key_name),
    CONSTRAINT ck_system_secrets_key_name CHECK (key_name IN ('ENCRYPTION_KEY', 'SESSION_SECRET')),
    CONSTRAINT ck_system_secrets_source CHECK (source IN ('db_generated', 'env', 'external'))
);
CREATE TRIGGER trg_system_secrets_touch BEFORE UPDATE ON system_secrets
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE encryption_keys (
    key_id text NOT NULL,
    purpose text NOT NULL DEFAULT 'data',
    state text NOT NULL DEFAULT 'active',
    source text NOT NULL,
    sealed_material bytea,
    retired_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_encryption_keys PRIMARY KEY (key_id),
    CONSTRAINT ck_encryption_keys_purpose CHECK (purpose IN ('data')),
    CONSTRAINT ck_encryption_keys_state CHECK (state IN ('active', 'retired')),
    CONSTRAINT ck_encryption_keys_source CHECK (source IN ('sealed', 'external')),
    CONSTRAINT ck_encryption_keys_material CHECK ((source = 'sealed') = (sealed_material IS NOT NULL)),
    CONSTRAINT ck_encryption_keys_retired_at CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
CREATE TRIGGER trg_encryption_keys_touch BEFORE UPDATE ON encryption_keys
    FOR EACH ROW EXECUTE FUNCTION touch_row();

CREATE TABLE leader_leases (
    name text NOT NULL,
    holder text NOT NULL,
    generation bigint NOT NULL DEFAULT 1,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_leader_leases PRIMARY KEY (name),
    CONSTRAINT ck_leader_leases_generation CHECK (generation > 0)
);
CREATE TRIGGER trg_leader_leases_touch BEFORE UPDATE ON leader_leases
    FOR EACH ROW EXECUTE FUNCTION touch_row();
-- The generation is the fencing token: were it to fall, a holder believed dead could write again.
CREATE TRIGGER trg_leader_leases_generation BEFORE UPDATE ON leader_leases
    FOR EACH ROW WHEN (NEW.generation < OLD.generation)
    EXECUTE FUNCTION reject_change('generation never falls');

CREATE TABLE heartbeats (
    kind text NOT NULL,
    instance text NOT NULL,
    subject text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_heartbeats PRIMARY KEY (kind, instance, subject),
    CONSTRAINT ck_heartbeats_kind CHECK (kind IN ('worker', 'watcher', 'leader'))
);
CREATE TRIGGER trg_heartbeats_touch BEFORE UPDATE ON heartbeats
    FOR EACH ROW EXECUTE FUNCTION touch_row();
"#;

const DOWN: &str = r#"
DROP TABLE heartbeats;
DROP TABLE leader_leases;
DROP TABLE encryption_keys;
DROP TABLE system_secrets;
DROP FUNCTION reject_change();
DROP FUNCTION touch_row();
"#;
