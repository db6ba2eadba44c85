//! Limits of batches, exemptions and overrides (batch.md §2, §6).

use async_trait::async_trait;
use shepherd_ports::limits::{LimitQueries, LimitRepository};

use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

#[async_trait]
impl LimitRepository for PgUnitOfWork {}

#[async_trait]
impl LimitQueries for PgStore {}
