//! Who may come in and what they may do: roles, identity providers, users, sessions, bindings and the epoch that
//! tells every replica when a cached permission set is out of date.
//!
//! `role_bindings.mapping_id` gets its foreign key with the table of identity-provider group mappings.

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
CREATE TABLE roles (
    id uuid NOT NULL,
    key text,
    name text NOT NULL,
    display_name text,
    description text,
    permissions text[] NOT NULL,
    built_in boolean NOT NULL DEFAULT false,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_roles PRIMARY KEY (id),
    CONSTRAINT uq_roles_key UNIQUE (key),
    CONSTRAINT uq_roles_name UNIQUE (name),
    -- One pattern over the joined keys refuses wildcards and malformed keys alike; the catalogue is the application's.
    CONSTRAINT ck_roles_permissions CHECK (
        array_position(permissions, NULL) IS NULL
        AND array_to_string(permissions, ',') ~ '^([a-z][a-z0-9_]*:[a-z][a-z0-9_]*(,|$))*$'
    )
);
CREATE TRIGGER trg_roles_touch BEFORE UPDATE ON roles
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_roles_immutable BEFORE UPDATE ON roles
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.built_in <> OLD.built_in)
    EXECUTE FUNCTION reject_change('id and built_in are immutable');

CREATE TABLE auth_providers (
    id uuid NOT NULL,
    name text NOT NULL,
    auth_type text NOT NULL,
    config jsonb NOT NULL,
    secrets bytea NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    sort_order integer NOT NULL DEFAULT 0,
    default_role_id uuid NOT NULL,
    default_allowed_environments text[] NOT NULL DEFAULT '{test}',
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_auth_providers PRIMARY KEY (id),
    CONSTRAINT uq_auth_providers_name UNIQUE (name),
    CONSTRAINT fk_auth_providers_default_role_id FOREIGN KEY (default_role_id) REFERENCES roles (id) ON DELETE RESTRICT,
    CONSTRAINT ck_auth_providers_auth_type CHECK (auth_type <> '' AND auth_type = lower(auth_type)),
    CONSTRAINT ck_auth_providers_config CHECK (jsonb_typeof(config) = 'object'),
    CONSTRAINT ck_auth_providers_default_allowed_environments CHECK (
        cardinality(default_allowed_environments) > 0
        AND default_allowed_environments <@ ARRAY['test', 'prod']
    )
);
CREATE TRIGGER trg_auth_providers_touch BEFORE UPDATE ON auth_providers
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_auth_providers_immutable BEFORE UPDATE ON auth_providers
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.auth_type <> OLD.auth_type)
    EXECUTE FUNCTION reject_change('id and auth_type are immutable');

CREATE TABLE users (
    id uuid NOT NULL,
    username text NOT NULL,
    email text,
    display_name text,
    password_hash text,
    password_changed_at timestamptz,
    force_password_change boolean NOT NULL DEFAULT false,
    auth_provider_id uuid,
    external_id text,
    enabled boolean NOT NULL DEFAULT true,
    last_login_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT fk_users_auth_provider_id FOREIGN KEY (auth_provider_id) REFERENCES auth_providers (id) ON DELETE RESTRICT,
    CONSTRAINT ck_users_username CHECK (char_length(username) BETWEEN 1 AND 255),
    CONSTRAINT ck_users_email CHECK (char_length(email) <= 255),
    CONSTRAINT ck_users_password_is_local CHECK (auth_provider_id IS NULL OR password_hash IS NULL),
    CONSTRAINT ck_users_external_id CHECK (external_id IS NULL OR auth_provider_id IS NOT NULL)
);
CREATE UNIQUE INDEX uq_users_username ON users (lower(username));
CREATE UNIQUE INDEX uq_users_email ON users (lower(email)) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX uq_users_external_identity ON users (auth_provider_id, external_id) WHERE external_id IS NOT NULL;
CREATE TRIGGER trg_users_touch BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_users_immutable BEFORE UPDATE ON users
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');

CREATE TABLE user_sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    ip text NOT NULL,
    user_agent text NOT NULL DEFAULT '',
    auth_method text NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    revoke_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_user_sessions PRIMARY KEY (id),
    CONSTRAINT fk_user_sessions_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX ix_user_sessions_user_id ON user_sessions (user_id, revoked_at);
CREATE INDEX ix_user_sessions_expires_at ON user_sessions (expires_at);
CREATE TRIGGER trg_user_sessions_touch BEFORE UPDATE ON user_sessions
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_user_sessions_immutable BEFORE UPDATE ON user_sessions
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.user_id <> OLD.user_id)
    EXECUTE FUNCTION reject_change('id and user_id are immutable');

CREATE TABLE login_attempts (
    id uuid NOT NULL,
    subject_kind text NOT NULL,
    subject text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    succeeded boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_login_attempts PRIMARY KEY (id),
    CONSTRAINT ck_login_attempts_subject_kind CHECK (subject_kind IN ('username_hash', 'ip'))
);
CREATE INDEX ix_login_attempts_subject ON login_attempts (subject_kind, subject, at);

CREATE TABLE role_bindings (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    role_id uuid NOT NULL,
    scope_type text NOT NULL DEFAULT 'global',
    scope_id uuid,
    allowed_environments text[] NOT NULL DEFAULT '{test}',
    source text NOT NULL,
    mapping_id uuid,
    expires_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_role_bindings PRIMARY KEY (id),
    CONSTRAINT uq_role_bindings_grant UNIQUE NULLS NOT DISTINCT (user_id, role_id, scope_type, scope_id, source),
    CONSTRAINT fk_role_bindings_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT fk_role_bindings_role_id FOREIGN KEY (role_id) REFERENCES roles (id) ON DELETE RESTRICT,
    CONSTRAINT ck_role_bindings_scope_type CHECK (scope_type IN ('global', 'system')),
    CONSTRAINT ck_role_bindings_scope_id CHECK ((scope_type = 'system') = (scope_id IS NOT NULL)),
    CONSTRAINT ck_role_bindings_allowed_environments CHECK (
        cardinality(allowed_environments) > 0 AND allowed_environments <@ ARRAY['test', 'prod']
    ),
    CONSTRAINT ck_role_bindings_source CHECK (source IN ('manual', 'seed', 'idp_mapping', 'idp_default', 'break_glass'))
);
CREATE INDEX ix_role_bindings_scope ON role_bindings (scope_type, scope_id);
CREATE INDEX ix_role_bindings_role_id ON role_bindings (role_id);
CREATE TRIGGER trg_role_bindings_touch BEFORE UPDATE ON role_bindings
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_role_bindings_immutable BEFORE UPDATE ON role_bindings
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');

CREATE TABLE resource_role_bindings (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    resource_type text NOT NULL,
    resource_id uuid NOT NULL,
    role text NOT NULL DEFAULT 'viewer',
    expires_at timestamptz,
    granted_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_resource_role_bindings PRIMARY KEY (id),
    CONSTRAINT uq_resource_role_bindings_member UNIQUE (user_id, resource_type, resource_id),
    CONSTRAINT fk_resource_role_bindings_user_id FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_resource_role_bindings_resource_type CHECK (resource_type IN ('system', 'service', 'vm')),
    CONSTRAINT ck_resource_role_bindings_role CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
    CONSTRAINT ck_resource_role_bindings_owner_never_expires CHECK (role <> 'owner' OR expires_at IS NULL)
);
CREATE INDEX ix_resource_role_bindings_resource ON resource_role_bindings (resource_type, resource_id, role);
CREATE TRIGGER trg_resource_role_bindings_touch BEFORE UPDATE ON resource_role_bindings
    FOR EACH ROW EXECUTE FUNCTION touch_row();
CREATE TRIGGER trg_resource_role_bindings_immutable BEFORE UPDATE ON resource_role_bindings
    FOR EACH ROW WHEN (NEW.id <> OLD.id)
    EXECUTE FUNCTION reject_change('id is immutable');

CREATE TABLE authz_epoch (
    singleton boolean NOT NULL DEFAULT true,
    epoch bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    row_version bigint NOT NULL DEFAULT 1,
    CONSTRAINT pk_authz_epoch PRIMARY KEY (singleton),
    CONSTRAINT ck_authz_epoch_singleton CHECK (singleton)
);
INSERT INTO authz_epoch DEFAULT VALUES;
CREATE TRIGGER trg_authz_epoch_touch BEFORE UPDATE ON authz_epoch
    FOR EACH ROW EXECUTE FUNCTION touch_row();

-- Statement triggers also fire for statements that touched no row; looking at the transition table keeps the
-- periodic clean-ups from emptying every replica's cache. The search path is pinned because the functions name
-- tables.
CREATE FUNCTION raise_authz_epoch() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        UPDATE authz_epoch SET epoch = epoch + 1;
    END IF;
    RETURN NULL;
END;
$$;

-- Users are written at every login; only a change of `enabled` touches anybody's rights.
CREATE FUNCTION raise_authz_epoch_for_users() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM before JOIN after USING (id) WHERE before.enabled <> after.enabled) THEN
        UPDATE authz_epoch SET epoch = epoch + 1;
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER trg_users_epoch_update AFTER UPDATE ON users
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch_for_users();
CREATE TRIGGER trg_users_epoch_delete AFTER DELETE ON users
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();

CREATE TRIGGER trg_roles_epoch_insert AFTER INSERT ON roles
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();
CREATE TRIGGER trg_roles_epoch_update AFTER UPDATE ON roles
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();
CREATE TRIGGER trg_roles_epoch_delete AFTER DELETE ON roles
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();

CREATE TRIGGER trg_role_bindings_epoch_insert AFTER INSERT ON role_bindings
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();
CREATE TRIGGER trg_role_bindings_epoch_update AFTER UPDATE ON role_bindings
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();
CREATE TRIGGER trg_role_bindings_epoch_delete AFTER DELETE ON role_bindings
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();

CREATE TRIGGER trg_resource_role_bindings_epoch_insert AFTER INSERT ON resource_role_bindings
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();
CREATE TRIGGER trg_resource_role_bindings_epoch_update AFTER UPDATE ON resource_role_bindings
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();
CREATE TRIGGER trg_resource_role_bindings_epoch_delete AFTER DELETE ON resource_role_bindings
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION raise_authz_epoch();
"#;

const DOWN: &str = r#"
DROP TABLE resource_role_bindings;
DROP TABLE role_bindings;
DROP TABLE login_attempts;
DROP TABLE user_sessions;
DROP TABLE users;
DROP TABLE auth_providers;
DROP TABLE roles;
DROP FUNCTION raise_authz_epoch_for_users();
DROP FUNCTION raise_authz_epoch();
DROP TABLE authz_epoch;
"#;
