//! The pool that everything shares, and how it is opened.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, TransactionTrait as _};
use shepherd_ports::health::{Asked, SignsOfLife, StoreHealth};
use shepherd_ports::{RepositoryError, UnitOfWork, UnitOfWorkFactory};

use crate::errors::store_error;
use crate::health;
use crate::unit_of_work::PgUnitOfWork;

/// Room for every statement of this crate and of the queue on each connection.
const STATEMENT_CACHE: usize = 512;
/// A connection that rested longer is asked for a sign of life before it is used; busy ones save the round trip.
const PING_AFTER_IDLE: Duration = Duration::from_secs(10);

/// How to reach the database, and the limits of its sessions.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Address with user and password, `postgres://...`. Never shown.
    pub url: String,
    /// Most connections. The worker keeps one of them to itself for notifications.
    pub max_connections: u32,
    /// Connections that are kept open.
    pub min_connections: u32,
    /// Longest wait for a free connection; after it the caller hears that the database is busy.
    pub acquire_timeout: Duration,
    /// Age at which a connection is replaced.
    pub max_lifetime: Duration,
    /// Rest after which a connection above the minimum is closed.
    pub idle_timeout: Duration,
    /// Longest wait for a lock.
    pub lock_timeout: Duration,
    /// Longest time for one statement.
    pub statement_timeout: Duration,
    /// Longest pause within a transaction; a process that stopped in the middle must not keep its locks.
    pub idle_in_transaction_timeout: Duration,
    /// Name of the sessions in `pg_stat_activity`.
    pub application_name: String,
}

impl ConnectOptions {
    /// The defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 20,
            min_connections: 2,
            acquire_timeout: Duration::from_secs(5),
            max_lifetime: Duration::from_secs(30 * 60),
            idle_timeout: Duration::from_secs(10 * 60),
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            idle_in_transaction_timeout: Duration::from_secs(60),
            application_name: "shepherd".to_owned(),
        }
    }

    fn session_settings(&self) -> [(&'static str, String); 5] {
        let milliseconds = |limit: Duration| format!("{}ms", limit.as_millis());
        [
            ("timezone", "UTC".to_owned()),
            // Compiling a plan costs more than any of these statements takes; it only adds outliers.
            ("jit", "off".to_owned()),
            ("lock_timeout", milliseconds(self.lock_timeout)),
            ("statement_timeout", milliseconds(self.statement_timeout)),
            (
                "idle_in_transaction_session_timeout",
                milliseconds(self.idle_in_transaction_timeout),
            ),
        ]
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("max_connections", &self.max_connections)
            .field("min_connections", &self.min_connections)
            .field("lock_timeout", &self.lock_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("application_name", &self.application_name)
            .finish_non_exhaustive()
    }
}

/// The store. Cloning it is cheap: all clones share one pool.
#[derive(Clone, Debug)]
pub struct PgStore {
    pub(crate) db: DatabaseConnection,
}

impl PgStore {
    /// The store on an open pool.
    pub fn new(db: DatabaseConnection) -> Self {
        Self { db }
    }

    /// Opens the pool.
    ///
    /// # Errors
    /// [`RepositoryError::Unavailable`] when the server cannot be reached or refuses the session.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, RepositoryError> {
        let session = options.session_settings();
        let mut settings = sea_orm::ConnectOptions::new(options.url.clone());
        settings
            .max_connections(options.max_connections)
            .min_connections(options.min_connections)
            .acquire_timeout(options.acquire_timeout)
            .max_lifetime(options.max_lifetime)
            .idle_timeout(options.idle_timeout)
            .test_before_acquire_if_idle_for(PING_AFTER_IDLE)
            .set_application_name(options.application_name.clone())
            .sqlx_logging(false)
            .map_sqlx_postgres_opts(move |session_options| {
                session_options
                    .options(session.clone())
                    .statement_cache_capacity(STATEMENT_CACHE)
            });
        Database::connect(settings).await.map(Self::new).map_err(store_error)
    }

    /// The pool, for the migrations.
    pub fn connection(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Closes the pool once every connection has come back.
    ///
    /// # Errors
    /// When the driver cannot close it.
    pub async fn close(self) -> Result<(), RepositoryError> {
        self.db.close().await.map_err(store_error)
    }

    pub(crate) async fn transaction(&self) -> Result<PgUnitOfWork, RepositoryError> {
        let transaction = self.db.begin().await.map_err(store_error)?;
        Ok(PgUnitOfWork::new(transaction))
    }
}

#[async_trait]
impl UnitOfWorkFactory for PgStore {
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, RepositoryError> {
        Ok(Box::new(self.transaction().await?))
    }
}

#[async_trait]
impl StoreHealth for PgStore {
    async fn ping(&self) -> Result<(), RepositoryError> {
        // A query and not the driver's ping, so that a server that takes connections but answers nothing is noticed.
        self.db
            .execute_unprepared("SELECT 1")
            .await
            .map(drop)
            .map_err(store_error)
    }

    async fn pending_migrations(&self) -> Result<Vec<String>, RepositoryError> {
        migrations::pending(&self.db)
            .await
            .map_err(|error| RepositoryError::Other(Box::new(error)))
    }

    async fn read_queue(&self) -> Result<(), RepositoryError> {
        health::read_queue(&self.db).await
    }

    async fn signs_of_life(&self, asked: &Asked<'_>) -> Result<SignsOfLife, RepositoryError> {
        health::signs_of_life(&self.db, asked).await
    }
}
