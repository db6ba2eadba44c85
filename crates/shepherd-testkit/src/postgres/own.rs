//! A server of one test's own, to which things happen: it is stopped, killed, started again, copied, restored, promoted.
//!
//! Its commits are on record before they are acknowledged, so whatever it acknowledged is there after a crash of its
//! processes. It still does not wait for the disk: nothing here takes the machine's power away.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use url::Url;

use super::database::execute;
use super::database_url;
use super::private::{Cluster, Home, START_ATTEMPTS, STOP_GRACE, answers, free_port, last_lines, temporary_home};
use crate::leash::{Leash, LeashedProcess};

/// How long a server may take to end, to begin again after a crash, or to be promoted.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As an administrator restarts it: sessions are ended, everything is written.
    Fast,
    /// As `pg_ctl stop -m immediate`: sessions are dropped, the next start recovers.
    Immediate,
    /// As a crash of the process: nobody is told anything.
    Kill,
}

impl Stop {
    fn signal(self) -> &'static str {
        match self {
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
            Self::Kill => "KILL",
        }
    }
}

/// See the module. Dropping it stops the server and removes its data.
pub struct OwnServer {
    // Dropped before the data directory is.
    process: Option<LeashedProcess>,
    cluster: Cluster,
    port: u16,
    settings: Vec<String>,
}

impl OwnServer {
    /// A new, empty server. The settings, each `name=value`, are added to those of every test server.
    ///
    /// # Errors
    /// When no installation is found or the server does not start.
    pub async fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let cluster = tokio::task::spawn_blocking(|| Cluster::prepare(None)).await??;
        let mut server = Self::on(cluster, settings)?;
        server.start_first().await?;
        Ok(server)
    }

    fn on(cluster: Cluster, settings: &[&str]) -> anyhow::Result<Self> {
        let mut all = vec!["synchronous_commit=on".to_owned(), "max_connections=100".to_owned()];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        Ok(Self {
            process: None,
            cluster,
            port: free_port()?,
            settings: all,
        })
    }

    async fn start_first(&mut self) -> anyhow::Result<()> {
        for _ in 0..START_ATTEMPTS {
            if self.launch().await? {
                return Ok(());
            }
            self.port = free_port()?;
        }
        bail!("the PostgreSQL server found no free port in {START_ATTEMPTS} attempts")
    }

    /// Starts the server; `false` when somebody else has its port.
    async fn launch(&mut self) -> anyhow::Result<bool> {
        let leash = Leash {
            signal: "INT",
            grace: STOP_GRACE,
            scratch: None,
        };
        let mut process = self.cluster.launch(self.port, &leash, &self.settings)?;
        if answers(&mut process, &self.admin_url()?).await? {
            self.process = Some(process);
            return Ok(true);
        }
        let log = self.cluster.read_log();
        ensure!(
            log.contains("could not bind"),
            "the PostgreSQL server did not start:\n{}",
            last_lines(&log, 15)
        );
        Ok(false)
    }

    /// The port, which stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of the server's own `postgres` database, as its superuser.
    ///
    /// # Errors
    /// Never in practice: the address is made here.
    pub fn admin_url(&self) -> anyhow::Result<Url> {
        self.cluster.url(self.port)
    }

    /// The address of a database.
    ///
    /// # Errors
    /// As for [`Self::admin_url`].
    pub fn url(&self, database: &str) -> anyhow::Result<String> {
        Ok(database_url(&self.admin_url()?, database))
    }

    /// Runs a statement in the database `postgres`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        execute(&self.admin_url()?, statement).await
    }

    /// What the server has logged since it started.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.cluster.read_log()
    }

    /// Ends the server and returns when its process is gone.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let pid =
            std::fs::read_to_string(self.cluster.data().join("postmaster.pid")).context("read the server's id")?;
        let pid = pid.lines().next().unwrap_or_default().trim().to_owned();
        let told = Command::new("kill")
            .args(["-s", how.signal(), &pid])
            .status()
            .context("run kill")?;
        ensure!(told.success(), "the server {pid} cannot be told to end");
        let deadline = Instant::now() + PATIENCE;
        while process.exit_status()?.is_none() {
            ensure!(Instant::now() < deadline, "the server {pid} does not end");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Starts a server that was ended, at the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What a killed server leaves (its children for a moment, its port) is in the way of the next one.
            match self.launch().await {
                Ok(true) => return Ok(()),
                Ok(false) => ensure!(Instant::now() < deadline, "somebody else has the port of the server"),
                Err(error) => ensure!(Instant::now() < deadline, "{error:#}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A program of the installation that talks to this server as its superuser, as the account that runs the server.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.cluster.binaries.command(self.cluster.account, name);
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGPASSWORD", &self.cluster.password)
            .stdin(Stdio::null());
        command
    }

    /// A directory that the server may write to; it goes with the server.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, name: &str) -> anyhow::Result<std::path::PathBuf> {
        let directory = self.cluster.home.path().join(name);
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        self.cluster.account.give(&directory)?;
        Ok(directory)
    }

    /// Gives a file or directory to the account that runs the server.
    ///
    /// # Errors
    /// When this process may not.
    pub fn give(&self, path: &std::path::Path) -> anyhow::Result<()> {
        self.cluster.account.give(path)
    }

    /// A copy of the running server by `pg_basebackup`, not started. `arguments` are added to the command.
    ///
    /// # Errors
    /// When the copy fails.
    pub async fn base_backup(&self, arguments: &[&str], settings: &[&str]) -> anyhow::Result<Self> {
        let copy = Cluster {
            binaries: self.cluster.binaries.clone(),
            account: self.cluster.account,
            home: Home::Temporary(temporary_home(self.cluster.account)?),
            password: self.cluster.password.clone(),
        };
        let mut command = self.program("pg_basebackup");
        command
            .arg("--pgdata")
            .arg(copy.data())
            .args(["--checkpoint=fast", "--no-sync"])
            .args(arguments);
        run_to_its_end("pg_basebackup", command).await?;
        Self::on(copy, settings)
    }

    /// Starts a copy for the first time.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_copy(&mut self) -> anyhow::Result<()> {
        self.start_first().await
    }

    /// Where the data lies, for the files that ask a copy to recover.
    #[must_use]
    pub fn data(&self) -> std::path::PathBuf {
        self.cluster.data()
    }

    /// Makes a standby the primary, and returns when it is one.
    ///
    /// # Errors
    /// When it does not become one.
    pub async fn promote(&self) -> anyhow::Result<()> {
        let mut command = self.program("pg_ctl");
        command
            .arg("promote")
            .arg("--pgdata")
            .arg(self.data())
            .args(["--wait", "--timeout=60"]);
        run_to_its_end("pg_ctl promote", command).await
    }
}

/// Runs a program; its words are the error when it fails.
async fn run_to_its_end(name: &str, mut command: Command) -> anyhow::Result<()> {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
