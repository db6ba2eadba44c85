//! Batches: one request for several machines (batch.md).

use async_trait::async_trait;

/// Writes.
#[async_trait]
pub trait BatchRepository: Send {}

/// Reads.
#[async_trait]
pub trait BatchQueries: Send + Sync {}
