//! Legal holds keep audit rows beyond their retention.

pub mod create;
pub mod release;
