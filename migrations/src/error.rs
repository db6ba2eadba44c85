//! What can go wrong while the schema is changed.

use sea_orm::{DbErr, sqlx};

/// Why the schema could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The connection is not to PostgreSQL.
    #[error("the database is not PostgreSQL")]
    NotPostgres,
    /// The server is older than the oldest supported release.
    #[error("PostgreSQL {oldest_supported} or newer is required, the server is {found}")]
    UnsupportedServer {
        /// What the server calls itself, for example `14.9`.
        found: String,
        /// The oldest major release that is supported.
        oldest_supported: i32,
    },
    /// The lock that lets one replica migrate at a time could not be taken or given back.
    #[error("the migration lock failed")]
    Lock(#[source] sqlx::Error),
    /// The job queue's own migrations failed.
    #[error("the migrations of the job queue failed")]
    Queue(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A step, or the record of steps, failed.
    #[error("a schema migration failed")]
    Database(#[from] DbErr),
}
