//! A PostgreSQL server of our own: its data directory, its start and its end.

use std::fs::{File, create_dir_all, read_to_string, set_permissions, write};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use url::Url;

use super::account::Account;
use super::binaries::Binaries;
use super::random_token;
use crate::leash::{Leash, LeashedProcess};

/// How long a server may take until it answers; recovery of a kept data directory is included.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a fast shutdown may take before the server is killed.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(20);
/// Another process can take the free port between our look and the server's start, so the start is tried again.
pub(super) const START_ATTEMPTS: u32 = 5;

/// Settings of every private server: loopback only, no sockets in the file system, plain times.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "jit=off",
    // Measurements ask when a row was committed.
    "track_commit_timestamp=on",
];

/// Settings of a server whose data nobody will miss: it does not wait for the disk, and many tests share it.
const THROWAWAY_SETTINGS: [&str; 5] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=300",
    "shared_buffers=256MB",
];

/// A running private server. Dropping it stops it.
#[derive(Debug)]
pub(super) struct PrivateServer {
    process: LeashedProcess,
    url: Url,
    description: String,
}

impl PrivateServer {
    /// Starts a server whose data lives in `kept`, or in a temporary directory that goes with it.
    pub(super) async fn start(kept: Option<PathBuf>) -> anyhow::Result<Self> {
        let cluster = tokio::task::spawn_blocking(move || Cluster::prepare(kept)).await??;
        cluster.start().await
    }

    /// The address of the server's own `postgres` database.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Version and place, for people.
    pub(super) fn description(&self) -> &str {
        &self.description
    }

    /// Stops the server and waits until it is gone, its temporary data included.
    pub(super) async fn stop(self) {
        self.process.stop().await;
    }
}

/// Where a server lives: its data directory, its password and its log.
pub(super) enum Home {
    /// Stays.
    Kept(PathBuf),
    /// Is removed with this value, until a running server's leash takes over.
    Temporary(TempDir),
}

impl Home {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// Leaves the removal to somebody else.
    fn hand_over(self) {
        if let Self::Temporary(directory) = self {
            let _ = directory.keep();
        }
    }
}

/// An initialised data directory and whatever is needed to run a server on it.
pub(super) struct Cluster {
    pub(super) binaries: Binaries,
    pub(super) account: Account,
    pub(super) home: Home,
    pub(super) password: String,
}

impl Cluster {
    pub(super) fn prepare(kept: Option<PathBuf>) -> anyhow::Result<Self> {
        let account = Account::choose()?;
        let binaries = Binaries::find_or_bring(account)?;
        let home = match kept {
            Some(wanted) => Home::Kept(kept_home(account, &wanted)?),
            None => Home::Temporary(temporary_home(account)?),
        };
        let mut cluster = Self {
            binaries,
            account,
            home,
            password: String::new(),
        };
        cluster.initialise()?;
        Ok(cluster)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("server.log")
    }

    /// Makes the data directory, unless an earlier run did.
    fn initialise(&mut self) -> anyhow::Result<()> {
        let password_file = self.home.path().join("password");
        if self.data().join("PG_VERSION").is_file() {
            self.password = read_to_string(&password_file).context("read the password of the kept server")?;
            return Ok(());
        }
        self.password = random_token(16)?;
        write(&password_file, &self.password).context("write the server's password")?;
        set_permissions(&password_file, std::fs::Permissions::from_mode(0o600))?;
        self.account.give(&password_file)?;
        let leash = self.leash("TERM");
        let mut command = leash.command(self.binaries.path("initdb"));
        command
            .arg("--pgdata")
            .arg(self.data())
            .arg("--pwfile")
            .arg(&password_file)
            .args([
                "--username=postgres",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
            ]);
        if !self.home.is_kept() {
            command.arg("--no-sync");
        }
        if !self.spawn("initdb", command, &leash)?.wait()?.success() {
            bail!("initdb failed:\n{}", last_lines(&self.read_log(), 15));
        }
        Ok(())
    }

    /// A leash that takes temporary data along, whenever this process ends.
    fn leash(&self, signal: &'static str) -> Leash {
        Leash {
            signal,
            grace: STOP_GRACE,
            scratch: (!self.home.is_kept()).then(|| self.home.path().to_owned()),
        }
    }

    /// Starts a program of the installation as the server's account, with its output in the log.
    fn spawn(&self, name: &str, mut command: Command, leash: &Leash) -> anyhow::Result<LeashedProcess> {
        self.account.apply(&mut command);
        self.binaries.apply(&mut command);
        let log = File::create(self.log()).context("create the server's log")?;
        command.stdout(log.try_clone()?).stderr(log);
        LeashedProcess::spawn(name, command, leash)
    }

    pub(super) fn read_log(&self) -> String {
        read_to_string(self.log()).unwrap_or_default()
    }

    async fn start(self) -> anyhow::Result<PrivateServer> {
        for _ in 0..START_ATTEMPTS {
            let port = free_port()?;
            let mut process = self.launch(port, &self.leash("INT"), &[])?;
            let url = self.url(port)?;
            if answers(&mut process, &url).await? {
                self.home.hand_over();
                return Ok(PrivateServer {
                    process,
                    url,
                    description: self.binaries.describe(),
                });
            }
            let log = self.read_log();
            if !log.contains("could not bind") {
                bail!("the PostgreSQL server did not start:\n{}", last_lines(&log, 15));
            }
        }
        bail!("the PostgreSQL server found no free port in {START_ATTEMPTS} attempts")
    }

    /// Starts the server; of settings that are given twice the later ones count.
    pub(super) fn launch(&self, port: u16, leash: &Leash, further: &[String]) -> anyhow::Result<LeashedProcess> {
        let mut command = leash.command(self.binaries.path("postgres"));
        command.arg("-D").arg(self.data()).arg("-c").arg(format!("port={port}"));
        let settings: &[&str] = if self.home.is_kept() { &[] } else { &THROWAWAY_SETTINGS };
        for setting in SETTINGS.iter().chain(settings) {
            command.args(["-c", *setting]);
        }
        for setting in further {
            command.arg("-c").arg(setting);
        }
        self.spawn("postgres", command, leash)
    }

    pub(super) fn url(&self, port: u16) -> anyhow::Result<Url> {
        let address = format!(
            "postgres://postgres:{}@127.0.0.1:{port}/postgres?sslmode=disable",
            self.password
        );
        Url::parse(&address).context("write the server's address")
    }
}

/// Waits until the server answers; `false` when it has ended instead.
pub(super) async fn answers(process: &mut LeashedProcess, url: &Url) -> anyhow::Result<bool> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if process.exit_status()?.is_some() {
            return Ok(false);
        }
        match PgConnection::connect(url.as_str()).await {
            Ok(connection) => {
                connection.close().await?;
                return Ok(true);
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("the PostgreSQL server does not answer");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A fresh directory of the account's, in the first temporary directory it can reach.
pub(super) fn temporary_home(account: Account) -> anyhow::Result<TempDir> {
    for parent in [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()] {
        let Ok(directory) = tempfile::Builder::new().prefix("shepherd-postgres-").tempdir_in(parent) else {
            continue;
        };
        account.give(directory.path())?;
        if account.can_write_in(directory.path()) {
            return Ok(directory);
        }
    }
    bail!("no temporary directory is usable for the account that runs PostgreSQL; set TMPDIR to one")
}

/// The wanted directory; or, when the account cannot reach it (root's home, usually), one that stands for it.
fn kept_home(account: Account, wanted: &Path) -> anyhow::Result<PathBuf> {
    create_dir_all(wanted).with_context(|| format!("create {}", wanted.display()))?;
    let wanted = wanted.canonicalize()?;
    let substitute = substitute_for(&wanted);
    for directory in [wanted, substitute] {
        create_dir_all(&directory)?;
        set_permissions(&directory, std::fs::Permissions::from_mode(0o700))?;
        account.give(&directory)?;
        if account.can_write_in(&directory) {
            return Ok(directory);
        }
    }
    bail!("the account that runs PostgreSQL can reach no directory to keep its data in")
}

/// A directory any account can reach, the same at every run for the same wanted directory.
pub(super) fn substitute_for(wanted: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    PathBuf::from(format!("/var/tmp/shepherd-postgres-{:016x}", hasher.finish()))
}

pub(super) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
