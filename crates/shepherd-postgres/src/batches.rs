//! Batches: one request for several machines (batch.md).

use async_trait::async_trait;
use shepherd_ports::batches::{BatchQueries, BatchRepository};

use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

#[async_trait]
impl BatchRepository for PgUnitOfWork {}

#[async_trait]
impl BatchQueries for PgStore {}
