//! Encryption keys and the columns they seal.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::crypto::{Sealed, SealedPlace, StoredKey};
use crate::error::RepositoryError;

/// A key and how much it seals. The key itself is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EncryptionKeyRecord {
    /// Key id.
    pub key_id: String,
    /// Whether it seals; otherwise it only opens what was sealed before.
    pub active: bool,
    /// When it came into use.
    pub created_at: DateTime<Utc>,
    /// When another one took its place.
    pub retired_at: Option<DateTime<Utc>>,
    /// Sealed values of all tables that need it.
    pub sealed_rows: i64,
}

/// A value that a retired key sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedValue {
    /// Where it belongs.
    pub place: SealedPlace,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// Writes keys and what they seal.
#[async_trait]
pub trait EncryptionKeyRepository: Send {
    /// Notes the installation's own key as the one that seals, unless there is one that does.
    async fn note_root(&mut self, key_id: &str, at: DateTime<Utc>) -> Result<(), RepositoryError>;
    /// Waits for its turn to change keys, which lasts until the end of the transaction, and answers every key in its
    /// stored form as of then.
    async fn take_turn(&mut self) -> Result<Vec<StoredKey>, RepositoryError>;
    /// Retires the active key and makes this one active. `Err` with the id of a retired key that still seals values:
    /// the rotation before is under way, and nothing changes.
    async fn rotate(&mut self, key: &StoredKey, at: DateTime<Utc>) -> Result<Result<(), String>, RepositoryError>;
    /// Replaces a value, if it is still the one that was read; `false` when it is not.
    async fn reseal(&mut self, value: &SealedValue, sealed: &Sealed) -> Result<bool, RepositoryError>;
    /// Removes keys that were retired before a time and seal nothing; answers their ids.
    async fn drop_unused(&mut self, retired_before: DateTime<Utc>) -> Result<Vec<String>, RepositoryError>;
    /// Replaces the stored form of a key, under another key of the installation.
    async fn rewrap(&mut self, key_id: &str, material: &[u8]) -> Result<(), RepositoryError>;
    /// Forgets the installation's own key that the database kept.
    async fn forget_stored_root(&mut self) -> Result<(), RepositoryError>;
}

/// Reads keys and what they seal.
#[async_trait]
pub trait EncryptionKeyQueries: Send + Sync {
    /// Every key, the active one first, then the youngest.
    async fn list_encryption_keys(&self) -> Result<Vec<EncryptionKeyRecord>, RepositoryError>;
    /// Every key in its stored form.
    async fn stored_keys(&self) -> Result<Vec<StoredKey>, RepositoryError>;
    /// Some of the values that other keys than this one sealed: those of one column at a time, in the order of their
    /// rows, after a place.
    async fn sealed_by_others(
        &self,
        active: &str,
        after: Option<&SealedPlace>,
        limit: u32,
    ) -> Result<Vec<SealedValue>, RepositoryError>;
}
