//! Users, sessions, roles and bindings.

use std::net::IpAddr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::access::{PermissionSet, ResourceRole, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{AuthProviderId, LoginAttemptId, RoleBindingId, RoleId, SessionId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// A new local user.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct NewUser {
    pub id: UserId,
    pub username: String,
    pub email: Option<String>,
    pub display_name: Option<String>,
    pub password_hash: String,
    pub force_password_change: bool,
    pub enabled: bool,
    pub created_by: ActorId,
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct UserRecord {
    pub id: UserId,
    pub username: String,
    pub email: Option<String>,
    pub display_name: Option<String>,
    pub enabled: bool,
    pub force_password_change: bool,
    pub roles: Vec<String>,
    pub auth_provider_id: Option<AuthProviderId>,
    pub external_id: Option<String>,
    pub last_login_at: Option<DateTime<Utc>>,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

/// What a password check needs.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct Credentials {
    pub id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub password_hash: Option<String>,
    pub enabled: bool,
    pub force_password_change: bool,
}

/// A new session.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct NewSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
}

/// A session, its user and the epoch of all rights, read in one statement.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct SessionState {
    pub user_id: UserId,
    pub username: String,
    pub display_name: Option<String>,
    pub user_enabled: bool,
    pub force_password_change: bool,
    pub expires_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub revoked: bool,
    pub epoch: i64,
}

/// An unexpired binding of an enabled role.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct BindingRecord {
    pub role_name: String,
    pub scope: Scope,
    pub environments: EnvironmentSet,
    pub permissions: PermissionSet,
    pub expires_at: Option<DateTime<Utc>>,
    /// Until when what it gives may be handed on: as long as it lasts, and without end when it was given in an
    /// emergency, whose point is to give others their rights back.
    pub hands_on_until: Option<DateTime<Utc>>,
}

/// Everything a user holds, and when the first of it ends.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// Role bindings.
    pub bindings: Vec<BindingRecord>,
    /// Memberships of Systems.
    pub memberships: Vec<(SystemId, ResourceRole)>,
    /// Those of them that end by themselves, and when.
    pub membership_ends: Vec<(SystemId, DateTime<Utc>)>,
    /// When the first of these expires; what was resolved from them must not be used longer.
    pub valid_until: Option<DateTime<Utc>>,
}

/// A role.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct RoleRecord {
    pub id: RoleId,
    pub key: Option<String>,
    pub name: String,
    pub permissions: PermissionSet,
    pub enabled: bool,
}

/// A new role.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct NewRole {
    pub id: RoleId,
    pub key: Option<String>,
    pub name: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub permissions: Vec<shepherd_domain::access::Permission>,
    pub built_in: bool,
}

/// A new binding.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct NewBinding {
    pub id: RoleBindingId,
    pub user_id: UserId,
    pub role_id: RoleId,
    pub scope: Scope,
    pub environments: EnvironmentSet,
    pub source: &'static str,
    pub expires_at: Option<DateTime<Utc>>,
    pub created_by: ActorId,
}

/// Kind of subject whose failures to prove something are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginSubject<'a> {
    /// Keyed hash of the lower-case user name.
    Username(&'a str),
    /// Network of the client.
    Ip(&'a str),
    /// Network that sends callbacks of external approval systems. They prove a signature, and count apart.
    Callback(&'a str),
}

/// Writes identity.
#[async_trait]
pub trait IdentityRepository: Send {
    /// Inserts a user.
    async fn insert_user(&mut self, user: &NewUser) -> Result<(), RepositoryError>;
    /// Sets the password, clears the forced change, and revokes all other sessions of the user; only if the hash is
    /// still the one that was verified.
    async fn change_password(
        &mut self,
        user: UserId,
        verified_hash: &str,
        new_hash: &str,
        keep: SessionId,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Replaces a hash by one of the same password with current parameters.
    async fn rehash(&mut self, user: UserId, verified_hash: &str, new_hash: &str) -> Result<(), RepositoryError>;
    /// Inserts a session of an enabled user, notes the login, and revokes the oldest sessions beyond `max`, which it
    /// answers; `None` when the user is disabled or gone.
    async fn open_session(&mut self, session: &NewSession, max: u32)
    -> Result<Option<Vec<SessionId>>, RepositoryError>;
    /// Ends a session; `false` when it had ended.
    async fn revoke_session(
        &mut self,
        id: SessionId,
        by: &ActorId,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Whether the hash of an enabled user is still the one that was verified; holds until the transaction ends.
    async fn has_password(&mut self, user: UserId, verified_hash: &str) -> Result<bool, RepositoryError>;
    /// Waits for the turn of a subject and keeps it until the transaction ends. Whoever takes several takes the user
    /// name first, so that nobody waits in a circle.
    async fn lock_logins(&mut self, subject: LoginSubject<'_>) -> Result<(), RepositoryError>;
    /// What [`IdentityQueries::login_failures`] answers; under the lock of the subject it stays true.
    async fn login_failures(
        &mut self,
        subject: LoginSubject<'_>,
        since: DateTime<Utc>,
    ) -> Result<Vec<DateTime<Utc>>, RepositoryError>;
    /// Notes an attempt before its password is looked at. It counts as a failure until it is forgiven.
    async fn reserve_login(
        &mut self,
        id: LoginAttemptId,
        subject: LoginSubject<'_>,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError>;
    /// Turns a reserved attempt into a success.
    async fn forgive_login(&mut self, id: LoginAttemptId) -> Result<(), RepositoryError>;
    /// Inserts a role unless one with its key exists; answers whether it was inserted.
    async fn ensure_role(&mut self, role: &NewRole) -> Result<bool, RepositoryError>;
    /// Inserts a binding.
    async fn insert_binding(&mut self, binding: &NewBinding) -> Result<(), RepositoryError>;
    /// Whether any enabled user holds `platform:admin` globally. Takes the lock of the last administrator, so the
    /// answer stays true until the transaction ends.
    async fn any_platform_admin(&mut self) -> Result<bool, RepositoryError>;
    /// A role by id or key.
    async fn find_role(&mut self, id_or_key: &str) -> Result<Option<RoleRecord>, RepositoryError>;
    /// A user by name, ignoring case.
    async fn find_user(&mut self, username: &str) -> Result<Option<UserId>, RepositoryError>;
    /// Notes a wrong confirmation name.
    async fn record_confirmation_failure(&mut self, user: UserId, at: DateTime<Utc>) -> Result<(), RepositoryError>;
}

/// Reads identity.
#[async_trait]
pub trait IdentityQueries: Send + Sync {
    /// A session with its user and the epoch.
    async fn session_state(&self, id: SessionId) -> Result<Option<SessionState>, RepositoryError>;
    /// Notes that a session is in use.
    async fn touch_session(&self, id: SessionId, at: DateTime<Utc>) -> Result<(), RepositoryError>;
    /// Everything a user holds now.
    async fn holdings(&self, user: UserId, now: DateTime<Utc>) -> Result<Holdings, RepositoryError>;
    /// What a password check needs, by user name ignoring case.
    async fn credentials(&self, username: &str) -> Result<Option<Credentials>, RepositoryError>;
    /// What a password check needs, by id.
    async fn credentials_of(&self, user: UserId) -> Result<Option<Credentials>, RepositoryError>;
    /// A user name as the look-up by name compares it; only the database knows how it folds case.
    async fn folded_username(&self, username: &str) -> Result<String, RepositoryError>;
    /// When attempts failed since a time, the newest first. A success takes back the earlier failures of its user
    /// name, and never those of an address: one valid account would clear it for guessing at others.
    async fn login_failures(
        &self,
        subject: LoginSubject<'_>,
        since: DateTime<Utc>,
    ) -> Result<Vec<DateTime<Utc>>, RepositoryError>;
    /// Wrong confirmation names of a user since a time: how many, and the oldest of them.
    async fn confirmation_failures(
        &self,
        user: UserId,
        since: DateTime<Utc>,
    ) -> Result<(i64, Option<DateTime<Utc>>), RepositoryError>;
    /// One user.
    async fn get_user(&self, id: UserId) -> Result<Option<UserRecord>, RepositoryError>;
    /// Users by name; `q` looks into user name, display name and e-mail.
    async fn list_users(
        &self,
        q: Option<&str>,
        enabled: Option<bool>,
        page: PageRequest,
    ) -> Result<Page<UserRecord>, RepositoryError>;
}
