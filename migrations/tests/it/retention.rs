//! Who may do what to audit rows, and what `audit_purge` removes: also where the migrating user is no superuser.

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, Executor, PgConnection};
use sea_orm::{ConnectOptions, DatabaseConnection};
use shepherd_testkit::postgres::TestDatabase;

use crate::{Database, ONE_ROW_EVERYWHERE, TestResult, refused_by};

/// SQLSTATE of a right that is missing.
const NOT_PERMITTED: &str = "42501";
/// SQLSTATE of a lock that was not free in time.
const NOT_FREE: &str = "55P03";
const IS_THERE: &str = "SELECT count(*) FROM pg_proc WHERE proname = 'audit_purge'";
const ROWS: &str = "SELECT count(*) FROM audit_logs";

/// Six expired rows beside the one of `ONE_ROW_EVERYWHERE`, and one that has not expired.
const EXPIRED_AND_YOUNG: &str = "
    INSERT INTO audit_logs (id, action, action_code, performed_by, performed_by_name, resource_type, resource_id,
        environment, outcome, retention_class, retain_until)
    SELECT gen_random_uuid(), 'vm.start', 'EXECUTION_COMPLETED', 'x', 'x', 'vm', n::text,
        CASE WHEN n <= 2 THEN 'prod' ELSE 'test' END, 'success', CASE WHEN n <= 2 THEN 'prod' ELSE 'test' END,
        CASE WHEN n = 7 THEN now() + interval '1 day' ELSE now() - interval '1 day' END
    FROM generate_series(1, 7) AS n";
const HOLD_PROD: &str = r#"
    INSERT INTO audit_legal_holds (id, name, filter, created_by)
    VALUES (gen_random_uuid(), 'all of prod', '{"environment": "prod"}', 'system:test')"#;

impl Database {
    /// Whether the user of the tests could make the roles. Where not, there is nothing to purge with.
    async fn can_purge(&self) -> Result<bool, sqlx::Error> {
        Ok(self.number(IS_THERE).await? == 1)
    }

    /// The classes that a call of `audit_purge` removed rows of, with their number.
    async fn purge(&self, batch: i32) -> Result<Vec<(String, i64)>, sqlx::Error> {
        sqlx::query_as("SELECT class, purged FROM audit_purge($1) ORDER BY class")
            .bind(batch)
            .fetch_all(self.pool())
            .await
    }

    /// The SQLSTATE that refuses a statement of a role; nothing when it is accepted. Keeps nothing of it.
    async fn refusal_of(&self, role: &str, sql: &'static str) -> Result<Option<String>, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        let become_role = AssertSqlSafe(format!("SET LOCAL ROLE {role}"));
        transaction.execute(sqlx::raw_sql(become_role)).await?;
        let outcome = transaction.execute(sqlx::raw_sql(sql)).await;
        transaction.rollback().await?;
        outcome.map(drop).map_or_else(sqlstate, |()| Ok(None))
    }
}

fn sqlstate(error: sqlx::Error) -> Result<Option<String>, sqlx::Error> {
    let code = error
        .as_database_error()
        .and_then(|answer| answer.code())
        .map(|code| code.into_owned());
    match code {
        Some(code) => Ok(Some(code)),
        None => Err(error),
    }
}

fn classes(removed: &[(String, i64)]) -> Vec<(&str, i64)> {
    removed.iter().map(|(class, rows)| (class.as_str(), *rows)).collect()
}

#[tokio::test]
async fn the_function_removes_what_has_expired_in_batches_and_counts_it_by_class() -> TestResult {
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    database.run(EXPIRED_AND_YOUNG).await?;
    let first: i64 = database.purge(5).await?.iter().map(|(_, rows)| rows).sum();
    assert_eq!(first, 5);
    let second: i64 = database.purge(5).await?.iter().map(|(_, rows)| rows).sum();
    assert_eq!(second, 2);
    assert!(database.purge(5).await?.is_empty());
    assert_eq!(database.number(ROWS).await?, 1);
    for wrong in [0, -1, 100_001] {
        assert!(database.purge(wrong).await.is_err(), "{wrong}");
    }
    Ok(())
}

#[tokio::test]
async fn the_function_passes_over_what_a_hold_covers_until_it_is_released() -> TestResult {
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    database.run(EXPIRED_AND_YOUNG).await?;
    database.run(HOLD_PROD).await?;
    assert_eq!(classes(&database.purge(100).await?), [("test", 5_i64)]);
    database.run("UPDATE audit_legal_holds SET released_at = now()").await?;
    assert_eq!(classes(&database.purge(100).await?), [("prod", 2_i64)]);
    Ok(())
}

#[tokio::test]
async fn the_function_honours_every_key_of_a_hold() -> TestResult {
    const COVERING: [&str; 6] = [
        r#"UPDATE audit_legal_holds SET filter = '{"action": "vm.request"}'"#,
        r#"UPDATE audit_legal_holds SET filter = '{"resource_type": "vm"}'"#,
        r#"UPDATE audit_legal_holds SET filter = '{"resource_id": "00000000-0000-7000-8000-000000000014"}'"#,
        r#"UPDATE audit_legal_holds SET filter = '{"performed_by": "00000000-0000-7000-8000-000000000003"}'"#,
        r#"UPDATE audit_legal_holds SET filter = '{"environment": "test", "action": "vm.request"}'"#,
        "UPDATE audit_legal_holds SET filter = '{}'",
    ];
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    for hold in COVERING {
        database.run(hold).await?;
        assert!(database.purge(100).await?.is_empty(), "{hold}");
    }
    database
        .run(r#"UPDATE audit_legal_holds SET filter = '{"ticket_id": "00000000-0000-7000-8000-000000000031"}'"#)
        .await?;
    assert_eq!(classes(&database.purge(100).await?), [("test", 1_i64)]);
    Ok(())
}

#[tokio::test]
async fn a_hold_and_a_purge_wait_for_each_other() -> TestResult {
    const SHORT: &str = "SET LOCAL lock_timeout = '100ms'";
    const PURGE: &str = "SELECT count(*) FROM audit_purge(100)";
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    database.run(EXPIRED_AND_YOUNG).await?;

    let mut holding = database.pool().begin().await?;
    holding.execute(sqlx::raw_sql(HOLD_PROD)).await?;
    let mut purging = database.pool().begin().await?;
    purging.execute(SHORT).await?;
    let refused = purging.execute(PURGE).await;
    assert_eq!(
        refused.map(drop).map_or_else(sqlstate, |()| Ok(None))?.as_deref(),
        Some(NOT_FREE)
    );
    purging.rollback().await?;

    // A purge that waits for the hold sees it, although it began before the hold was there.
    let mut purging = database.pool().begin().await?;
    let (purged, held) = tokio::join!(
        sqlx::query_scalar::<_, String>("SELECT class FROM audit_purge(100)").fetch_all(&mut *purging),
        holding.commit(),
    );
    held?;
    assert_eq!(purged?, ["test"]);

    let mut holding = database.pool().begin().await?;
    holding.execute(SHORT).await?;
    let refused = holding
        .execute("UPDATE audit_legal_holds SET filter = '{}' WHERE released_at IS NULL")
        .await;
    assert_eq!(
        refused.map(drop).map_or_else(sqlstate, |()| Ok(None))?.as_deref(),
        Some(NOT_FREE)
    );
    holding.rollback().await?;
    purging.commit().await?;
    assert_eq!(database.number(ROWS).await?, 3);
    Ok(())
}

#[tokio::test]
async fn an_older_snapshot_cannot_purge() -> TestResult {
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    let mut purging = database.pool().begin().await?;
    purging
        .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    assert!(purging.execute("SELECT audit_purge(10)").await.is_err());
    Ok(())
}

#[tokio::test]
async fn the_role_of_the_application_adds_to_the_log_and_does_nothing_else_to_it() -> TestResult {
    const PERMITTED: [&str; 6] = [
        "SELECT FROM audit_logs",
        "INSERT INTO audit_logs (id, action, action_code, performed_by, performed_by_name, resource_type, resource_id,
            outcome, retention_class, retain_until)
         VALUES (gen_random_uuid(), 'vm.start', 'SECURITY', 'x', 'x', 'vm', 'x', 'success', 'prod', now())",
        "SELECT audit_purge(10)",
        "UPDATE audit_legal_holds SET released_at = now()",
        "UPDATE domain_events SET archived_at = now()",
        "DELETE FROM vms",
    ];
    const REFUSED: [&str; 9] = [
        "UPDATE audit_logs SET outcome = 'failure'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "ALTER TABLE audit_logs DISABLE TRIGGER USER",
        "DELETE FROM audit_legal_holds",
        "DELETE FROM ticket_transitions",
        "UPDATE vm_revisions SET revision = 9",
        "DELETE FROM domain_events",
        "DELETE FROM shepherd_migrations",
    ];
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    for statement in PERMITTED {
        let refusal = database.refusal_of("shepherd_app", statement).await?;
        assert_eq!(refusal, None, "{statement}");
    }
    for statement in REFUSED {
        let refusal = database.refusal_of("shepherd_app", statement).await?;
        assert_eq!(refusal.as_deref(), Some(NOT_PERMITTED), "{statement}");
    }
    Ok(())
}

#[tokio::test]
async fn the_retention_role_can_only_do_what_the_function_needs() -> TestResult {
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    for statement in [
        "INSERT INTO audit_logs (id) VALUES (gen_random_uuid())",
        "UPDATE audit_logs SET outcome = 'failure'",
        "TRUNCATE audit_logs",
        "UPDATE audit_legal_holds SET released_at = now()",
        "SELECT FROM users",
        "CREATE TABLE mine (id integer)",
    ] {
        let refusal = database.refusal_of("shepherd_retention", statement).await?;
        assert_eq!(refusal.as_deref(), Some(NOT_PERMITTED), "{statement}");
    }
    let log_in =
        "SELECT count(*) FROM pg_roles WHERE rolname IN ('shepherd_app', 'shepherd_retention') AND rolcanlogin";
    assert_eq!(database.number(log_in).await?, 0);
    Ok(())
}

#[tokio::test]
async fn going_back_takes_the_rights_and_leaves_the_roles() -> TestResult {
    const RIGHTS: &str = "
        SELECT (SELECT count(*) FROM pg_class, LATERAL aclexplode(relacl) AS granted
                WHERE relnamespace = current_schema()::regnamespace
                    AND granted.grantee IN (SELECT oid FROM pg_roles
                        WHERE rolname IN ('shepherd_app', 'shepherd_retention')))
            + (SELECT count(*) FROM pg_default_acl)";
    const ROLES: &str = "SELECT count(*) FROM pg_roles WHERE rolname IN ('shepherd_app', 'shepherd_retention')";
    let database = Database::filled().await?;
    if !database.can_purge().await? {
        return Ok(());
    }
    assert!(database.number(RIGHTS).await? > 0);
    while database.can_purge().await? {
        migrations::down(&database.connection, Some(1)).await?;
    }
    assert_eq!(database.number(RIGHTS).await?, 0);
    assert_eq!(database.number(ROLES).await?, 2);
    Ok(())
}

/// A database whose owner is an ordinary user of the server, as most installations have it.
struct Owned {
    owner: String,
    database: TestDatabase,
    connection: DatabaseConnection,
}

impl Owned {
    /// `attributes` are those of the owner. Nothing where the user of the tests is not a superuser, and so an ordinary
    /// one itself.
    async fn create(attributes: &str) -> Result<Option<Self>, sqlx::Error> {
        let database = TestDatabase::create_empty().await;
        let owner = format!("{}_owner", database.name());
        let name = database.name();
        let mut admin = PgConnection::connect(database.url()).await?;
        let is_superuser: bool = sqlx::query_scalar("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            .fetch_one(&mut admin)
            .await?;
        if !is_superuser {
            return Ok(None);
        }
        run(
            &mut admin,
            &format!("CREATE ROLE {owner} LOGIN PASSWORD 'owner' {attributes}"),
        )
        .await?;
        run(&mut admin, &format!("ALTER DATABASE {name} OWNER TO {owner}")).await?;
        admin.close().await?;
        let mut options = ConnectOptions::new(database.url());
        let user = owner.clone();
        options
            .max_connections(2)
            .map_sqlx_postgres_opts(move |session: PgConnectOptions| session.username(&user).password("owner"));
        let connection = sea_orm::Database::connect(options)
            .await
            .map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
        Ok(Some(Self {
            owner,
            database,
            connection,
        }))
    }

    async fn number(&self, sql: &'static str) -> Result<i64, sqlx::Error> {
        let pool = self.connection.get_postgres_connection_pool();
        sqlx::query_scalar(sql).fetch_one(pool).await
    }

    async fn as_administrator(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut admin = PgConnection::connect(self.database.url()).await?;
        run(&mut admin, sql).await?;
        admin.close().await
    }

    /// The owner goes before the database does: roles outlive databases.
    async fn remove(self) -> TestResult {
        self.connection.close_by_ref().await?;
        let owner = &self.owner;
        let sql =
            format!("REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}");
        Ok(self.as_administrator(&sql).await?)
    }
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .map(drop)
}

#[tokio::test]
async fn a_user_who_may_not_make_roles_migrates_without_the_function() -> TestResult {
    let Some(owned) = Owned::create("NOCREATEROLE").await? else {
        return Ok(());
    };
    migrations::up(&owned.connection).await?;
    let pool = owned.connection.get_postgres_connection_pool();
    pool.execute(sqlx::raw_sql(ONE_ROW_EVERYWHERE)).await?;
    assert_eq!(owned.number(IS_THERE).await?, 0);
    let refused = pool.execute("DELETE FROM audit_logs").await.err();
    let refused = refused.as_ref().and_then(refused_by);
    assert_eq!(refused.as_deref(), Some("trg_audit_logs_delete"));
    migrations::down(&owned.connection, None).await?;
    migrations::up(&owned.connection).await?;

    // Somebody who may makes up for it, and the owner purges.
    pool.execute(sqlx::raw_sql(ONE_ROW_EVERYWHERE)).await?;
    owned.as_administrator("SELECT setup_audit_retention()").await?;
    assert_eq!(owned.number("SELECT purged FROM audit_purge(10)").await?, 1);
    migrations::down(&owned.connection, None).await?;
    owned.remove().await
}

#[tokio::test]
async fn a_user_who_may_make_roles_is_no_member_of_them_afterwards() -> TestResult {
    const MEMBERSHIPS: &str = "
        SELECT count(*) FROM pg_roles WHERE rolname = 'shepherd_retention'
            AND pg_has_role(current_user, oid, 'USAGE')";
    let Some(owned) = Owned::create("CREATEROLE").await? else {
        return Ok(());
    };
    // From PostgreSQL 16 on only who made a role may pass it on, and another test made it already.
    let database = Database::migrated().await?;
    if !database.can_purge().await? {
        return owned.remove().await;
    }
    let is_16 = database
        .number("SELECT current_setting('server_version_num')::bigint / 10000")
        .await?
        >= 16;
    if is_16 {
        let owner = &owned.owner;
        let grant = format!("GRANT shepherd_retention TO {owner} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE");
        owned.as_administrator(&grant).await?;
    }
    migrations::up(&owned.connection).await?;
    let pool = owned.connection.get_postgres_connection_pool();
    pool.execute(sqlx::raw_sql(ONE_ROW_EVERYWHERE)).await?;
    assert_eq!(owned.number(IS_THERE).await?, 1);
    assert_eq!(owned.number(MEMBERSHIPS).await?, 0);
    assert_eq!(owned.number("SELECT purged FROM audit_purge(10)").await?, 1);
    migrations::down(&owned.connection, None).await?;
    assert_eq!(owned.number(IS_THERE).await?, 0);
    migrations::up(&owned.connection).await?;
    assert_eq!(owned.number(IS_THERE).await?, 1);
    owned.remove().await
}
