//! Users: what administrators change, and search.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::UserId;
use shepherd_ports::RepositoryError;
use shepherd_ports::identity::Holdings;
use shepherd_ports::users::{AccountChange, AccountRecord, FoundUser, UserQueries, UserRepository};

use crate::identity::queries;
use crate::statement::{execute, select_all, select_one, values};
use crate::store::PgStore;
use crate::systems::patched;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! account_rows {
    () => {
        "SELECT u.id, u.username, u.email, u.display_name, u.password_hash, p.name AS auth_provider, u.enabled, \
         u.force_password_change, u.row_version \
         FROM users u LEFT JOIN auth_providers p ON p.id = u.auth_provider_id WHERE u.id = $1"
    };
}

const UPDATE: &str = "UPDATE users SET email = CASE WHEN $3 THEN $4 ELSE email END, \
         display_name = CASE WHEN $5 THEN $6 ELSE display_name END, \
         enabled = COALESCE($7, enabled), \
         force_password_change = COALESCE($8, force_password_change), \
         password_hash = COALESCE($9, password_hash), \
         password_changed_at = CASE WHEN $9::text IS NULL THEN password_changed_at ELSE $10 END \
     WHERE id = $1 AND row_version = $2";

/// A text of the caller is looked for as it is: it is no pattern, so nothing in it stands for anything else.
const SEARCH: &str = "SELECT u.id, u.username, u.display_name FROM users u \
     WHERE u.enabled AND (strpos(lower(u.username), lower($1)) > 0 OR strpos(lower(u.display_name), lower($1)) > 0) \
     ORDER BY NOT starts_with(lower(u.username), lower($1)), lower(u.username) LIMIT $2";

#[async_trait]
impl UserRepository for PgUnitOfWork {
    async fn lock(&mut self, id: UserId) -> Result<Option<AccountRecord>, RepositoryError> {
        select_one(&self.tx, concat!(account_rows!(), " FOR UPDATE OF u"), values![id]).await
    }

    async fn holdings(&mut self, id: UserId, now: DateTime<Utc>) -> Result<Holdings, RepositoryError> {
        queries::holdings(&self.tx, id, now).await
    }

    async fn update(
        &mut self,
        id: UserId,
        version: i64,
        change: &AccountChange,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let (set_email, email) = patched(&change.email);
        let (set_display_name, display_name) = patched(&change.display_name);
        let values = values![
            id,
            version,
            set_email,
            email,
            set_display_name,
            display_name,
            change.enabled,
            change.force_password_change,
            change.password_hash,
            at,
        ];
        Ok(execute(&self.tx, UPDATE, values).await? > 0)
    }

    async fn delete(&mut self, id: UserId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM users WHERE id = $1", values![id]).await? > 0)
    }
}

#[async_trait]
impl UserQueries for PgStore {
    async fn get_account(&self, id: UserId) -> Result<Option<AccountRecord>, RepositoryError> {
        select_one(&self.db, account_rows!(), values![id]).await
    }

    async fn search_users(&self, text: &str, limit: i64) -> Result<Vec<FoundUser>, RepositoryError> {
        select_all(&self.db, SEARCH, values![text, limit]).await
    }
}
