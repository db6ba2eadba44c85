//! The pool that everything shares, the one beside it for what needs a session, and how they are opened.
//!
//! Most of this crate works in single statements and transactions, so the shared pool may end at a pooler in transaction
//! mode. What needs a session of the server for itself (LISTEN, the queue's worker which listens, leases and heartbeats
//! which must not wait behind requests, the migrations) then has a pool of its own that reaches the server without it.
//! Where no second address is given, both are the same pool. Advisory locks are all of the transaction.
//!
//! A pooler in transaction mode hands statements of one session to several sessions of the server. Two things follow:
//! settings of a session would not arrive, so limits are set at the beginning of each transaction; and it must know
//! prepared statements (PgBouncer 1.21 or newer with `max_prepared_statements` above 0).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::postgres::{PgConnection, PgPoolOptions};
use sea_orm::sqlx::{self, PgPool, Row as _};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, TransactionTrait as _};
use serde::Deserialize;
use shepherd_ports::health::{Asked, QueueHealth, QueueHealthQueries, SignsOfLife, StoreHealth};
use shepherd_ports::{RepositoryError, UnitOfWork, UnitOfWorkFactory};

use crate::errors::store_error;
use crate::health;
use crate::statement::{fetch_one, select_one};
use crate::unit_of_work::PgUnitOfWork;

/// Room for every statement of this crate and of the queue on each connection.
const STATEMENT_CACHE: usize = 512;
/// A connection that rested longer is asked for a sign of life before it is used; busy ones save the round trip.
const PING_AFTER_IDLE: Duration = Duration::from_secs(10);
/// Tells the sessions of the second pool from the others in `pg_stat_activity`.
const SESSION_SUFFIX: &str = " session";

/// How to reach the database, and the limits of its sessions.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Address with user and password, `postgres://...`. Never shown.
    pub url: String,
    /// Address of the same database for what needs a session, when [`Self::url`] leads to a pooler in transaction mode.
    pub session_url: Option<String>,
    /// Most connections to [`Self::session_url`].
    pub max_session_connections: u32,
    /// Most connections. The worker keeps one of them to itself for notifications, here or there.
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
            session_url: None,
            max_session_connections: 10,
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

    fn session_settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("timezone", "UTC".to_owned()),
            // Compiling a plan costs more than any of these statements takes; it only adds outliers.
            ("jit", "off".to_owned()),
        ];
        settings.extend(self.limits());
        settings
    }

    fn limits(&self) -> [(&'static str, String); 3] {
        let milliseconds = |limit: Duration| format!("{}ms", limit.as_millis());
        [
            ("lock_timeout", milliseconds(self.lock_timeout)),
            ("statement_timeout", milliseconds(self.statement_timeout)),
            (
                "idle_in_transaction_session_timeout",
                milliseconds(self.idle_in_transaction_timeout),
            ),
        ]
    }

    /// The limits as the first statements of a transaction.
    fn local_limits(&self) -> String {
        let set = |(name, value): (&str, String)| format!("SET LOCAL {name} = '{value}'; ");
        self.limits().into_iter().map(set).collect()
    }

    /// What is asked of both pools.
    fn pool_settings(&self, url: &str) -> sea_orm::ConnectOptions {
        let mut settings = sea_orm::ConnectOptions::new(url);
        settings
            .acquire_timeout(self.acquire_timeout)
            .max_lifetime(self.max_lifetime)
            .idle_timeout(self.idle_timeout)
            .test_before_acquire_if_idle_for(PING_AFTER_IDLE)
            .sqlx_logging(false)
            .map_sqlx_postgres_pool_opts(refuse_read_only_servers);
        settings
    }

    /// The pool of everything that does not need a session.
    fn shared_pool(&self) -> sea_orm::ConnectOptions {
        let mut settings = self.pool_settings(&self.url);
        settings
            .max_connections(self.max_connections)
            .min_connections(self.min_connections)
            .set_application_name(self.application_name.clone());
        // A pooler refuses, or loses, what it does not know.
        let session = self.session_url.is_none().then(|| self.session_settings());
        settings.map_sqlx_postgres_opts(move |options| match &session {
            Some(session) => options
                .options(session.clone())
                .statement_cache_capacity(STATEMENT_CACHE),
            None => options
                .extra_float_digits(None)
                .statement_cache_capacity(STATEMENT_CACHE),
        });
        settings
    }

    /// The pool of what needs one.
    fn session_pool(&self, url: &str) -> sea_orm::ConnectOptions {
        let mut settings = self.pool_settings(url);
        let session = self.session_settings();
        settings
            .max_connections(self.max_session_connections)
            .min_connections(1)
            .set_application_name(format!("{}{SESSION_SUFFIX}", self.application_name))
            .map_sqlx_postgres_opts(move |options| {
                options
                    .options(session.clone())
                    .statement_cache_capacity(STATEMENT_CACHE)
            });
        settings
    }
}

/// After a failover an address may lead to a standby for a while. A session there is given up at once and made again, until
/// the pool's patience ends or the server takes writes: kept, it would fail every change for as long as it lives. A session
/// that is open never turns read-only, because a primary becomes a standby only by a restart.
fn refuse_read_only_servers(pool: PgPoolOptions) -> PgPoolOptions {
    pool.after_connect(|session, _| Box::pin(require_writable(session)))
}

async fn require_writable(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    let row = sqlx::raw_sql("SHOW transaction_read_only").fetch_one(session).await?;
    let read_only: String = row.try_get(0)?;
    if read_only == "on" {
        return Err(sqlx::Error::Protocol(
            "the server takes no writes; it is a standby".to_owned(),
        ));
    }
    Ok(())
}

/// A pooler passes no settings of sessions on. Transactions bring their limits along; single statements have those of
/// the role, and it is up to the operator to set them.
async fn advise_limits(db: &DatabaseConnection) -> Result<(), RepositoryError> {
    let sql = "SELECT jsonb_build_object('statement_timeout', current_setting('statement_timeout'), \
               'timezone', current_setting('TimeZone')) AS doc";
    let Some(found) = fetch_one::<SessionSettings>(db, sql, Vec::new()).await? else {
        return Ok(());
    };
    let SessionSettings {
        statement_timeout,
        timezone,
    } = found;
    if statement_timeout == "0" || !["UTC", "Etc/UTC"].contains(&timezone.as_str()) {
        tracing::warn!(
            statement_timeout,
            timezone,
            "sessions behind the pooler have no limit or another time zone: ALTER ROLE ... SET statement_timeout, \
             lock_timeout and timezone for the role of this installation"
        );
    }
    Ok(())
}

/// Settings of a session that somebody else has set up.
#[derive(Deserialize)]
struct SessionSettings {
    statement_timeout: String,
    timezone: String,
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

/// The store. Cloning it is cheap: all clones share its pools.
#[derive(Clone, Debug)]
pub struct PgStore {
    pub(crate) db: DatabaseConnection,
    /// For what needs a session; the same pool where there is only one.
    pub(crate) session: DatabaseConnection,
    /// What each transaction begins with, where sessions are not ours to set up.
    limits: Option<Arc<str>>,
}

impl PgStore {
    /// The store on an open pool.
    pub fn new(db: DatabaseConnection) -> Self {
        Self {
            session: db.clone(),
            db,
            limits: None,
        }
    }

    /// Opens the pool, or both.
    ///
    /// # Errors
    /// [`RepositoryError::Unavailable`] when the server cannot be reached or refuses the session.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, RepositoryError> {
        let db = Database::connect(options.shared_pool()).await.map_err(store_error)?;
        let Some(url) = &options.session_url else {
            return Ok(Self::new(db));
        };
        let session = Database::connect(options.session_pool(url))
            .await
            .map_err(store_error)?;
        advise_limits(&db).await?;
        Ok(Self {
            db,
            session,
            limits: Some(options.local_limits().into()),
        })
    }

    /// A pool of whole sessions, for the migrations.
    pub fn connection(&self) -> &DatabaseConnection {
        &self.session
    }

    /// Closes the pools once every connection has come back.
    ///
    /// # Errors
    /// When the driver cannot close them.
    pub async fn close(self) -> Result<(), RepositoryError> {
        let Self { db, session, limits } = self;
        let closed = db.close().await.map_err(store_error);
        if limits.is_some() {
            session.close().await.map_err(store_error)?;
        }
        closed
    }

    /// The pool, or both, with their names.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (&'static str, &PgPool)> {
        let second = self.limits.is_some().then_some(("session", &self.session));
        let all = std::iter::once(("shared", &self.db)).chain(second);
        all.map(|(name, db)| (name, db.get_postgres_connection_pool()))
    }

    pub(crate) async fn transaction(&self) -> Result<PgUnitOfWork, RepositoryError> {
        let transaction = self.db.begin().await.map_err(store_error)?;
        if let Some(limits) = &self.limits {
            transaction.execute_unprepared(limits).await.map_err(store_error)?;
        }
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

#[async_trait]
impl QueueHealthQueries for PgStore {
    async fn queue_health(&self) -> Result<Option<QueueHealth>, RepositoryError> {
        let select = "SELECT live, dead, dead_ratio, vacuum_due, last_vacuum, seconds_since_vacuum, last_analyze, backlog, \
                      oldest_available_seconds FROM queue_health";
        select_one(&self.db, select, Vec::new()).await
    }
}
