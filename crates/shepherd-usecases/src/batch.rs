//! Batches (batch.md).
