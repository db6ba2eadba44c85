//! What happens to the database while people work: it ends in a clear answer or a wait, and never in an operation that
//! is lost or done twice.
//!
//! Each test has a PostgreSQL server of its own. Those that take long are run by `cargo xtask chaos`.

mod disk;
pub mod place;

use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};
use serde_json::json;
use shepherd_testkit::postgres::Stop;

use crate::crashes::queue;
use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::world::{User, World};
use place::{DATABASE, MACHINES, Proxy, Work, home, is_ready, is_told_to_come_again, server};

/// The sessions of the platform.
const THEIRS: &str = "application_name LIKE 'shepherd%'";
/// For a server whose connections are to be taken.
const FEW_CONNECTIONS: &str = "max_connections=25";
/// An attempt that the database interrupts is given back, but not when the database is still away then. So as many as are
/// interrupted may count, and an operation that is interrupted more often than it has attempts fails, and says so.
const ORDINARY_ATTEMPTS: &str = "3";
const MANY_ATTEMPTS: &str = "10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_and_a_crash_of_the_server_lose_and_double_nothing() {
    the_server_ends(&[(1, Stop::Fast), (6, Stop::Kill)], ORDINARY_ATTEMPTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "chaos: five ends of a server take a minute"]
async fn a_server_that_ends_again_and_again_loses_and_doubles_nothing() {
    let ends = [
        (1, Stop::Immediate),
        (3, Stop::Kill),
        (5, Stop::Fast),
        (7, Stop::Immediate),
        (9, Stop::Kill),
    ];
    the_server_ends(&ends, MANY_ATTEMPTS).await;
}

/// The server ends, each time after so many requests were accepted, and is started again.
async fn the_server_ends(ends: &[(usize, Stop)], attempts: &str) {
    let mut database = server(&[]).await;
    let home = home(database.url(DATABASE).unwrap()).await;
    // Longer than the server is away: a worker that takes its own jobs for those of a dead one spends their attempts.
    let env = [
        ("QUEUE_HEARTBEAT", "2s".to_owned()),
        ("QUEUE_RECOVERY_THRESHOLD", "10s".to_owned()),
        ("QUEUE_MAX_ATTEMPTS", attempts.to_owned()),
    ];
    let world = World::at(home, ALL_ROLES, &env).await;
    let mallory = world.as_(User::Mallory);
    let work = Work::default();
    let faults = async {
        for (after, how) in ends {
            work.reaches(*after).await;
            database.stop(*how).await.unwrap();
            tokio::join!(is_told_to_come_again(&mallory), is_ready(&world, false));
            database.start_again().await.unwrap();
            is_ready(&world, true).await;
        }
    };
    let (tickets, ()) = tokio::join!(work.done(&world), faults);
    work.happened_exactly_once(&world, &tickets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "chaos: two servers and a failover take half a minute"]
async fn a_failover_to_a_standby_loses_and_doubles_nothing() {
    let mut primary = server(&[]).await;
    let proxy = Proxy::to(primary.port()).await;
    let home = home(proxy.url(&primary)).await;
    let standby = ["--wal-method=stream", "--write-recovery-conf"];
    let mut standby = primary.base_backup(&standby, &[]).await.unwrap();
    standby.start_copy().await.unwrap();
    // From here on nothing is acknowledged that the standby has not written.
    primary
        .execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        .await
        .unwrap();
    primary.execute("SELECT pg_reload_conf()").await.unwrap();
    eventually("the standby follows at every commit", PATIENCE, async || {
        (home.count("pg_stat_replication WHERE sync_state = 'sync'").await == 1).then_some(())
    })
    .await;

    let world = World::at(home, ALL_ROLES, &queue()).await;
    let work = Work::default();
    let failover = async {
        work.reaches(MACHINES / 2).await;
        primary.stop(Stop::Kill).await.unwrap();
        // The address leads to the standby before it is a primary: sessions there are refused, not kept.
        proxy.switch_to(standby.port());
        is_told_to_come_again(&world.as_(User::Mallory)).await;
        standby.promote().await.unwrap();
        is_ready(&world, true).await;
    };
    let (tickets, ()) = tokio::join!(work.done(&world), failover);
    work.happened_exactly_once(&world, &tickets).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taken_connections_and_held_locks_are_said_in_time_and_leave_nothing_half_written() {
    let database = server(&[FEW_CONNECTIONS]).await;
    let url = database.url(DATABASE).unwrap();
    let home = home(url.clone()).await;
    let mut env = queue();
    env.push(("DATABASE_LOCK_TIMEOUT", "1s".to_owned()));
    let world = World::at(home, ALL_ROLES, &env).await;
    for table in ["systems", "audit_logs"] {
        a_held_lock(&world, &url, table).await;
    }
    all_connections_are_taken(&world, &url).await;
}

/// Somebody keeps a table to himself. Who needs it hears so after `database.lock_timeout`; the part of the transaction
/// that came before the lock is not kept.
async fn a_held_lock(world: &World, url: &str, table: &str) {
    let body = json!({"name": format!("held-{}", &table[..3])});
    let before = systems_and_their_audit(world).await;
    let mut holder = PgConnection::connect(url).await.unwrap();
    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    run(&mut holder, &lock).await;
    let refused = world.as_(User::Alice).post("/systems", &body).await;
    assert!(!refused.header("retry-after").is_empty(), "{}", refused.text);
    refused.refused(503, "SERVICE_BUSY");
    run(&mut holder, "ROLLBACK").await;
    holder.close().await.unwrap();

    assert_eq!(systems_and_their_audit(world).await, before, "nothing is half-written");
    eventually("the System is created", PATIENCE, async || {
        let reply = world.as_(User::Alice).post("/systems", &body).await;
        (reply.status == 201).then_some(())
    })
    .await;
    let after = systems_and_their_audit(world).await;
    assert_eq!(after, (before.0 + 1, before.1 + 1));
}

/// Somebody else has every connection that the server gives.
async fn all_connections_are_taken(world: &World, url: &str) {
    let held = take_every_connection(url).await;
    let alice = world.as_(User::Alice);
    tokio::join!(is_told_to_come_again(&alice), is_ready(world, false));
    for connection in held {
        connection.close().await.unwrap();
    }
    is_ready(world, true).await;
    alice.get("/systems").await.ok(200);
    let ticket = world.request_vm("dev").await;
    let path = format!("/approvals/{ticket}/approve");
    // Leases were lost, so the cluster may have to be listed anew first.
    eventually("the ticket is approved", PATIENCE, async || {
        let reply = world.as_(User::Bob).post(&path, &json!({})).await;
        (reply.status == 204).then_some(())
    })
    .await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
}

async fn take_every_connection(url: &str) -> Vec<PgConnection> {
    let mut first = PgConnection::connect(url).await.unwrap();
    let mut held = Vec::new();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {THEIRS}");
    // A session that is just beginning has a connection and is not listed yet, so the listed ones have to be all.
    let taken = format!(
        "SELECT count(*) FILTER (WHERE {THEIRS}) = 0 AND count(*) >= current_setting('max_connections')::int \
             - CASE current_setting('is_superuser') WHEN 'on' THEN 0 \
                 ELSE current_setting('superuser_reserved_connections')::int END \
         FROM pg_stat_activity WHERE backend_type = 'client backend'"
    );
    eventually("the platform has no connection left", PATIENCE, async || {
        run(&mut first, &end).await;
        while let Ok(connection) = PgConnection::connect(url).await {
            held.push(connection);
        }
        let taken: bool = sqlx::query_scalar(AssertSqlSafe(taken.clone()))
            .fetch_one(&mut first)
            .await
            .unwrap();
        taken.then_some(())
    })
    .await;
    held.push(first);
    held
}

/// Rows of Systems, and of their creations in the audit log.
async fn systems_and_their_audit(world: &World) -> (i64, i64) {
    let created = "audit_logs WHERE action = 'system.create'";
    (world.home.count("systems").await, world.home.count(created).await)
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}
