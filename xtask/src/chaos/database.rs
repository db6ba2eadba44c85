//! A PostgreSQL that waits for the disk, behind a wire that can be cut, and that can be restarted or killed.

use std::fs::{create_dir_all, read_to_string};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use shepherd_testkit::postgres::{PostgresServer, ServerOptions, remove_kept_data};
use shepherd_testkit::proxy::Proxy;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Mutex;

const NAME: &str = "chaos";

/// The server, whichever of its lives it is in.
pub(super) struct Database {
    data: PathBuf,
    server: Mutex<Option<PostgresServer>>,
    url: std::sync::Mutex<String>,
    /// What the replicas talk to.
    pub(super) wire: Proxy,
}

impl Database {
    pub(super) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let data = directory.join("postgres");
        create_dir_all(&data)?;
        remove_kept_data(&data).context("remove what an earlier run left")?;
        let server = start(&data).await?;
        server.create_database(NAME).await?;
        let wire = Proxy::start(address(&server)?).await.context("open a proxy")?;
        Ok(Self {
            url: std::sync::Mutex::new(server.url(NAME)),
            data,
            server: Mutex::new(Some(server)),
            wire,
        })
    }

    /// The address of the wire, for replicas.
    pub(super) fn url_of_wire(&self) -> anyhow::Result<String> {
        let direct = self.direct_url();
        // postgres://user:password@host:port/name
        let (before, rest) = direct.split_once('@').context("the address names a user")?;
        let (_, after) = rest.split_once('/').context("the address names a database")?;
        Ok(format!("{before}@{}/{after}", self.wire.address()))
    }

    fn direct_url(&self) -> String {
        match self.url.lock() {
            Ok(url) => url.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// A session of our own, past the wire.
    pub(super) async fn connect(&self) -> anyhow::Result<PgConnection> {
        PgConnection::connect(&self.direct_url())
            .await
            .context("connect to PostgreSQL")
    }

    /// Stops the server in order, or at once and without a checkpoint, and starts it again on the same data.
    pub(super) async fn restart(&self, at_once: bool) -> anyhow::Result<()> {
        let mut running = self.server.lock().await;
        if at_once {
            self.quit().await?;
        }
        if let Some(server) = running.take() {
            server.stop().await;
        }
        let server = start(&self.data).await.context("start PostgreSQL again")?;
        // The password is kept with the data; only the port is another one.
        let url = server.url(NAME);
        match self.url.lock() {
            Ok(mut known) => *known = url,
            Err(poisoned) => *poisoned.into_inner() = url,
        }
        self.wire.lead_to(address(&server)?);
        *running = Some(server);
        Ok(())
    }

    /// Tells the server to drop everything; what is committed is found again in its log.
    async fn quit(&self) -> anyhow::Result<()> {
        let mut session = self.connect().await?;
        let directory: String = sqlx::query_scalar("SELECT current_setting('data_directory')")
            .fetch_one(&mut session)
            .await?;
        let path = Path::new(&directory).join("postmaster.pid");
        let text = read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let id = text.lines().next().context("the process id of PostgreSQL")?.trim();
        signal("QUIT", id)
    }

    /// Stops the server and removes its data.
    pub(super) async fn clear(&self) {
        if let Some(server) = self.server.lock().await.take() {
            server.stop().await;
        }
        if let Err(error) = remove_kept_data(&self.data) {
            eprintln!("the data of PostgreSQL is left: {error:#}");
        }
    }
}

/// Sends a signal to one process.
pub(super) fn signal(name: &str, id: &str) -> anyhow::Result<()> {
    let status = std::process::Command::new("kill")
        .args(["-s", name, id])
        .status()
        .context("run kill")?;
    if !status.success() {
        bail!("SIG{name} could not be sent to {id}");
    }
    Ok(())
}

async fn start(data: &Path) -> anyhow::Result<PostgresServer> {
    // Kept, because only such a server waits for the disk; never somebody else's, which must not be killed.
    PostgresServer::start(ServerOptions {
        external_url: None,
        keep_in: Some(data.to_owned()),
    })
    .await
}

fn address(server: &PostgresServer) -> anyhow::Result<SocketAddr> {
    let port = server.admin_url().port().context("a private server has a port")?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}
