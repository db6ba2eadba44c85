//! Reads of identity: what every request asks (session, holdings), logins, and lists of users.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;
use serde::Deserialize;
use shepherd_domain::access::{ResourceRole, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{SessionId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::identity::{
    BindingRecord, Credentials, Holdings, IdentityQueries, LoginSubject, SessionState, UserRecord,
};

use super::{permission_set, subject_columns};
use crate::statement::{Filter, List, execute, fetch_one, select_one, values};
use crate::store::PgStore;

/// The columns of a user that people see; the password hash is none of them.
macro_rules! user_rows {
    () => {
        "SELECT u.id, u.username, u.email, u.display_name, u.enabled, u.force_password_change, \
         ARRAY(SELECT DISTINCT r.name FROM role_bindings b JOIN roles r ON r.id = b.role_id \
             WHERE b.user_id = u.id AND (b.expires_at IS NULL OR b.expires_at > now()) ORDER BY r.name) AS roles, \
         u.auth_provider_id, u.external_id, u.last_login_at, u.row_version, u.created_at FROM users u"
    };
}

macro_rules! credential_rows {
    () => {
        "SELECT u.id, u.username, u.display_name, u.password_hash, u.enabled, u.force_password_change FROM users u"
    };
}

const SESSION_STATE: &str = "SELECT s.user_id, u.username, u.display_name, u.enabled AS user_enabled, \
         u.force_password_change, s.expires_at, s.last_seen_at, s.revoked_at IS NOT NULL AS revoked, \
         (SELECT e.epoch FROM authz_epoch e) AS epoch \
     FROM user_sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1";

const HOLDINGS: &str = "SELECT jsonb_build_object( \
         'bindings', (SELECT COALESCE(jsonb_agg(to_jsonb(b) ORDER BY b.role_name), '[]') FROM ( \
             SELECT r.name AS role_name, b.scope_id, b.allowed_environments AS environments, r.permissions, \
                 b.expires_at, CASE WHEN b.source <> 'break_glass' THEN b.expires_at END AS hands_on_until \
             FROM role_bindings b JOIN roles r ON r.id = b.role_id AND r.enabled \
             WHERE b.user_id = $1 AND (b.expires_at IS NULL OR b.expires_at > $2)) b), \
         'memberships', (SELECT COALESCE(jsonb_agg(to_jsonb(m)), '[]') FROM ( \
             SELECT m.resource_id AS system_id, m.role, m.expires_at FROM resource_role_bindings m \
             WHERE m.user_id = $1 AND m.resource_type = 'system' \
                 AND (m.expires_at IS NULL OR m.expires_at > $2)) m)) AS doc";

const LOGIN_FAILURES: &str = "SELECT COALESCE(jsonb_agg(a.at ORDER BY a.at DESC), '[]') AS doc \
     FROM login_attempts a \
     WHERE a.subject_kind = $1 AND a.subject = $2 AND a.at >= $3 AND NOT a.succeeded \
         AND NOT EXISTS (SELECT FROM login_attempts s \
             WHERE s.subject_kind = 'username_hash' AND s.subject_kind = $1 AND s.subject = $2 AND s.at >= a.at \
                 AND s.succeeded)";

const CONFIRMATION_FAILURES: &str = "SELECT jsonb_build_object('count', count(*), 'at', min(f.at)) AS doc \
     FROM confirmation_failures f WHERE f.user_id = $1 AND f.at >= $2";

#[derive(Deserialize)]
struct HoldingsRow {
    bindings: Vec<BindingRow>,
    memberships: Vec<MembershipRow>,
}

#[derive(Deserialize)]
struct BindingRow {
    role_name: String,
    scope_id: Option<SystemId>,
    environments: EnvironmentSet,
    permissions: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
    hands_on_until: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct MembershipRow {
    system_id: SystemId,
    role: ResourceRole,
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Counted {
    count: i64,
    at: Option<DateTime<Utc>>,
}

impl From<BindingRow> for BindingRecord {
    fn from(row: BindingRow) -> Self {
        Self {
            role_name: row.role_name,
            scope: row.scope_id.map_or(Scope::Global, Scope::System),
            environments: row.environments,
            permissions: permission_set(&row.permissions),
            expires_at: row.expires_at,
            hands_on_until: row.hands_on_until,
        }
    }
}

impl From<HoldingsRow> for Holdings {
    fn from(row: HoldingsRow) -> Self {
        let of_bindings = row.bindings.iter().filter_map(|binding| binding.expires_at);
        let of_memberships = row.memberships.iter().filter_map(|membership| membership.expires_at);
        let valid_until = of_bindings.chain(of_memberships).min();
        let membership_ends = row
            .memberships
            .iter()
            .filter_map(|member| Some((member.system_id, member.expires_at?)))
            .collect();
        Self {
            membership_ends,
            bindings: row.bindings.into_iter().map(BindingRecord::from).collect(),
            memberships: row
                .memberships
                .into_iter()
                .map(|member| (member.system_id, member.role))
                .collect(),
            valid_until,
        }
    }
}

impl Counted {
    fn pair(counted: Option<Self>) -> (i64, Option<DateTime<Utc>>) {
        counted.map_or((0, None), |counted| (counted.count, counted.at))
    }
}

/// Everything a user holds, for a transaction as well.
pub(crate) async fn holdings(
    db: &impl ConnectionTrait,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<Holdings, RepositoryError> {
    let found: Option<HoldingsRow> = fetch_one(db, HOLDINGS, values![user, now]).await?;
    let nothing = HoldingsRow {
        bindings: Vec::new(),
        memberships: Vec::new(),
    };
    Ok(found.unwrap_or(nothing).into())
}

/// When attempts of a subject failed, the newest first; for a transaction as well.
pub(crate) async fn login_failures(
    db: &impl ConnectionTrait,
    subject: LoginSubject<'_>,
    since: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, RepositoryError> {
    let (kind, subject) = subject_columns(subject);
    let failures = fetch_one(db, LOGIN_FAILURES, values![kind, subject, since]).await?;
    Ok(failures.unwrap_or_default())
}

#[async_trait]
impl IdentityQueries for PgStore {
    async fn session_state(&self, id: SessionId) -> Result<Option<SessionState>, RepositoryError> {
        select_one(&self.db, SESSION_STATE, values![id]).await
    }

    async fn touch_session(&self, id: SessionId, at: DateTime<Utc>) -> Result<(), RepositoryError> {
        // Replicas may report out of order; the newest sign of life stands.
        let sql = "UPDATE user_sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2";
        execute(&self.db, sql, values![id, at]).await.map(drop)
    }

    async fn holdings(&self, user: UserId, now: DateTime<Utc>) -> Result<Holdings, RepositoryError> {
        holdings(&self.db, user, now).await
    }

    async fn credentials(&self, username: &str) -> Result<Option<Credentials>, RepositoryError> {
        let sql = concat!(credential_rows!(), " WHERE lower(u.username) = lower($1)");
        select_one(&self.db, sql, values![username]).await
    }

    async fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>, RepositoryError> {
        select_one(&self.db, concat!(credential_rows!(), " WHERE u.id = $1"), values![user]).await
    }

    async fn folded_username(&self, username: &str) -> Result<String, RepositoryError> {
        let folded = fetch_one(&self.db, "SELECT to_jsonb(lower($1)) AS doc", values![username]).await?;
        Ok(folded.unwrap_or_default())
    }

    async fn login_failures(
        &self,
        subject: LoginSubject<'_>,
        since: DateTime<Utc>,
    ) -> Result<Vec<DateTime<Utc>>, RepositoryError> {
        login_failures(&self.db, subject, since).await
    }

    async fn confirmation_failures(
        &self,
        user: UserId,
        since: DateTime<Utc>,
    ) -> Result<(i64, Option<DateTime<Utc>>), RepositoryError> {
        let counted = fetch_one(&self.db, CONFIRMATION_FAILURES, values![user, since]).await?;
        Ok(Counted::pair(counted))
    }

    async fn get_user(&self, id: UserId) -> Result<Option<UserRecord>, RepositoryError> {
        select_one(&self.db, concat!(user_rows!(), " WHERE u.id = $1"), values![id]).await
    }

    async fn list_users(
        &self,
        q: Option<&str>,
        enabled: Option<bool>,
        page: PageRequest,
    ) -> Result<Page<UserRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and_some("u.enabled = ?", enabled);
        if let Some(q) = q {
            let found = "(strpos(lower(u.username), lower(?)) > 0 OR strpos(lower(u.display_name), lower(?)) > 0 \
                         OR strpos(lower(u.email), lower(?)) > 0)";
            filter.and(found, values![q, q, q]);
        }
        let rows = concat!(user_rows!(), " WHERE {where} ORDER BY lower(u.username) {limit}");
        List {
            rows,
            counted: "users u",
            filter,
        }
        .page(&self.db, page)
        .await
    }
}
