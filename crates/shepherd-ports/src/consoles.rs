//! Console grants, tokens and sessions (console.md).

use async_trait::async_trait;

/// Writes.
#[async_trait]
pub trait ConsoleRepository: Send {}

/// Reads.
#[async_trait]
pub trait ConsoleQueries: Send + Sync {}
