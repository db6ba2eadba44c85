//! Users: what administrators change, and search.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ids::UserId;

use crate::error::RepositoryError;
use crate::identity::Holdings;

/// An account as those who administer it need it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct AccountRecord {
    pub id: UserId,
    pub username: String,
    pub email: Option<String>,
    pub display_name: Option<String>,
    pub password_hash: Option<String>,
    /// Name of the provider that knows the password; `None` for a local user.
    pub auth_provider: Option<String>,
    pub enabled: bool,
    pub force_password_change: bool,
    pub row_version: i64,
}

/// What changes of an account; `None` leaves a value, an inner `None` clears it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct AccountChange {
    pub email: Option<Option<String>>,
    pub display_name: Option<Option<String>>,
    pub enabled: Option<bool>,
    pub force_password_change: Option<bool>,
    pub password_hash: Option<String>,
}

/// A user as others find one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct FoundUser {
    pub id: UserId,
    pub username: String,
    pub display_name: Option<String>,
}

/// Writes users.
#[async_trait]
pub trait UserRepository: Send {
    /// Reads an account and locks it: until the transaction ends nobody logs in to it, changes it, or gives it a role
    /// or a membership.
    async fn lock(&mut self, id: UserId) -> Result<Option<AccountRecord>, RepositoryError>;
    /// Everything a user holds now, as this transaction sees it.
    async fn holdings(&mut self, id: UserId, now: DateTime<Utc>) -> Result<Holdings, RepositoryError>;
    /// Changes an account, if it still has this version; `false` otherwise. A new password is dated `at`.
    async fn update(
        &mut self,
        id: UserId,
        version: i64,
        change: &AccountChange,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Deletes a user with all sessions, role bindings, memberships and notifications; `false` when it was gone.
    async fn delete(&mut self, id: UserId) -> Result<bool, RepositoryError>;
}

/// Reads users.
#[async_trait]
pub trait UserQueries: Send + Sync {
    /// One account.
    async fn get_account(&self, id: UserId) -> Result<Option<AccountRecord>, RepositoryError>;
    /// Enabled users with the text in their user name or display name, at most `limit`: those whose user name begins
    /// with it first. E-mail addresses are not looked at, so that nobody can guess them.
    async fn search_users(&self, text: &str, limit: i64) -> Result<Vec<FoundUser>, RepositoryError>;
}
