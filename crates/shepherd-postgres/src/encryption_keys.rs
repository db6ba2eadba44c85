//! Encryption keys, and every column they seal.
//!
//! Each sealed column has a neighbour with the id of its key, a foreign key to `encryption_keys`: a value can be sealed
//! by a stored key only, and a key that seals anything cannot be removed, whoever has not noticed a rotation yet.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::QueryResult;
use shepherd_ports::RepositoryError;
use shepherd_ports::crypto::{Sealed, SealedPlace, StoredKey};
use shepherd_ports::encryption_keys::{
    EncryptionKeyQueries, EncryptionKeyRecord, EncryptionKeyRepository, SealedValue,
};

use crate::errors::store_error;
use crate::statement::{execute, fetch_all, fetch_one, rows, select_all, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// A sealed column, with its statements.
struct SealedColumn {
    table: &'static str,
    column: &'static str,
    /// Values that another key than `$1` sealed, in rows after `$2`, `$3` of them.
    select: &'static str,
    /// Replaces the value `$2` of the row `$1` by `$3`, sealed by the key `$4`.
    replace: &'static str,
}

macro_rules! sealed_column {
    ($table:literal, $row:literal, $column:literal, $key:literal) => {
        SealedColumn {
            table: $table,
            column: $column,
            select: concat!(
                "SELECT ",
                $row,
                "::text, ",
                $column,
                " FROM ",
                $table,
                " WHERE ",
                $key,
                " <> $1 AND ($2::text IS NULL OR ",
                $row,
                " > $2::text::uuid) ORDER BY ",
                $row,
                " LIMIT $3"
            ),
            replace: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = $3, ",
                $key,
                " = $4 WHERE ",
                $row,
                " = $1::text::uuid AND ",
                $column,
                " = $2"
            ),
        }
    };
}

/// Every sealed column. `USES` below has to name the same.
const SEALED: [SealedColumn; 7] = [
    sealed_column!("clusters", "id", "encrypted_kubeconfig", "encryption_key_id"),
    sealed_column!("audit_webhooks", "id", "secret", "secret_key_id"),
    sealed_column!("audit_webhooks", "id", "headers", "headers_key_id"),
    sealed_column!("external_approval_systems", "id", "webhook_secret", "secret_key_id"),
    sealed_column!("external_approval_systems", "id", "webhook_headers", "headers_key_id"),
    sealed_column!("vm_initial_credentials", "vm_id", "password", "password_key_id"),
    sealed_column!("vm_initial_credentials", "vm_id", "hash", "hash_key_id"),
];

/// One row per sealed value, with the id of its key.
macro_rules! uses {
    () => {
        "SELECT encryption_key_id AS key_id FROM clusters \
         UNION ALL SELECT secret_key_id FROM audit_webhooks \
         UNION ALL SELECT headers_key_id FROM audit_webhooks WHERE headers_key_id IS NOT NULL \
         UNION ALL SELECT secret_key_id FROM external_approval_systems \
         UNION ALL SELECT headers_key_id FROM external_approval_systems WHERE headers_key_id IS NOT NULL \
         UNION ALL SELECT password_key_id FROM vm_initial_credentials WHERE password_key_id IS NOT NULL \
         UNION ALL SELECT hash_key_id FROM vm_initial_credentials WHERE hash_key_id IS NOT NULL"
    };
}

/// Rotations happen one after another: ASCII "shepkeys".
const ROTATION: i64 = 0x7368_6570_6b65_7973;

/// By column, so that no copy is left in a JSON document.
const STORED: &str = "SELECT key_id, state = 'active', sealed_material FROM encryption_keys ORDER BY key_id";

fn stored(found: &[QueryResult]) -> Result<Vec<StoredKey>, RepositoryError> {
    let read = |row: &QueryResult| -> Result<StoredKey, sea_orm::DbErr> {
        Ok(StoredKey {
            key_id: row.try_get_by_index(0)?,
            active: row.try_get_by_index(1)?,
            material: row.try_get_by_index(2)?,
        })
    };
    found.iter().map(|row| read(row).map_err(store_error)).collect()
}

impl PgStore {
    /// Ids of the keys that sealed existing values.
    pub(crate) async fn used_key_ids(&self) -> Result<Vec<String>, RepositoryError> {
        let sql = concat!("SELECT DISTINCT to_jsonb(key_id) AS doc FROM (", uses!(), ") AS uses");
        fetch_all(&self.db, sql, values![]).await
    }
}

#[async_trait]
impl EncryptionKeyRepository for PgUnitOfWork {
    async fn note_root(&mut self, key_id: &str, at: DateTime<Utc>) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO encryption_keys (key_id, source, created_at) \
                   SELECT $1, 'external', $2 WHERE NOT EXISTS (SELECT FROM encryption_keys WHERE state = 'active') \
                   ON CONFLICT DO NOTHING";
        execute(&self.tx, sql, values![key_id, at]).await.map(drop)
    }

    async fn take_turn(&mut self) -> Result<Vec<StoredKey>, RepositoryError> {
        execute(&self.tx, "SELECT pg_advisory_xact_lock($1)", values![ROTATION]).await?;
        stored(&rows(&self.tx, STORED, values![]).await?)
    }

    async fn rotate(&mut self, key: &StoredKey, at: DateTime<Utc>) -> Result<Result<(), String>, RepositoryError> {
        execute(&self.tx, "SELECT pg_advisory_xact_lock($1)", values![ROTATION]).await?;
        let busy = concat!(
            "SELECT to_jsonb(k.key_id) AS doc FROM encryption_keys k \
             WHERE k.state = 'retired' AND k.key_id IN (SELECT key_id FROM (",
            uses!(),
            ") AS uses) ORDER BY k.retired_at LIMIT 1"
        );
        if let Some(id) = fetch_one::<String>(&self.tx, busy, values![]).await? {
            return Ok(Err(id));
        }
        let retire = "UPDATE encryption_keys SET state = 'retired', retired_at = $1 WHERE state = 'active'";
        execute(&self.tx, retire, values![at]).await?;
        let insert = "INSERT INTO encryption_keys (key_id, source, sealed_material, created_at) \
                      VALUES ($1, 'sealed', $2, $3)";
        execute(&self.tx, insert, values![key.key_id, key.material, at]).await?;
        Ok(Ok(()))
    }

    async fn reseal(&mut self, value: &SealedValue, sealed: &Sealed) -> Result<bool, RepositoryError> {
        let place = &value.place;
        let Some(column) = SEALED
            .iter()
            .find(|column| column.table == place.table && column.column == place.column)
        else {
            return Err(RepositoryError::Other("no such sealed column".into()));
        };
        let values = values![place.row, value.bytes, sealed.bytes, sealed.key_id];
        Ok(execute(&self.tx, column.replace, values).await? == 1)
    }

    async fn drop_unused(&mut self, retired_before: DateTime<Utc>) -> Result<Vec<String>, RepositoryError> {
        let sql = concat!(
            "DELETE FROM encryption_keys k WHERE k.state = 'retired' AND k.retired_at < $1 \
             AND k.key_id NOT IN (SELECT key_id FROM (",
            uses!(),
            ") AS uses) RETURNING to_jsonb(k.key_id) AS doc"
        );
        fetch_all(&self.tx, sql, values![retired_before]).await
    }

    async fn rewrap(&mut self, key_id: &str, material: &[u8]) -> Result<(), RepositoryError> {
        let sql = "UPDATE encryption_keys SET sealed_material = $2 WHERE key_id = $1 AND source = 'sealed'";
        execute(&self.tx, sql, values![key_id, material.to_vec()])
            .await
            .map(drop)
    }

    async fn forget_stored_root(&mut self) -> Result<(), RepositoryError> {
        let sql = "DELETE FROM system_secrets WHERE key_name = 'ENCRYPTION_KEY'";
        execute(&self.tx, sql, values![]).await.map(drop)
    }
}

#[async_trait]
impl EncryptionKeyQueries for PgStore {
    async fn list_encryption_keys(&self) -> Result<Vec<EncryptionKeyRecord>, RepositoryError> {
        let sql = concat!(
            "SELECT k.key_id, k.state = 'active' AS active, k.created_at, k.retired_at, \
             count(u.key_id) AS sealed_rows FROM encryption_keys k LEFT JOIN (",
            uses!(),
            ") AS u ON u.key_id = k.key_id \
             GROUP BY k.key_id ORDER BY (k.state = 'active') DESC, k.created_at DESC, k.key_id"
        );
        select_all(&self.db, sql, values![]).await
    }

    async fn stored_keys(&self) -> Result<Vec<StoredKey>, RepositoryError> {
        stored(&rows(&self.db, STORED, values![]).await?)
    }

    async fn sealed_by_others(
        &self,
        active: &str,
        after: Option<&SealedPlace>,
        limit: u32,
    ) -> Result<Vec<SealedValue>, RepositoryError> {
        let first = after.map_or(0, |place| {
            let is_it = |column: &SealedColumn| column.table == place.table && column.column == place.column;
            SEALED.iter().position(is_it).unwrap_or(SEALED.len())
        });
        for (index, column) in SEALED.iter().enumerate().skip(first) {
            let row = after.filter(|_| index == first).map(|place| place.row.as_str());
            let found = rows(&self.db, column.select, values![active, row, i64::from(limit)]).await?;
            if !found.is_empty() {
                return found.iter().map(|row| sealed_value(column, row)).collect();
            }
        }
        Ok(Vec::new())
    }
}

fn sealed_value(column: &SealedColumn, row: &sea_orm::QueryResult) -> Result<SealedValue, RepositoryError> {
    Ok(SealedValue {
        place: SealedPlace {
            table: column.table,
            column: column.column,
            row: row.try_get_by_index(0).map_err(store_error)?,
        },
        bytes: row.try_get_by_index(1).map_err(store_error)?,
    })
}
