//! The installation's own secrets.

use async_trait::async_trait;
use shepherd_ports::RepositoryError;
use shepherd_ports::secrets::{SecretName, SecretStore};
use zeroize::Zeroizing;

use crate::errors::store_error;
use crate::statement::{execute, row, values};
use crate::store::PgStore;

/// All replicas of a first start take this lock: ASCII "shepsecr".
const FIRST_START: i64 = 0x7368_6570_7365_6372;

#[async_trait]
impl SecretStore for PgStore {
    async fn load_or_create(
        &self,
        name: SecretName,
        candidate: Zeroizing<String>,
    ) -> Result<Zeroizing<String>, RepositoryError> {
        let work = self.transaction().await?;
        execute(&work.tx, "SELECT pg_advisory_xact_lock($1)", values![FIRST_START]).await?;
        let insert = "INSERT INTO system_secrets (key_name, key_value, source) VALUES ($1, $2, 'db_generated') \
                      ON CONFLICT (key_name) DO NOTHING";
        execute(&work.tx, insert, values![name.as_str(), candidate.as_str()]).await?;
        // Read by column, so that no copy of it is left in a JSON document.
        let select = "SELECT key_value FROM system_secrets WHERE key_name = $1";
        let found = row(&work.tx, select, values![name.as_str()]).await?;
        let stored: Zeroizing<String> = match found {
            Some(found) => Zeroizing::new(found.try_get_by_index(0).map_err(store_error)?),
            None => return Err(RepositoryError::Other("a secret that was just stored is gone".into())),
        };
        work.keep().await?;
        Ok(stored)
    }

    async fn stored(&self, name: SecretName) -> Result<Option<Zeroizing<String>>, RepositoryError> {
        let select = "SELECT key_value FROM system_secrets WHERE key_name = $1";
        let found = row(&self.db, select, values![name.as_str()]).await?;
        found
            .map(|found| found.try_get_by_index(0).map(Zeroizing::new).map_err(store_error))
            .transpose()
    }

    async fn sealing_key_ids(&self) -> Result<Vec<String>, RepositoryError> {
        self.used_key_ids().await
    }
}
