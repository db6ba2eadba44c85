//! Console grants, tokens and sessions (console.md).

use async_trait::async_trait;
use shepherd_ports::consoles::{ConsoleQueries, ConsoleRepository};

use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

#[async_trait]
impl ConsoleRepository for PgUnitOfWork {}

#[async_trait]
impl ConsoleQueries for PgStore {}
