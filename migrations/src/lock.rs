//! The lock that lets one replica migrate at a time.

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::{self, Connection, PgConnection};

use crate::{MigrationError, require_postgres};

/// "shepherd" in ASCII: any number will do that nothing else in this database locks.
const LOCK_KEY: i64 = 0x7368_6570_6865_7264;

const OLDEST_SUPPORTED_MAJOR: i32 = 15;

/// Held for as long as the value lives: dropping it closes its connection, and the server lets go.
///
/// The lock has a connection of its own, outside the pool, so that migrating works with a pool of one. It is held by
/// an open transaction and not by the session, so that it also holds through a pooler in transaction mode.
pub(crate) struct MigrationLock {
    connection: PgConnection,
}

impl MigrationLock {
    /// Waits for as long as another replica migrates.
    pub(crate) async fn acquire(db: &DatabaseConnection) -> Result<Self, MigrationError> {
        require_postgres(db)?;
        let options = db.get_postgres_connection_pool().connect_options();
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(MigrationError::Lock)?;
        require_supported_server(&mut connection).await?;
        lock(&mut connection).await.map_err(MigrationError::Lock)?;
        Ok(Self { connection })
    }

    pub(crate) async fn release(mut self) -> Result<(), MigrationError> {
        sqlx::query("COMMIT")
            .execute(&mut self.connection)
            .await
            .map_err(MigrationError::Lock)?;
        self.connection.close().await.map_err(MigrationError::Lock)
    }
}

async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The limits of ordinary sessions would end the wait, or the idle transaction, in the middle of a long step.
    const STATEMENTS: [&str; 4] = [
        "BEGIN",
        "SET LOCAL lock_timeout = 0",
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
    ];
    for statement in STATEMENTS {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK_KEY)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn require_supported_server(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let (version_num, found): (i32, String) =
        sqlx::query_as("SELECT current_setting('server_version_num')::int4, current_setting('server_version')")
            .fetch_one(connection)
            .await
            .map_err(MigrationError::Lock)?;
    if version_num / 10_000 < OLDEST_SUPPORTED_MAJOR {
        return Err(MigrationError::UnsupportedServer {
            found,
            oldest_supported: OLDEST_SUPPORTED_MAJOR,
        });
    }
    Ok(())
}
