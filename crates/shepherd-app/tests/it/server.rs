//! The binary as a process, and the place it lives in.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::sqlx::{self, AssertSqlSafe, PgPool};
use serde_json::Value;
use shepherd_testkit::leash::{Leash, LeashedProcess};
use shepherd_testkit::postgres::TestDatabase;
use tempfile::TempDir;

/// A process that does everything.
pub const ALL_ROLES: &str = "api,worker,controllers";
/// The administrator's password after seeding.
pub const SEEDED_PASSWORD: &str = "quiet harbour lamp 17";

const BINARY: &str = env!("CARGO_BIN_EXE_shepherd");
/// How long anything may take that is not expected to wait for a retry.
pub const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(50);
/// A free port may be taken by somebody else before the process binds it.
const START_ATTEMPTS: u32 = 3;
/// Lines of a log that are shown when a test fails.
const LOG_LINES: usize = 150;

/// Environment of a process, beside what every process gets. An empty value takes a variable away.
pub type Env<'a> = [(&'a str, String)];

/// Waits until `probe` finds something.
pub async fn eventually<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A database and a directory, shared by the processes of one installation.
pub struct Home {
    pub client: Client,
    pool: PgPool,
    started: AtomicU32,
    directory: TempDir,
    url: String,
    /// Beside what every process gets.
    env: Vec<(&'static str, String)>,
    /// Goes with the installation, unless the database is somebody else's.
    _database: Option<TestDatabase>,
}

impl Home {
    /// An installation with a schema and nothing in it.
    pub async fn new() -> Self {
        Self::on(TestDatabase::create().await).await
    }

    /// An installation without a schema.
    pub async fn without_schema() -> Self {
        Self::on(TestDatabase::create_empty().await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let pool = database.connect().await.get_postgres_connection_pool().clone();
        let url = database.url().to_owned();
        Self::with(pool, url, Some(database))
    }

    /// An installation in a database of the test's own, with whatever is in it.
    pub fn at(url: String) -> Self {
        let options = PgPoolOptions::new().max_connections(4).acquire_timeout(PATIENCE);
        let pool = options.connect_lazy(&url).unwrap();
        Self::with(pool, url, None)
    }

    /// The same with a variable in the environment of every process.
    pub fn with_env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    fn with(pool: PgPool, url: String, database: Option<TestDatabase>) -> Self {
        Self {
            client: plain_http_client(),
            pool,
            started: AtomicU32::new(0),
            directory: tempfile::tempdir().unwrap(),
            url,
            env: Vec::new(),
            _database: database,
        }
    }

    /// The address of the database.
    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// A path in the directory of the installation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `shepherd seed` with the files that are shipped.
    pub async fn seed(&self) -> String {
        let directory = workspace().join("seed").display().to_string();
        let env = [("SEED_ADMIN_PASSWORD", SEEDED_PASSWORD), ("SEED_DIR", &directory)];
        let (succeeded, said) = self.run(&["seed"], &env).await;
        assert!(succeeded, "shepherd seed failed: {said}");
        said
    }

    /// Runs a command to its end; answers whether it succeeded and what it said.
    pub async fn run(&self, arguments: &[&str], env: &[(&str, &str)]) -> (bool, String) {
        let mut command = Command::new(BINARY);
        self.prepare(&mut command);
        command.args(arguments).envs(env.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The rows of a query, as objects.
    pub async fn sql(&self, query: &str) -> Vec<Value> {
        let rows = self
            .texts(&format!("SELECT to_jsonb(found)::text FROM ({query}) AS found"))
            .await;
        rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    /// The rows of a query for one text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let rows: Result<Vec<String>, sqlx::Error> = sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_all(&self.pool)
            .await;
        rows.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Whether the database refuses a statement.
    pub async fn refuses(&self, statement: &str) -> bool {
        let outcome = sqlx::query(AssertSqlSafe(statement.to_owned()))
            .execute(&self.pool)
            .await;
        outcome.is_err()
    }

    /// The number that a query counts.
    pub async fn count(&self, from: &str) -> i64 {
        let found = self.texts(&format!("SELECT count(*)::text FROM {from}")).await;
        found.first().and_then(|count| count.parse().ok()).unwrap()
    }

    fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", &self.url)
            // Many installations share one database server.
            .env("DATABASE_MIN_CONNS", "1")
            .env("DATABASE_MAX_CONNS", "10")
            .env("SERVER_BIND", "127.0.0.1")
            // Any that is free; the log says which.
            .env("METRICS_PORT", "0")
            .env("SECURITY_OUTBOUND_ALLOWLIST", "127.0.0.1/32")
            .env("K8S_HEALTH_INTERVAL", "1s")
            .env("FEATURES_SNAPSHOTS", "true")
            .env("FEATURES_CLONES", "true")
            .env("FEATURES_MIGRATIONS", "true")
            .env("FEATURES_EXTERNAL_APPROVAL", "true")
            // Everybody in a test has the same address, and many log in at once.
            .env("SECURITY_LOGIN_MAX_FAILURES_IP", "1000")
            // A test sends in a second what people send in an hour.
            .env("SERVER_API_RATE_PER_USER", "100000/s, burst 100000")
            .env("SERVER_HEAVY_WRITE_LIMIT", "1000")
            .env("SERVER_LIGHT_WRITE_LIMIT", "1000")
            .env("LOG_LEVEL", "info")
            .env("LOG_FORMAT", "text")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
    }
}

/// The API under test speaks plain HTTP, so nothing is trusted and no authority has to be found on this machine.
fn plain_http_client() -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(PATIENCE * 2)
        .build()
        .unwrap()
}

/// A running `shepherd serve`. Dropping it kills it; the end of its log is shown when the test failed.
pub struct Replica {
    roles: String,
    address: String,
    log: PathBuf,
    process: Option<LeashedProcess>,
}

impl Replica {
    /// Starts a process with these roles. One with the API is ready when this returns.
    pub async fn start(home: &Home, roles: &str, env: &Env<'_>) -> Self {
        // Nothing of it may survive, and nothing should make it linger: tests about dying need exactly that.
        let leash = Leash {
            signal: "KILL",
            grace: Duration::ZERO,
            scratch: None,
        };
        Self::start_on(&leash, home, roles, env).await
    }

    /// Starts a process that can be asked to stop, and is when it is dropped.
    pub async fn start_stoppable(home: &Home, roles: &str, env: &Env<'_>) -> Self {
        Self::start_on(&Leash::terminating(PATIENCE), home, roles, env).await
    }

    async fn start_on(leash: &Leash, home: &Home, roles: &str, env: &Env<'_>) -> Self {
        for _ in 0..START_ATTEMPTS {
            let mut replica = Self::spawn(leash, home, roles, env);
            if replica.is_up(home).await {
                return replica;
            }
            replica.show_log();
        }
        panic!("shepherd serve --roles {roles} ends by itself");
    }

    fn spawn(leash: &Leash, home: &Home, roles: &str, env: &Env<'_>) -> Self {
        let number = home.started.fetch_add(1, Ordering::Relaxed);
        let log = home.path(&format!("serve-{number}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let port = free_port();
        let mut command = leash.command(BINARY);
        home.prepare(&mut command);
        command
            .args(["serve", "--roles", roles])
            .env("SERVER_PORT", port.to_string())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        for (name, value) in env {
            // Files say nothing about what the environment says.
            if value.is_empty() {
                command.env_remove(name);
            } else {
                command.env(name, value);
            }
        }
        let process = LeashedProcess::spawn(format!("shepherd {roles}"), command, leash).unwrap();
        Self {
            roles: roles.to_owned(),
            address: format!("http://127.0.0.1:{port}"),
            log,
            process: Some(process),
        }
    }

    /// Waits until the process serves; `false` when it ended instead. Without the API it is up when it runs.
    async fn is_up(&mut self, home: &Home) -> bool {
        if !self.roles.contains("api") {
            return true;
        }
        let url = self.url("/health/ready");
        let process = self.process.as_mut();
        let Some(process) = process else { return false };
        eventually("the server is ready", PATIENCE, async || {
            if process.exit_status().unwrap().is_some() {
                return Some(false);
            }
            let answer = home.client.get(&url).send().await;
            answer.is_ok_and(|answer| answer.status() == 200).then_some(true)
        })
        .await
    }

    /// The address of an operation.
    pub fn url(&self, path: &str) -> String {
        self.site(&format!("/api/v1{path}"))
    }

    /// The address of a page beside the API.
    pub fn site(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Where the process serves its metrics, once it has said so.
    pub fn metrics_url(&self) -> Option<String> {
        let log = self.log_text();
        let (_, said) = log.split_once("metrics are served at ")?;
        let (url, _) = said.split_once("/metrics")?;
        Some(format!("{url}/metrics"))
    }

    /// Kills the process as `kill -9` does, and returns when it is gone.
    pub async fn kill(mut self) {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
    }

    /// Sends SIGTERM to a process that was started as stoppable.
    pub fn ask_to_stop(&self) {
        let process = self.process.as_ref().expect("the process was not killed");
        let id = process.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &id]).status().unwrap();
        assert!(sent.success(), "the process has ended already");
    }

    /// Waits for the end of a process that was asked to stop; answers its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let process = self.process.as_mut().expect("the process was not killed");
        let status = eventually("the process ends", PATIENCE, async || process.exit_status().unwrap()).await;
        status.code()
    }

    /// What the process has logged so far.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn show_log(&self) {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
        eprintln!("---- shepherd serve --roles {}\n{}", self.roles, end.join("\n"));
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
