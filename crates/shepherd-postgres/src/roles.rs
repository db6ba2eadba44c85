//! Roles, their bindings, and the last administrator.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ActorId;
use shepherd_domain::access::{BuiltInRole, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{RoleBindingId, RoleId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::identity::NewRole;
use shepherd_ports::roles::{BindingDetails, BindingFilter, RoleDetails, RolePatch, RoleQueries, RoleRepository};
use shepherd_ports::systems::Changed;

use crate::identity::lock_last_administrator;
use crate::statement::{Filter, List, Texts, Uuids, execute, fetch_all, fetch_one, select_all, select_one, values};
use crate::store::PgStore;
use crate::systems::{change_outcome, patched};
use crate::unit_of_work::PgUnitOfWork;

macro_rules! role_rows {
    () => {
        "SELECT r.id, r.key, r.name, r.display_name, r.description, r.permissions, r.built_in, r.enabled, \
         r.row_version, r.created_at FROM roles r"
    };
}

macro_rules! binding_columns {
    () => {
        "b.id, b.user_id, u.username, b.role_id, r.key AS role_key, r.name AS role_name, r.permissions, b.scope_id, \
         b.allowed_environments, b.source, b.expires_at, b.created_by, b.row_version, b.created_at"
    };
}

macro_rules! binding_rows {
    () => {
        concat!(
            "SELECT ",
            binding_columns!(),
            " FROM role_bindings b JOIN users u ON u.id = b.user_id JOIN roles r ON r.id = b.role_id"
        )
    };
}

/// The documents of bindings that a DELETE with this condition removes.
macro_rules! remove_bindings {
    ($condition:expr) => {
        concat!(
            "WITH b AS (DELETE FROM role_bindings WHERE ",
            $condition,
            " RETURNING *) SELECT to_jsonb(row) AS doc FROM (SELECT ",
            binding_columns!(),
            " FROM b JOIN users u ON u.id = b.user_id JOIN roles r ON r.id = b.role_id) AS row"
        )
    };
}

/// The strict rule of access.md §6: what ends by itself, comes from elsewhere or is for emergencies does not count.
const ADMINISTRATOR_REMAINS: &str = "SELECT to_jsonb(EXISTS (SELECT FROM role_bindings b \
     JOIN roles r ON r.id = b.role_id AND r.enabled AND 'platform:admin' = ANY(r.permissions) \
     JOIN users u ON u.id = b.user_id AND u.enabled \
     LEFT JOIN auth_providers p ON p.id = u.auth_provider_id \
     WHERE b.scope_type = 'global' AND b.allowed_environments @> ARRAY['test', 'prod'] AND b.expires_at IS NULL \
         AND b.source IN ('manual', 'seed') AND (u.password_hash IS NOT NULL OR p.enabled))) AS doc";

const REMOVE_EXPIRED: &str = remove_bindings!(
    "id IN (SELECT x.id FROM role_bindings x JOIN roles y ON y.id = x.role_id \
     WHERE x.expires_at <= $1 AND y.key IS DISTINCT FROM $2 ORDER BY x.id LIMIT $3 FOR UPDATE OF x SKIP LOCKED)"
);

const REMOVE_EXPIRED_EQUAL: &str = remove_bindings!(
    "user_id = $1 AND role_id = $2 AND scope_type = $3 AND scope_id IS NOT DISTINCT FROM $4 AND source = $5 \
     AND expires_at <= $6"
);

const END_BOOTSTRAP: &str = remove_bindings!(
    "role_id IN (SELECT y.id FROM roles y WHERE y.key = $1) AND ($2::uuid IS NULL OR user_id = $2) \
     AND ($3::timestamptz IS NULL OR expires_at <= $3)"
);

const GRANT_BOOTSTRAP: &str = "INSERT INTO role_bindings (id, user_id, role_id, scope_type, allowed_environments, \
         source, expires_at, created_by) \
     SELECT $1, $2, r.id, 'global', $3, 'break_glass', $4, $5 FROM roles r WHERE r.key = $6 \
     ON CONFLICT ON CONSTRAINT uq_role_bindings_grant \
     DO UPDATE SET expires_at = EXCLUDED.expires_at, created_by = EXCLUDED.created_by";

/// Policies name a role by its key, or by its id when it has none; those who approve are kept on the tickets that wait.
const REFERENCES: &str = "SELECT to_jsonb((SELECT count(*) FROM role_bindings b WHERE b.role_id = r.id) \
         + (SELECT count(*) FROM auth_providers a WHERE a.default_role_id = r.id) \
         + (SELECT count(*) FROM approval_policies p WHERE p.approvers && ARRAY[r.key, r.id::text] \
             OR EXISTS (SELECT FROM jsonb_array_elements_text(p.matchers -> 'requester_roles') AS named (key) \
                 WHERE named.key IN (r.key, r.id::text))) \
         + (SELECT count(*) FROM approval_tickets t WHERE t.status = 'PENDING_APPROVAL' \
             AND t.eligible_approvers && ARRAY[r.key, r.id::text])) AS doc \
     FROM roles r WHERE r.id = $1";

fn scope_columns(scope: Scope) -> (&'static str, Option<SystemId>) {
    match scope {
        Scope::Global => ("global", None),
        Scope::System(system) => ("system", Some(system)),
    }
}

#[async_trait]
impl RoleRepository for PgUnitOfWork {
    async fn lock_administrators(&mut self) -> Result<(), RepositoryError> {
        lock_last_administrator(&self.tx).await
    }

    async fn administrator_remains(&mut self) -> Result<bool, RepositoryError> {
        Ok(fetch_one(&self.tx, ADMINISTRATOR_REMAINS, values![])
            .await?
            .unwrap_or_default())
    }

    async fn lock_role(&mut self, id_or_key: &str) -> Result<Option<RoleDetails>, RepositoryError> {
        let sql = concat!(role_rows!(), " WHERE r.key = $1 OR r.id = $2 FOR UPDATE OF r");
        select_one(&self.tx, sql, values![id_or_key, id_or_key.parse::<RoleId>().ok()]).await
    }

    async fn hold_role(&mut self, id_or_key: &str) -> Result<Option<RoleDetails>, RepositoryError> {
        let sql = concat!(role_rows!(), " WHERE r.key = $1 OR r.id = $2 FOR SHARE OF r");
        select_one(&self.tx, sql, values![id_or_key, id_or_key.parse::<RoleId>().ok()]).await
    }

    async fn insert_role(&mut self, role: &NewRole, enabled: bool) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO roles (id, key, name, display_name, description, permissions, built_in, enabled) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let NewRole {
            id,
            key,
            name,
            display_name,
            description,
            permissions,
            built_in,
        } = role;
        let permissions = Texts::permissions(permissions);
        let values = values![id, key, name, display_name, description, permissions, built_in, enabled];
        execute(&self.tx, sql, values).await.map(drop)
    }

    async fn update_role(
        &mut self,
        id: RoleId,
        patch: &RolePatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError> {
        let sql = "UPDATE roles SET display_name = CASE WHEN $3 THEN $4 ELSE display_name END, \
                   description = CASE WHEN $5 THEN $6 ELSE description END, \
                   permissions = COALESCE($7, permissions), enabled = COALESCE($8, enabled) \
                   WHERE id = $1 AND NOT built_in AND ($2::bigint IS NULL OR row_version = $2)";
        let (set_display_name, display_name) = patched(&patch.display_name);
        let (set_description, description) = patched(&patch.description);
        let permissions = patch.permissions.as_deref().map(Texts::permissions);
        let values = values![
            id,
            version,
            set_display_name,
            display_name,
            set_description,
            description,
            permissions,
            patch.enabled
        ];
        let changed = execute(&self.tx, sql, values).await?;
        let version_of = "SELECT to_jsonb(row_version) AS doc FROM roles WHERE id = $1";
        change_outcome(&self.tx, changed, version_of, id).await
    }

    async fn role_references(&mut self, id: RoleId) -> Result<i64, RepositoryError> {
        Ok(fetch_one(&self.tx, REFERENCES, values![id]).await?.unwrap_or_default())
    }

    async fn has_narrow_bindings(&mut self, id: RoleId) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(EXISTS (SELECT FROM role_bindings WHERE role_id = $1 \
                   AND (scope_type <> 'global' OR NOT allowed_environments @> ARRAY['test', 'prod']))) AS doc";
        Ok(fetch_one(&self.tx, sql, values![id]).await?.unwrap_or_default())
    }

    async fn delete_role(&mut self, id: RoleId) -> Result<bool, RepositoryError> {
        let sql = "DELETE FROM roles WHERE id = $1 AND NOT built_in";
        Ok(execute(&self.tx, sql, values![id]).await? > 0)
    }

    async fn hold_system(&mut self, id: SystemId) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(id) AS doc FROM systems WHERE id = $1 FOR KEY SHARE";
        Ok(fetch_one::<SystemId>(&self.tx, sql, values![id]).await?.is_some())
    }

    async fn remove_expired_equal(
        &mut self,
        user: UserId,
        role: RoleId,
        scope: Scope,
        source: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<BindingDetails>, RepositoryError> {
        let (scope_type, scope_id) = scope_columns(scope);
        let values = values![user, role, scope_type, scope_id, source, now];
        fetch_one(&self.tx, REMOVE_EXPIRED_EQUAL, values).await
    }

    async fn lock_binding(
        &mut self,
        user: UserId,
        id: RoleBindingId,
    ) -> Result<Option<BindingDetails>, RepositoryError> {
        let sql = concat!(binding_rows!(), " WHERE b.id = $1 AND b.user_id = $2 FOR UPDATE OF b");
        select_one(&self.tx, sql, values![id, user]).await
    }

    async fn remove_binding(&mut self, id: RoleBindingId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM role_bindings WHERE id = $1", values![id]).await? > 0)
    }

    async fn remove_expired(&mut self, now: DateTime<Utc>, limit: u32) -> Result<Vec<BindingDetails>, RepositoryError> {
        let values = values![now, BuiltInRole::Bootstrap.key(), i64::from(limit)];
        fetch_all(&self.tx, REMOVE_EXPIRED, values).await
    }

    async fn grant_bootstrap(
        &mut self,
        id: RoleBindingId,
        user: UserId,
        until: DateTime<Utc>,
        by: &ActorId,
    ) -> Result<(), RepositoryError> {
        let environments = Texts::environments(EnvironmentSet::ALL);
        let values = values![id, user, environments, until, by, BuiltInRole::Bootstrap.key()];
        execute(&self.tx, GRANT_BOOTSTRAP, values).await.map(drop)
    }

    async fn end_bootstrap(
        &mut self,
        user: Option<UserId>,
        ended_before: Option<DateTime<Utc>>,
    ) -> Result<Vec<BindingDetails>, RepositoryError> {
        let values = values![BuiltInRole::Bootstrap.key(), user, ended_before];
        fetch_all(&self.tx, END_BOOTSTRAP, values).await
    }
}

#[async_trait]
impl RoleQueries for PgStore {
    async fn get_role(&self, id_or_key: &str) -> Result<Option<RoleDetails>, RepositoryError> {
        let sql = concat!(role_rows!(), " WHERE r.key = $1 OR r.id = $2");
        select_one(&self.db, sql, values![id_or_key, id_or_key.parse::<RoleId>().ok()]).await
    }

    async fn list_roles(&self) -> Result<Vec<RoleDetails>, RepositoryError> {
        let sql = concat!(role_rows!(), " ORDER BY r.built_in DESC, r.name LIMIT 1000");
        select_all(&self.db, sql, values![]).await
    }

    async fn list_bindings(
        &self,
        filter: &BindingFilter,
        page: PageRequest,
    ) -> Result<Page<BindingDetails>, RepositoryError> {
        let mut shown = Filter::default();
        if let Some(visible) = &filter.visible {
            shown.and("b.scope_id = ANY(?)", values![Uuids::systems(visible)]);
        }
        shown.and_some("b.user_id = ?", filter.user);
        shown.and_some("b.role_id = ?", filter.role);
        shown.and_some("b.scope_id = ?", filter.scope);
        List {
            rows: concat!(
                binding_rows!(),
                " WHERE {where} ORDER BY b.created_at DESC, b.id DESC {limit}"
            ),
            counted: "role_bindings b",
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }

    async fn equal_binding(
        &self,
        user: UserId,
        role: RoleId,
        scope: Scope,
        source: &str,
    ) -> Result<Option<RoleBindingId>, RepositoryError> {
        let sql = "SELECT to_jsonb(id) AS doc FROM role_bindings WHERE user_id = $1 AND role_id = $2 \
                   AND scope_type = $3 AND scope_id IS NOT DISTINCT FROM $4 AND source = $5";
        let (scope_type, scope_id) = scope_columns(scope);
        fetch_one(&self.db, sql, values![user, role, scope_type, scope_id, source]).await
    }

    async fn has_administrator(&self) -> Result<bool, RepositoryError> {
        Ok(fetch_one(&self.db, ADMINISTRATOR_REMAINS, values![])
            .await?
            .unwrap_or_default())
    }
}
