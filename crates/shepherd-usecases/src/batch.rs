//! Batches (batch.md).

pub mod affected;
pub(crate) mod approve;
pub mod cancel;
mod create;
mod existing;
mod filing;
mod items;
pub(crate) mod operation;
mod placement;
pub mod read;
pub(crate) mod reject;
pub mod retry;
mod rows;
pub(crate) mod settle;
pub mod submit;
