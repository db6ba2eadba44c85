//! Limits of batches (batch.md §2, §6).
