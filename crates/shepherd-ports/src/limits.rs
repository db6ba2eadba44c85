//! Limits of batches, exemptions and overrides (batch.md §2, §6).

use async_trait::async_trait;

/// Writes.
#[async_trait]
pub trait LimitRepository: Send {}

/// Reads.
#[async_trait]
pub trait LimitQueries: Send + Sync {}
