//! One's own notifications. Reading them is no use case: the queries know whose they are.

pub mod mark_all_read;
pub mod mark_read;
