//! What every measurement lies on: databases on one private server, and `shepherd` processes on leashes.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use shepherd_testkit::leash::{Leash, LeashedProcess};
use shepherd_testkit::postgres::{PostgresServer, random_token};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::http::{Connection, request};
use crate::workspace::Workspace;

const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_GRACE: Duration = Duration::from_secs(15);
/// Start-up is measured by asking this often.
const READY_POLL: Duration = Duration::from_millis(2);

/// The server, the binary, and where logs go.
pub(super) struct Bed<'a> {
    workspace: &'a Workspace,
    server: &'a PostgresServer,
    shepherd: PathBuf,
    fleet: PathBuf,
    directory: PathBuf,
    first_password: String,
}

/// A migrated and seeded database of one measurement.
pub(super) struct Database {
    name: &'static str,
    url: String,
}

/// A running `shepherd serve`. Dropping it stops it.
pub(super) struct Served {
    process: LeashedProcess,
    /// The port of the API, which nobody listens on unless the process has that role.
    pub(super) port: u16,
    /// From exec to the first answer that says it is ready; nothing without the API.
    pub(super) ready_after: Duration,
}

impl Served {
    pub(super) async fn stop(self) {
        self.process.stop().await;
    }
}

impl<'a> Bed<'a> {
    pub(super) fn new(
        workspace: &'a Workspace,
        server: &'a PostgresServer,
        shepherd: &Path,
        fleet: &Path,
        directory: PathBuf,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            workspace,
            server,
            shepherd: shepherd.canonicalize().context("find the built shepherd")?,
            fleet: fleet.canonicalize().context("find the built shepherd-fleet")?,
            directory,
            first_password: format!("bench-first-{}", random_token(8)?),
        })
    }

    /// The executable under test.
    pub(super) fn shepherd(&self) -> &Path {
        &self.shepherd
    }

    /// Where the product's source lies.
    pub(super) fn workspace(&self) -> &Workspace {
        self.workspace
    }

    /// The program that simulates many clusters.
    pub(super) fn fleet(&self) -> &Path {
        &self.fleet
    }

    /// The password the seeded administrator starts with.
    pub(super) fn first_password(&self) -> &str {
        &self.first_password
    }

    /// Where the programs of a measurement may write.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The server, for programs that are told its address piece by piece.
    pub(super) fn server(&self) -> &PostgresServer {
        self.server
    }

    /// Creates a database with schema and seeds.
    pub(super) async fn database(&self, name: &'static str) -> anyhow::Result<Database> {
        self.server.create_database(name).await?;
        let database = Database {
            name,
            url: self.server.url(name),
        };
        for arguments in [["migrate", "up"].as_slice(), &["seed"]] {
            let output = tokio::process::Command::new(&self.shepherd)
                .args(arguments)
                .current_dir(&self.directory)
                .envs(self.environment(&database))
                .env("SEED_ADMIN_PASSWORD", &self.first_password)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output()
                .await
                .context("run shepherd")?;
            if !output.status.success() {
                let errors = String::from_utf8_lossy(&output.stderr);
                bail!("shepherd {} failed:\n{}", arguments.join(" "), errors.trim());
            }
        }
        Ok(database)
    }

    /// Runs `shepherd serve` with these roles and waits until it is ready, which only the API can say.
    pub(super) async fn serve(&self, database: &Database, roles: &str) -> anyhow::Result<Served> {
        self.serve_with(database, roles, &[]).await
    }

    /// As [`Self::serve`], with more in its environment.
    pub(super) async fn serve_with(
        &self,
        database: &Database,
        roles: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Served> {
        let (port, metrics_port) = (free_port()?, free_port()?);
        let log_path = self.directory.join(format!("{}.log", database.name));
        let log = File::create(&log_path).with_context(|| format!("create {}", log_path.display()))?;
        let leash = Leash::terminating(STOP_GRACE);
        let mut command = leash.command(&self.shepherd);
        command
            .args(["serve", "--roles", roles])
            .current_dir(&self.directory)
            .envs(self.environment(database))
            .env("SERVER_BIND", "127.0.0.1")
            .env("SERVER_PORT", port.to_string())
            .env("SERVER_SHUTDOWN_TIMEOUT", "5s")
            // A few users stand for very many.
            .env("SERVER_API_RATE_PER_USER", "100000/s, burst 100000")
            .env("SERVER_HEAVY_WRITE_LIMIT", "1000")
            .env("SERVER_LIGHT_WRITE_LIMIT", "1000")
            .env("METRICS_PORT", metrics_port.to_string())
            .envs(environment.iter().copied())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = Instant::now();
        let mut process = LeashedProcess::spawn("shepherd", command, &leash)?;
        let serves_api = roles.split(',').any(|role| role == "api");
        while serves_api && !is_ready(port).await {
            if process.exit_status()?.is_some() || started.elapsed() > READY_LIMIT {
                let said = std::fs::read_to_string(&log_path).unwrap_or_default();
                bail!("shepherd did not become ready:\n{}", said.trim());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        let ready_after = started.elapsed();
        Ok(Served {
            process,
            port,
            ready_after,
        })
    }

    fn environment(&self, database: &Database) -> [(&'static str, String); 2] {
        [
            ("DATABASE_URL", database.url.clone()),
            ("SEED_DIR", self.workspace.root().join("seed").display().to_string()),
        ]
    }
}

impl Database {
    pub(super) fn name(&self) -> &str {
        self.name
    }

    /// A session of our own.
    pub(super) async fn connect(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.url).await.context("connect to PostgreSQL")
    }
}

/// Runs statements that take no parameters. Their text is made of constants of the bench and of ids.
pub(super) async fn execute(db: &mut PgConnection, sql: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(db)
        .await
        .with_context(|| format!("run {sql}"))?;
    Ok(())
}

async fn is_ready(port: u16) -> bool {
    let Ok(mut connection) = Connection::open(port).await else {
        return false;
    };
    let reply = connection.send(&request("GET", "/health/ready", None, None)).await;
    reply.is_ok_and(|reply| reply.status == 200)
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
