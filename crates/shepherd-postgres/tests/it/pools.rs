//! Two addresses of one database: what needs a session has the second, everything else the first.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};
use shepherd_ports::changes::ChangeFeed;
use shepherd_ports::health::{QueueHealthQueries, StoreHealth};
use shepherd_ports::leases::LeaseStore;
use shepherd_ports::{RepositoryError, UnitOfWorkFactory};
use shepherd_postgres::{ConnectOptions, PgStore};
use shepherd_testkit::postgres::TestDatabase;

use crate::TestResult;

const LEASE: Duration = Duration::from_secs(60);
const A_MOMENT: Duration = Duration::from_millis(300);

fn options(database: &TestDatabase) -> ConnectOptions {
    ConnectOptions {
        session_url: Some(database.url().to_owned()),
        min_connections: 1,
        max_connections: 2,
        max_session_connections: 2,
        lock_timeout: A_MOMENT,
        application_name: "pools".to_owned(),
        ..ConnectOptions::new(database.url())
    }
}

/// The names of the sessions whose last statement contains a text.
async fn who_said(admin: &mut PgConnection, text: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT DISTINCT application_name FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND strpos(query, $1) > 0",
    )
    .bind(text)
    .fetch_all(admin)
    .await
}

async fn run(admin: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.map(drop)
}

#[tokio::test]
async fn leases_and_listening_have_the_sessions_and_everything_else_the_shared_pool() -> TestResult {
    let database = TestDatabase::create().await;
    let mut admin = PgConnection::connect(database.url()).await?;
    let store = PgStore::connect(&options(&database)).await?;
    store.acquire("pools", "a", LEASE).await?.ok_or("not acquired")?;
    let feed = store.changes().await?;
    store.queue_health().await?.ok_or("there is a queue")?;
    assert_eq!(who_said(&mut admin, "leader_leases").await?, ["pools session"]);
    assert_eq!(who_said(&mut admin, "LISTEN").await?, ["pools session"]);
    assert_eq!(who_said(&mut admin, "queue_health").await?, ["pools"]);
    drop(feed);

    store.ping().await?;
    assert_eq!(who_said(&mut admin, "SELECT 1").await?, ["pools"]);
    assert!(store.pending_migrations().await?.is_empty());
    store.close().await?;
    Ok(())
}

/// Sessions behind a pooler cannot be set up, so each transaction brings its limits along.
#[tokio::test]
async fn the_limits_hold_in_transactions_of_a_pool_whose_sessions_are_not_set_up() -> TestResult {
    let database = TestDatabase::create().await;
    let mut admin = PgConnection::connect(database.url()).await?;
    let store = PgStore::connect(&options(&database)).await?;
    run(
        &mut admin,
        "BEGIN; LOCK TABLE encryption_keys IN ACCESS EXCLUSIVE MODE".to_owned(),
    )
    .await?;
    let mut work = store.begin().await?;
    let refused = work
        .encryption_keys()
        .note_root("pools", DateTime::<Utc>::UNIX_EPOCH)
        .await;
    assert!(matches!(refused, Err(RepositoryError::Busy(_))), "{refused:?}");
    drop(work);
    run(&mut admin, "ROLLBACK".to_owned()).await?;
    store.close().await?;
    Ok(())
}

/// After a failover the address may lead to a standby for a while.
#[tokio::test]
async fn a_server_that_takes_no_writes_is_refused_until_it_does() -> TestResult {
    let database = TestDatabase::create().await;
    let mut admin = PgConnection::connect(database.url()).await?;
    let read_only = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name()
    );
    run(&mut admin, read_only).await?;
    let options = ConnectOptions {
        session_url: None,
        ..options(&database)
    };
    let impatient = ConnectOptions {
        acquire_timeout: A_MOMENT,
        ..options.clone()
    };
    let refused = PgStore::connect(&impatient).await.map(drop);
    assert!(
        matches!(refused, Err(RepositoryError::Busy(_) | RepositoryError::Unavailable(_))),
        "{refused:?}"
    );
    let writable = format!("ALTER DATABASE {} RESET default_transaction_read_only", database.name());
    run(&mut admin, writable).await?;
    PgStore::connect(&options).await?.close().await?;
    Ok(())
}
