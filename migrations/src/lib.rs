//! The schema of Shepherd: one module per step, plain PostgreSQL (15 or newer), each with its way back.
//!
//! Only DDL and what it needs to be repeatable lives here; queries belong to `shepherd-postgres`. Every constraint
//! and every guarding trigger carries a name (`uq_`, `fk_`, `ck_`, `trg_`), because the application tells errors
//! apart by it. Triggers raise SQLSTATE [`GUARD_SQLSTATE`] with their own name in the place of the constraint's.
//!
//! A step that has been released is never edited; a change is a new step.

mod error;
mod lock;
mod m20261121_000001_platform;
mod m20261121_000002_identity;
mod m20261121_000003_inventory;
mod m20261121_000004_catalogue;
mod m20261121_000005_governance;
mod m20261121_000006_notifications_audit;
mod m20261121_000007_tuning;
mod m20261121_000008_audit_retention;
mod m20261121_000009_audit_webhooks;
mod m20261121_000010_upkeep;
mod m20261121_000011_clusters;
mod m20261121_000012_encryption_keys;
mod m20261121_000013_catalogue;
mod m20261121_000014_governance;
mod m20261121_000015_batches_and_console;
mod m20261121_000016_operations;
mod m20261121_000017_trace_parent;

use std::collections::HashSet;
use std::sync::Arc;

use graphile_worker::WorkerUtils;
use sea_orm::sea_query::{Alias, IntoIden};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, DynIden, RuntimeErr, sqlx};
use sea_orm_migration::{Migration, MigrationStatus, MigrationTrait, MigratorTrait};

pub use crate::error::MigrationError;
use crate::lock::MigrationLock;

/// The PostgreSQL schema of the job queue. Its tables belong to the queue library.
pub const QUEUE_SCHEMA: &str = "graphile_worker";

/// SQLSTATE of the triggers that keep append-only and immutable data as it is.
pub const GUARD_SQLSTATE: &str = "SH001";

/// The steps of the schema, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_platform::Migration),
            Box::new(m20261121_000002_identity::Migration),
            Box::new(m20261121_000003_inventory::Migration),
            Box::new(m20261121_000004_catalogue::Migration),
            Box::new(m20261121_000005_governance::Migration),
            Box::new(m20261121_000006_notifications_audit::Migration),
            Box::new(m20261121_000007_tuning::Migration),
            Box::new(m20261121_000008_audit_retention::Migration),
            Box::new(m20261121_000009_audit_webhooks::Migration),
            Box::new(m20261121_000010_upkeep::Migration),
            Box::new(m20261121_000011_clusters::Migration),
            Box::new(m20261121_000012_encryption_keys::Migration),
            Box::new(m20261121_000013_catalogue::Migration),
            Box::new(m20261121_000014_governance::Migration),
            Box::new(m20261121_000015_batches_and_console::Migration),
            Box::new(m20261121_000016_operations::Migration),
            Box::new(m20261121_000017_trace_parent::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        Alias::new("shepherd_migrations").into_iden()
    }
}

/// Brings the queue's schema and then ours up to date. Replicas that start together take turns: the first one
/// migrates, the others wait for it and then find nothing left to do.
///
/// # Errors
/// [`MigrationError`]; a step that fails leaves no trace, the steps before it stay applied.
pub async fn up(db: &DatabaseConnection) -> Result<(), MigrationError> {
    let lock = MigrationLock::acquire(db).await?;
    let outcome = up_locked(db).await;
    let released = lock.release().await;
    outcome.and(released)
}

async fn up_locked(db: &DatabaseConnection) -> Result<(), MigrationError> {
    // The queue comes first, since the tuning step sets storage parameters on its tables.
    WorkerUtils::new(db.get_postgres_connection_pool(), QUEUE_SCHEMA)
        .migrate()
        .await
        .map_err(|error| MigrationError::Queue(Box::new(error)))?;
    // An old program has nothing to do in a database that a newer one has migrated.
    if !pending(db).await?.is_empty() {
        Migrator::up(db, None).await?;
    }
    // Not a step: a later version of the queue may make its tables anew long after the step that tuned them.
    db.execute_unprepared(m20261121_000016_operations::TUNE_QUEUE).await?;
    Ok(())
}

/// Takes back the last `steps` steps, all of them when `None`, and the data in them. The queue's schema stays: its
/// library knows no way back.
///
/// # Errors
/// [`MigrationError`]; a step that fails to go back stays applied.
pub async fn down(db: &DatabaseConnection, steps: Option<u32>) -> Result<(), MigrationError> {
    let lock = MigrationLock::acquire(db).await?;
    let outcome = Migrator::down(db, steps).await;
    let released = lock.release().await;
    outcome.map_err(MigrationError::from).and(released)
}

/// Every step, oldest first, with whether it is applied. Reads only.
///
/// # Errors
/// [`MigrationError::Database`], also when the database has steps that this program does not know, because it was
/// migrated by a newer one.
pub async fn status(db: &DatabaseConnection) -> Result<Vec<(String, bool)>, MigrationError> {
    require_postgres(db)?;
    let steps = Migrator::get_migration_with_status_read_only(db).await?;
    Ok(steps.iter().map(named_status).collect())
}

/// The names of the steps that [`up`] would apply, oldest first. Reads only, so that a server may ask before it is
/// allowed to write; a database that was never migrated answers with every step.
///
/// Steps that this program does not know are none of its business: a newer one only expands the schema (operations.md
/// §7), and while replicas are replaced one by one, the old ones go on.
///
/// # Errors
/// [`MigrationError`].
pub async fn pending(db: &DatabaseConnection) -> Result<Vec<String>, MigrationError> {
    require_postgres(db)?;
    let applied = applied(db).await?;
    let steps = Migrator::migrations();
    let names = steps.iter().map(|step| step.name().to_owned());
    Ok(names.filter(|name| !applied.contains(name)).collect())
}

/// The names of the steps that were applied, whoever did it.
async fn applied(db: &DatabaseConnection) -> Result<HashSet<String>, MigrationError> {
    let pool = db.get_postgres_connection_pool();
    let failed = |error| MigrationError::Database(DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))));
    let exists = sqlx::query_scalar("SELECT to_regclass('shepherd_migrations') IS NOT NULL");
    if !exists.fetch_one(pool).await.map_err(failed)? {
        return Ok(HashSet::new());
    }
    let versions = sqlx::query_scalar("SELECT version FROM shepherd_migrations");
    let versions: Vec<String> = versions.fetch_all(pool).await.map_err(failed)?;
    Ok(versions.into_iter().collect())
}

fn named_status(step: &Migration) -> (String, bool) {
    (step.name().to_owned(), step.status() == MigrationStatus::Applied)
}

/// sea-orm panics when asked for a pool that is not PostgreSQL's; this makes it an error.
fn require_postgres(db: &DatabaseConnection) -> Result<(), MigrationError> {
    if db.get_database_backend() == DbBackend::Postgres {
        Ok(())
    } else {
        Err(MigrationError::NotPostgres)
    }
}
