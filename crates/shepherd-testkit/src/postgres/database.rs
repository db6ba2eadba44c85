//! One database per test, cloned from a template that was migrated once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use sea_orm::{ConnectOptions, DatabaseConnection};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use url::Url;

use super::{PostgresServer, RUN_VARIABLE, SERVER_VARIABLE, ServerOptions, database_url, random_token};

/// The advisory lock under which a template is made, on any server: ASCII "template".
const TEMPLATE_LOCK: i64 = 0x7465_6d70_6c61_7465;
/// Connections of one test; many tests run at once, and the server has 300.
const CONNECTIONS_PER_TEST: u32 = 8;
/// What PostgreSQL answers while another session uses the template.
const OBJECT_IN_USE: &str = "55006";
const CLONE_ATTEMPTS: u32 = 20;
/// How often a connection that breaks off while it is made is made again.
const CONNECT_ATTEMPTS: u32 = 5;

static SERVER: OnceCell<TestServer> = OnceCell::const_new();
static CREATED: AtomicU32 = AtomicU32::new(0);

/// The server of this test process.
struct TestServer {
    admin: Url,
    /// Names everything this run creates.
    run: String,
    /// Whether a migrated template may be left for the next process: somebody else cleans it up.
    has_template: bool,
    template: OnceCell<()>,
    /// Held for its life: the server stops with the process.
    _private: Option<PostgresServer>,
}

/// A database of one test's own. It is removed when it is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    admin: Url,
}

impl TestDatabase {
    /// A database with the current schema.
    ///
    /// # Panics
    /// When no server can be had or the migrations fail: a test cannot go on without.
    pub async fn create() -> Self {
        Self::try_create(true)
            .await
            .unwrap_or_else(|error| panic!("create a migrated test database: {error:#}"))
    }

    /// A database without a schema, for tests of the migrations.
    ///
    /// # Panics
    /// When no server can be had.
    pub async fn create_empty() -> Self {
        Self::try_create(false)
            .await
            .unwrap_or_else(|error| panic!("create an empty test database: {error:#}"))
    }

    /// The address to connect to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database's name on the server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection pool. Connections are opened when they are used, and belong to the calling test's runtime.
    ///
    /// # Panics
    /// When the address is not understood, which would be a bug here.
    pub async fn connect(&self) -> DatabaseConnection {
        connect(&self.url)
            .await
            .unwrap_or_else(|error| panic!("connect to the test database: {error:#}"))
    }

    async fn try_create(migrated: bool) -> anyhow::Result<Self> {
        let server = SERVER.get_or_try_init(TestServer::find_or_start).await?;
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("shepherd_test_{}_{}_{number}", server.run, std::process::id());
        let database = Self {
            url: database_url(&server.admin, &name),
            admin: server.admin.clone(),
            name,
        };
        if migrated && server.has_template {
            let template = server.template_name();
            server
                .template
                .get_or_try_init(|| server.make_template(&template))
                .await?;
            clone_database(&server.admin, &template, &database.name).await?;
        } else {
            execute(&server.admin, &format!("CREATE DATABASE {}", database.name)).await?;
            if migrated {
                migrate(&database.url).await?;
            }
        }
        Ok(database)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let admin = &self.admin;
        // A test's runtime cannot be blocked on from inside itself, hence a thread with a runtime of its own. What
        // goes wrong is not worth failing a test that has just passed: the server's end removes the rest.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    let _ = runtime.block_on(execute(admin, &statement));
                }
            });
        });
    }
}

impl TestServer {
    /// The server `cargo xtask test` started; else the one `DATABASE_URL` names; else a private one.
    async fn find_or_start() -> anyhow::Result<Self> {
        if let Ok(url) = std::env::var(SERVER_VARIABLE) {
            let run = std::env::var(RUN_VARIABLE).ok();
            return Ok(Self {
                admin: Url::parse(&url).with_context(|| format!("{SERVER_VARIABLE} is not a URL"))?,
                has_template: run.is_some(),
                run: run.map_or_else(|| random_token(4), Ok)?,
                template: OnceCell::new(),
                _private: None,
            });
        }
        let server = PostgresServer::start(ServerOptions::throwaway()).await?;
        Ok(Self {
            admin: server.admin_url().clone(),
            run: random_token(4)?,
            // On somebody else's server nothing would ever remove the template of a plain `cargo test`.
            has_template: !server.is_external(),
            template: OnceCell::new(),
            _private: Some(server),
        })
    }

    fn template_name(&self) -> String {
        format!("shepherd_template_{}", self.run)
    }

    /// Makes the template, unless another process of this run did. One process at a time looks and makes.
    async fn make_template(&self, name: &str) -> anyhow::Result<()> {
        let mut admin = administration(&self.admin).await?;
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(TEMPLATE_LOCK)
            .execute(&mut admin)
            .await?;
        let made = self.make_template_locked(&mut admin, name).await;
        // The end of the session releases the lock.
        admin.close().await?;
        made.context("make the migrated template database")
    }

    async fn make_template_locked(&self, admin: &mut PgConnection, name: &str) -> anyhow::Result<()> {
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)")
                .bind(name)
                .fetch_one(&mut *admin)
                .await?;
        if exists {
            return Ok(());
        }
        // A process that died half-way leaves a database that is not marked as a template yet.
        run(admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        run(admin, &format!("CREATE DATABASE {name}")).await?;
        migrate(&database_url(&self.admin, name)).await?;
        // Without connections to it, not even of autovacuum, it can be cloned at any time.
        run(
            admin,
            &format!("ALTER DATABASE {name} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false"),
        )
        .await
    }
}

async fn migrate(url: &str) -> anyhow::Result<()> {
    let database = connect(url).await?;
    migrations::up(&database).await.context("migrate")?;
    database.close().await.context("close the migrated database")
}

async fn connect(url: &str) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(CONNECTIONS_PER_TEST)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy(true)
        .sqlx_logging(false);
    sea_orm::Database::connect(options).await.context("connect")
}

async fn clone_database(admin: &Url, template: &str, name: &str) -> anyhow::Result<()> {
    let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
    let mut admin = administration(admin).await?;
    for _ in 0..CLONE_ATTEMPTS {
        match sqlx::raw_sql(AssertSqlSafe(statement.as_str()))
            .execute(&mut admin)
            .await
        {
            Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some(OBJECT_IN_USE) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => {
                outcome.context("clone the template database")?;
                return admin.close().await.context("close the administration session");
            }
        }
    }
    anyhow::bail!("the template database stays in use by somebody else")
}

/// A session for administration. A server under the load of many tests at once may break off a connection that is being
/// made; nothing has happened in it yet, so it is made again.
async fn administration(admin: &Url) -> sqlx::Result<PgConnection> {
    for _ in 0..CONNECT_ATTEMPTS {
        match PgConnection::connect(admin.as_str()).await {
            Err(sqlx::Error::Io(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            connected => return connected,
        }
    }
    PgConnection::connect(admin.as_str()).await
}

/// Runs one statement in a session of its own.
pub(super) async fn execute(admin: &Url, statement: &str) -> anyhow::Result<()> {
    let mut admin = administration(admin).await?;
    run(&mut admin, statement).await?;
    admin.close().await.context("close the administration session")
}

/// Runs a statement that takes no parameters, such as those about databases. The names in it are made here, of letters,
/// digits and underscores.
async fn run(admin: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(admin)
        .await
        .with_context(|| format!("run {statement}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exists(database: &TestDatabase, name: &str) -> bool {
        let mut admin = PgConnection::connect(database.admin.as_str()).await.unwrap();
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_database_goes_with_its_value_even_while_somebody_is_connected() {
        let kept = TestDatabase::create_empty().await;
        let dropped = TestDatabase::create_empty().await;
        let name = dropped.name().to_owned();
        let _connection = PgConnection::connect(dropped.url()).await.unwrap();
        assert!(exists(&kept, &name).await);
        drop(dropped);
        assert!(!exists(&kept, &name).await);
    }

    #[tokio::test]
    async fn what_one_test_writes_another_does_not_see() {
        let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
        execute(&Url::parse(one.url()).unwrap(), "CREATE TABLE only_here (id bigint)")
            .await
            .unwrap();
        let visible = execute(&Url::parse(other.url()).unwrap(), "SELECT FROM only_here").await;
        assert!(visible.is_err());
    }
}
