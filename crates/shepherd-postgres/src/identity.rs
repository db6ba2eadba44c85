//! Users, sessions, roles and bindings: the writes. The reads live in `queries`.

pub(crate) mod queries;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::access::{Permission, PermissionSet, Scope};
use shepherd_domain::ids::{LoginAttemptId, RoleId, SessionId, UserId};
use shepherd_ports::RepositoryError;
use shepherd_ports::identity::{
    IdentityRepository, LoginSubject, NewBinding, NewRole, NewSession, NewUser, RoleRecord,
};

use crate::statement::{Texts, execute, fetch_all, fetch_one, row, select_one, uuid_v7, values};
use crate::unit_of_work::PgUnitOfWork;

/// The lock of the last administrator: ASCII "shepadmn". Nothing else in the database locks it.
const LAST_ADMINISTRATOR: i64 = 0x7368_6570_6164_6d6e;

/// Sets the locks of login subjects apart from other locks by name: ASCII "shlogins".
const LOGIN_LOCKS: i64 = 0x7368_6c6f_6769_6e73;

const REVOKE_OTHERS: &str = "UPDATE user_sessions SET revoked_at = $3, revoked_by = $4, \
         revoke_reason = 'PASSWORD_CHANGED' \
     WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL";

/// Expired sessions do not count; among the others the newest stay.
const REVOKE_BEYOND: &str = "UPDATE user_sessions SET revoked_at = $2, revoked_by = $3, \
         revoke_reason = 'SESSION_LIMIT' \
     WHERE id IN (SELECT id FROM user_sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 \
         ORDER BY issued_at DESC, id DESC OFFSET $4) \
     RETURNING to_jsonb(id) AS doc";

const ANY_PLATFORM_ADMIN: &str = "SELECT to_jsonb(EXISTS (SELECT FROM role_bindings b \
         JOIN roles r ON r.id = b.role_id AND r.enabled \
         JOIN users u ON u.id = b.user_id AND u.enabled \
         WHERE b.scope_type = 'global' AND (b.expires_at IS NULL OR b.expires_at > now()) \
             AND 'platform:admin' = ANY(r.permissions))) AS doc";

/// The permissions behind stored keys. A key that this version does not know grants nothing.
fn permission_set(keys: &[String]) -> PermissionSet {
    let known = keys.iter().filter_map(|key| match key.parse::<Permission>() {
        Ok(permission) => Some(permission),
        Err(_) => {
            tracing::warn!(permission = %key, "a role names a permission that does not exist; it is ignored");
            None
        }
    });
    known.collect()
}

fn subject_columns(subject: LoginSubject<'_>) -> (&'static str, &str) {
    match subject {
        LoginSubject::Username(hash) => ("username_hash", hash),
        LoginSubject::Ip(network) => ("ip", network),
        LoginSubject::Callback(network) => ("callback", network),
    }
}

pub(crate) async fn lock_last_administrator(db: &impl ConnectionTrait) -> Result<(), RepositoryError> {
    execute(db, "SELECT pg_advisory_xact_lock($1)", values![LAST_ADMINISTRATOR])
        .await
        .map(drop)
}

#[derive(Deserialize)]
struct RoleRow {
    id: RoleId,
    key: Option<String>,
    name: String,
    permissions: Vec<String>,
    enabled: bool,
}

#[async_trait]
impl IdentityRepository for PgUnitOfWork {
    async fn insert_user(&mut self, user: &NewUser) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO users (id, username, email, display_name, password_hash, password_changed_at, \
                   force_password_change, enabled, created_by) VALUES ($1, $2, $3, $4, $5, now(), $6, $7, $8)";
        let values = values![
            user.id,
            user.username,
            user.email,
            user.display_name,
            user.password_hash,
            user.force_password_change,
            user.enabled,
            user.created_by,
        ];
        execute(&self.tx, sql, values).await.map(drop)
    }

    async fn change_password(
        &mut self,
        user: UserId,
        verified_hash: &str,
        new_hash: &str,
        keep: SessionId,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE users SET password_hash = $3, password_changed_at = $4, force_password_change = false \
                   WHERE id = $1 AND password_hash = $2";
        if execute(&self.tx, sql, values![user, verified_hash, new_hash, at]).await? == 0 {
            return Ok(false);
        }
        execute(&self.tx, REVOKE_OTHERS, values![user, keep, at, ActorId::user(user)]).await?;
        Ok(true)
    }

    async fn rehash(&mut self, user: UserId, verified_hash: &str, new_hash: &str) -> Result<(), RepositoryError> {
        let sql = "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";
        execute(&self.tx, sql, values![user, verified_hash, new_hash])
            .await
            .map(drop)
    }

    async fn open_session(
        &mut self,
        session: &NewSession,
        max: u32,
    ) -> Result<Option<Vec<SessionId>>, RepositoryError> {
        // Locks the user, so that logins of one user take turns and the limit holds.
        let login = "UPDATE users SET last_login_at = $2 WHERE id = $1 AND enabled";
        if execute(&self.tx, login, values![session.user_id, session.issued_at]).await? == 0 {
            return Ok(None);
        }
        let insert = "INSERT INTO user_sessions (id, user_id, issued_at, last_seen_at, expires_at, ip, user_agent, \
                      auth_method) VALUES ($1, $2, $3, $3, $4, $5, $6, 'local')";
        let NewSession {
            id,
            user_id,
            issued_at,
            expires_at,
            ip,
            user_agent,
        } = session;
        let ip = ip.map(|address| address.to_string()).unwrap_or_default();
        let user_agent = user_agent.as_deref().unwrap_or_default();
        execute(
            &self.tx,
            insert,
            values![id, user_id, issued_at, expires_at, ip, user_agent],
        )
        .await?;
        let values = values![user_id, issued_at, ActorId::system("sessions"), i64::from(max)];
        fetch_all(&self.tx, REVOKE_BEYOND, values).await.map(Some)
    }

    async fn revoke_session(
        &mut self,
        id: SessionId,
        by: &ActorId,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE user_sessions SET revoked_at = $4, revoked_by = $2, revoke_reason = $3 \
                   WHERE id = $1 AND revoked_at IS NULL AND expires_at > $4";
        Ok(execute(&self.tx, sql, values![id, by, reason, at]).await? > 0)
    }

    async fn has_password(&mut self, user: UserId, verified_hash: &str) -> Result<bool, RepositoryError> {
        let sql = "SELECT id FROM users WHERE id = $1 AND enabled AND password_hash = $2 FOR UPDATE";
        Ok(row(&self.tx, sql, values![user, verified_hash]).await?.is_some())
    }

    async fn lock_logins(&mut self, subject: LoginSubject<'_>) -> Result<(), RepositoryError> {
        let (kind, subject) = subject_columns(subject);
        let key = format!("{kind}:{subject}");
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))";
        execute(&self.tx, sql, values![key, LOGIN_LOCKS]).await.map(drop)
    }

    async fn login_failures(
        &mut self,
        subject: LoginSubject<'_>,
        since: DateTime<Utc>,
    ) -> Result<Vec<DateTime<Utc>>, RepositoryError> {
        queries::login_failures(&self.tx, subject, since).await
    }

    async fn reserve_login(
        &mut self,
        id: LoginAttemptId,
        subject: LoginSubject<'_>,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let sql =
            "INSERT INTO login_attempts (id, subject_kind, subject, succeeded, at) VALUES ($1, $2, $3, false, $4)";
        let (kind, subject) = subject_columns(subject);
        execute(&self.tx, sql, values![id, kind, subject, at]).await.map(drop)
    }

    async fn forgive_login(&mut self, id: LoginAttemptId) -> Result<(), RepositoryError> {
        let sql = "UPDATE login_attempts SET succeeded = true WHERE id = $1";
        execute(&self.tx, sql, values![id]).await.map(drop)
    }

    async fn ensure_role(&mut self, role: &NewRole) -> Result<bool, RepositoryError> {
        let sql = "INSERT INTO roles (id, key, name, display_name, description, permissions, built_in) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (key) DO NOTHING";
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
        let values = values![id, key, name, display_name, description, permissions, built_in];
        Ok(execute(&self.tx, sql, values).await? > 0)
    }

    async fn insert_binding(&mut self, binding: &NewBinding) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO role_bindings (id, user_id, role_id, scope_type, scope_id, allowed_environments, \
                   source, expires_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let (scope_type, scope_id) = match binding.scope {
            Scope::Global => ("global", None),
            Scope::System(system) => ("system", Some(system)),
        };
        let values = values![
            binding.id,
            binding.user_id,
            binding.role_id,
            scope_type,
            scope_id,
            Texts::environments(binding.environments),
            binding.source,
            binding.expires_at,
            binding.created_by,
        ];
        execute(&self.tx, sql, values).await.map(drop)
    }

    async fn any_platform_admin(&mut self) -> Result<bool, RepositoryError> {
        lock_last_administrator(&self.tx).await?;
        // A statement of its own: it sees what was committed while the lock was waited for.
        Ok(fetch_one(&self.tx, ANY_PLATFORM_ADMIN, values![])
            .await?
            .unwrap_or_default())
    }

    async fn find_role(&mut self, id_or_key: &str) -> Result<Option<RoleRecord>, RepositoryError> {
        let sql = "SELECT id, key, name, permissions, enabled FROM roles WHERE key = $1 OR id = $2";
        let id = id_or_key.parse::<RoleId>().ok();
        let found: Option<RoleRow> = select_one(&self.tx, sql, values![id_or_key, id]).await?;
        Ok(found.map(
            |RoleRow {
                 id,
                 key,
                 name,
                 permissions,
                 enabled,
             }| RoleRecord {
                id,
                key,
                name,
                permissions: permission_set(&permissions),
                enabled,
            },
        ))
    }

    async fn find_user(&mut self, username: &str) -> Result<Option<UserId>, RepositoryError> {
        let sql = "SELECT to_jsonb(id) AS doc FROM users WHERE lower(username) = lower($1)";
        fetch_one(&self.tx, sql, values![username]).await
    }

    async fn record_confirmation_failure(&mut self, user: UserId, at: DateTime<Utc>) -> Result<(), RepositoryError> {
        let sql = concat!(
            "INSERT INTO confirmation_failures (id, user_id, at) VALUES (",
            uuid_v7!(),
            ", $1, $2)"
        );
        execute(&self.tx, sql, values![user, at]).await.map(drop)
    }
}
