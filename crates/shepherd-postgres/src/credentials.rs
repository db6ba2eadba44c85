//! One-time passwords of guests. They are read by column, so that no copy is left in a JSON document.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{DbErr, QueryResult};
use shepherd_domain::ActorId;
use shepherd_domain::ids::VmId;
use shepherd_ports::RepositoryError;
use shepherd_ports::credentials::{
    CredentialHash, CredentialQueries, CredentialRepository, NewCredential, TakenPassword,
};

use crate::errors::store_error;
use crate::statement::{execute, row, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

const INSERT: &str = "INSERT INTO vm_initial_credentials \
         (vm_id, username, password, password_key_id, hash, hash_key_id, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (vm_id) DO NOTHING";

/// Locking the row looks at it again, so whoever comes second finds no password in it.
const TAKE: &str = "WITH held AS ( \
         SELECT vm_id, username, password FROM vm_initial_credentials \
         WHERE vm_id = $1 AND password IS NOT NULL AND expires_at > $2 FOR UPDATE \
     ) \
     UPDATE vm_initial_credentials c \
         SET password = NULL, password_key_id = NULL, revealed_at = $2, revealed_by = $3 \
     FROM held WHERE c.vm_id = held.vm_id RETURNING held.username, held.password";

const ERASE_EXPIRED: &str = "WITH due AS ( \
         SELECT vm_id FROM vm_initial_credentials WHERE password IS NOT NULL AND expires_at <= $1 \
         ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED \
     ) \
     UPDATE vm_initial_credentials SET password = NULL, password_key_id = NULL \
     WHERE vm_id IN (SELECT vm_id FROM due)";

#[async_trait]
impl CredentialRepository for PgUnitOfWork {
    async fn insert(&mut self, credential: &NewCredential) -> Result<bool, RepositoryError> {
        let values = values![
            credential.vm_id,
            credential.username,
            credential.password.bytes,
            credential.password.key_id,
            credential.hash.bytes,
            credential.hash.key_id,
            credential.expires_at,
        ];
        Ok(execute(&self.tx, INSERT, values).await? == 1)
    }

    async fn take_password(
        &mut self,
        vm: VmId,
        by: &ActorId,
        now: DateTime<Utc>,
    ) -> Result<Option<TakenPassword>, RepositoryError> {
        let found = row(&self.tx, TAKE, values![vm, now, by]).await?;
        found.map(|row| taken(&row).map_err(store_error)).transpose()
    }

    async fn forget_hash(&mut self, vm: VmId) -> Result<(), RepositoryError> {
        let sql = "UPDATE vm_initial_credentials SET hash = NULL, hash_key_id = NULL WHERE vm_id = $1";
        execute(&self.tx, sql, values![vm]).await.map(drop)
    }

    async fn erase_expired(&mut self, now: DateTime<Utc>, limit: u32) -> Result<u64, RepositoryError> {
        execute(&self.tx, ERASE_EXPIRED, values![now, i64::from(limit)]).await
    }
}

#[async_trait]
impl CredentialQueries for PgStore {
    async fn credential_hash(&self, vm: VmId) -> Result<Option<CredentialHash>, RepositoryError> {
        let sql = "SELECT username, hash FROM vm_initial_credentials WHERE vm_id = $1";
        let found = row(&self.db, sql, values![vm]).await?;
        found.map(|row| hash(&row).map_err(store_error)).transpose()
    }
}

fn taken(row: &QueryResult) -> Result<TakenPassword, DbErr> {
    Ok(TakenPassword {
        username: row.try_get_by_index(0)?,
        password: row.try_get_by_index(1)?,
    })
}

fn hash(row: &QueryResult) -> Result<CredentialHash, DbErr> {
    Ok(CredentialHash {
        username: row.try_get_by_index(0)?,
        hash: row.try_get_by_index(1)?,
    })
}
