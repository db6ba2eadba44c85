//! The commands an operator begins with, and what stops a start.

use std::time::Duration;

use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};

use crate::server::{Home, PATIENCE, Replica, SEEDED_PASSWORD, eventually, workspace};
use crate::world::World;

/// 32 bytes that no installation of a test has.
const FOREIGN_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TABLES: &str = "pg_tables WHERE schemaname IN ('public', 'graphile_worker')";

#[tokio::test]
async fn nothing_starts_or_is_written_before_the_schema_is_there() {
    let home = Home::without_schema().await;
    let seed = workspace().join("seed").display().to_string();
    for command in [&["serve"][..], &["seed"], &["serve", "--roles", "worker"]] {
        let (succeeded, said) = home.run(command, &[("SEED_DIR", &seed)]).await;
        assert!(!succeeded && said.contains("migrate up"), "{command:?} said {said}");
    }
    assert_eq!(home.count(TABLES).await, 0);

    let (succeeded, said) = home.run(&["migrate", "up"], &[]).await;
    assert!(succeeded, "{said}");
    let (_, status) = home.run(&["migrate", "status"], &[]).await;
    assert!(status.contains("applied") && !status.contains("pending"), "{status}");
}

#[tokio::test]
async fn seeding_twice_changes_nothing() {
    let home = Home::new().await;
    let seeds = workspace().join("seed").display().to_string();
    let required = ["seed", "--password-required"];
    let (succeeded, said) = home.run(&required, &[("SEED_DIR", &seeds)]).await;
    assert!(!succeeded && said.contains("SEED_ADMIN_PASSWORD"), "{said}");
    assert_eq!(
        home.count("users").await + home.count("roles").await,
        0,
        "nothing is half-written"
    );
    let first = home.seed().await;
    assert!(first.contains("created") && first.contains("`admin`"), "{first}");
    assert!(!first.contains(SEEDED_PASSWORD), "a given password is not repeated");
    let rows = "(SELECT FROM users UNION ALL SELECT FROM roles UNION ALL SELECT FROM templates \
                UNION ALL SELECT FROM instance_sizes UNION ALL SELECT FROM role_bindings \
                UNION ALL SELECT FROM audit_logs) AS seeded";
    let before = home.count(rows).await;
    let second = home.seed().await;
    assert!(!second.contains("created"), "{second}");
    assert_eq!(home.count(rows).await, before);
    // An upgrade seeds again, long after the password was taken out of its Secret.
    let (succeeded, said) = home.run(&required, &[("SEED_DIR", &seeds)]).await;
    assert!(succeeded, "nobody needs a password: {said}");
    let env = [("SEED_ADMIN_PASSWORD", ""), ("SEED_DIR", seeds.as_str())];
    let (succeeded, said) = home.run(&["seed"], &env).await;
    assert!(succeeded, "nobody gets the password: {said}");
    assert_eq!(home.count(rows).await, before);
}

/// Steps wait for locks and rewrite tables; what holds for statements of requests would end them in the middle, again and
/// again.
#[tokio::test]
async fn a_step_of_a_migration_may_take_longer_than_a_statement() {
    let home = Home::new().await;
    let (succeeded, said) = home.run(&["migrate", "down", "--steps", "1"], &[]).await;
    assert!(succeeded, "{said}");
    let mut holder = PgConnection::connect(home.database_url()).await.unwrap();
    // The last step adds a column to it.
    run(&mut holder, "BEGIN; LOCK TABLE domain_events IN ACCESS EXCLUSIVE MODE").await;
    let release = async {
        waits(&home).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        run(&mut holder, "ROLLBACK").await;
    };
    let limit = [("DATABASE_STATEMENT_TIMEOUT", "1s")];
    let ((succeeded, said), ()) = tokio::join!(home.run(&["migrate", "up"], &limit), release);
    assert!(succeeded, "{said}");
}

#[tokio::test]
async fn a_process_that_waits_for_the_database_can_be_stopped() {
    let home = Home::new().await;
    let mut holder = PgConnection::connect(home.database_url()).await.unwrap();
    run(
        &mut holder,
        "BEGIN; LOCK TABLE shepherd_migrations IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    let mut replica = Replica::start_stoppable(&home, "worker", &[]).await;
    waits(&home).await;
    replica.ask_to_stop();
    assert_eq!(replica.exit_code().await, Some(0), "{}", replica.log_text());
}

/// Waits until somebody waits for a lock.
async fn waits(home: &Home) {
    let waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("somebody waits for the lock", PATIENCE, async || {
        (home.count(waiting).await > 0).then_some(())
    })
    .await;
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn replicas_of_a_first_start_make_the_secrets_once_and_tell_nobody() {
    let home = Home::new().await;
    home.seed().await;
    home.texts("DELETE FROM system_secrets RETURNING key_name").await;
    home.texts("DELETE FROM encryption_keys RETURNING key_id").await;
    let (one, other) = tokio::join!(Replica::start(&home, "api", &[]), Replica::start(&home, "api", &[]));
    let secrets = home.texts("SELECT key_value FROM system_secrets").await;
    assert_eq!(secrets.len(), 2);
    for log in [one.log_text(), other.log_text()] {
        assert!(secrets.iter().all(|secret| !log.contains(secret.as_str())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_did_not_seal_what_is_sealed_stops_the_start() {
    let world = World::with("api,controllers", &[]).await;
    let (succeeded, said) = world.home.run(&["serve"], &[("ENCRYPTION_KEY", FOREIGN_KEY)]).await;
    assert!(!succeeded && said.contains("keys rotate"), "{said}");
    let (succeeded, said) = world.home.run(&["serve"], &[("ENCRYPTION_KEY", "too short")]).await;
    assert!(!succeeded && said.contains("ENCRYPTION_KEY"), "{said}");
}

#[tokio::test]
async fn the_configuration_is_checked_and_explained() {
    let home = Home::new().await;
    let (succeeded, said) = home.run(&["config", "check"], &[("SESSION_IDLE_TIMEOUT", "10m")]).await;
    assert!(
        succeeded && said.contains("session.idle_timeout = 10m (SESSION_IDLE_TIMEOUT)"),
        "{said}"
    );
    assert!(
        said.contains("database.url = ******** (DATABASE_URL)") && !said.contains("postgres://"),
        "{said}"
    );
    let stray = [("SERVER_PROT", "1"), ("LOG_LEVEL", "debug")];
    let (succeeded, said) = home.run(&["config", "check", "--all"], &stray).await;
    assert!(succeeded, "{said}");
    for line in [
        "hint: SERVER_PROT: ",
        "hint: log.level: ",
        "server.port = 8080 (default)",
        "file: none",
    ] {
        assert!(said.contains(line), "{line:?} is missing in {said}");
    }

    let file = "server:\n  prot: 8080\nsever:\n  bind: 127.0.0.1\nbatch:\n  max_create: 0\n";
    std::fs::write(home.path("config.yaml"), file).unwrap();
    let (succeeded, said) = home.run(&["config", "check"], &[]).await;
    assert!(!succeeded, "{said}");
    for line in [
        "server.prot (config.yaml): unknown key; did you mean server.port?",
        "sever.bind (config.yaml): unknown key; did you mean server.bind?",
    ] {
        assert!(said.contains(line), "{line:?} is missing in {said}");
    }
    let (succeeded, said) = home.run(&["serve"], &[]).await;
    assert!(!succeeded && said.contains("did you mean server.port?"), "{said}");

    std::fs::write(home.path("config.yaml"), "batch:\n  max_create: 0\n").unwrap();
    let (succeeded, said) = home.run(&["config", "check", "--json"], &[]).await;
    assert!(!succeeded, "{said}");
    let said: serde_json::Value = serde_json::from_str(said.split("shepherd: ").next().unwrap()).unwrap();
    let finding = serde_json::json!({
        "key": "batch.max_create", "value": "0", "origin": "config.yaml", "problem": "1 to 500",
    });
    assert_eq!(
        (&said["valid"], &said["findings"]),
        (&false.into(), &serde_json::json!([finding]))
    );
}
