//! The audit log itself: what leaves it as a copy, and what leaves it for good.

pub mod export;
pub mod purge;
