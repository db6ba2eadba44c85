//! Events know the trace they were submitted in, so that their jobs go on with it.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbErr, DeriveMigrationName};
use sea_orm_migration::{MigrationTrait, SchemaManager};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await?;
        Ok(())
    }
}

/// A W3C `traceparent`. Without a check, which would read the whole history while nobody can write.
const UP: &str = "ALTER TABLE domain_events ADD COLUMN trace_parent text";

const DOWN: &str = "ALTER TABLE domain_events DROP COLUMN trace_parent";
