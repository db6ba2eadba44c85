//! A real PostgreSQL server, for tests, the demo and the benchmarks.
//!
//! [`PostgresServer`] is the server `DATABASE_URL` names, or a private one from whatever installation this machine
//! has, or from the distribution's packages. [`TestDatabase`] is what a test asks for: a database of its own on the
//! run's server, with the schema in it. Nothing of either survives: a private server is on a leash
//! ([`crate::leash`]) and takes its data along, on other servers every database is dropped.

mod account;
mod binaries;
mod database;
mod debian;
mod own;
mod private;

use std::fs::remove_dir_all;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use url::Url;

pub use database::TestDatabase;
pub use own::{OwnServer, Stop};
use private::PrivateServer;

/// The environment variable that hands a running server to test processes: a URL whose user may create databases.
pub const SERVER_VARIABLE: &str = "SHEPHERD_TEST_SERVER_URL";
/// The environment variable that names the run, so that its databases can be told from those of another one.
pub const RUN_VARIABLE: &str = "SHEPHERD_TEST_RUN";

/// Which server to start.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// An existing server to use instead of a private one; its user needs the right to create databases.
    pub external_url: Option<String>,
    /// Where a private server keeps its data across runs, with ordinary durability. Without it the data is temporary
    /// and the server does not wait for the disk.
    pub keep_in: Option<PathBuf>,
}

impl ServerOptions {
    /// The server of `DATABASE_URL`, or a fast private one whose data goes with it.
    #[must_use]
    pub fn throwaway() -> Self {
        Self {
            external_url: std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty()),
            keep_in: None,
        }
    }

    /// The server of `DATABASE_URL`, or a private one that finds its data again in `directory`.
    #[must_use]
    pub fn kept(directory: impl Into<PathBuf>) -> Self {
        Self {
            keep_in: Some(directory.into()),
            ..Self::throwaway()
        }
    }
}

/// A server that is there as long as this value. Dropping it stops a private server and waits for its end.
#[derive(Debug)]
pub struct PostgresServer {
    admin: Url,
    description: String,
    private: Option<PrivateServer>,
}

impl PostgresServer {
    /// Connects to the given server, or starts a private one. Takes one to two seconds, plus a download where
    /// PostgreSQL is not installed.
    ///
    /// # Errors
    /// When the given server does not answer, no installation is found or brought, or the private server does not
    /// start. The message says what to do.
    pub async fn start(options: ServerOptions) -> anyhow::Result<Self> {
        if let Some(url) = options.external_url {
            let admin = Url::parse(&url).context("DATABASE_URL is not a URL")?;
            let description = greet(&admin).await.context("use the server that DATABASE_URL names")?;
            return Ok(Self {
                admin,
                description,
                private: None,
            });
        }
        let private = PrivateServer::start(options.keep_in).await?;
        Ok(Self {
            admin: private.url().clone(),
            description: private.description().to_owned(),
            private: Some(private),
        })
    }

    /// The address of one database on this server.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        database_url(&self.admin, database)
    }

    /// The address for creating and dropping databases.
    #[must_use]
    pub fn admin_url(&self) -> &Url {
        &self.admin
    }

    /// Whether somebody else runs the server.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.private.is_none()
    }

    /// Version and origin, for people.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Creates a database unless it exists. The name consists of lower-case letters, digits and underscores.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(self.admin.as_str()).await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut admin)
            .await?;
        admin.close().await?;
        if exists {
            return Ok(());
        }
        database::execute(&self.admin, &format!("CREATE DATABASE {name}")).await
    }

    /// Drops a database and whatever is connected to it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        database::execute(&self.admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
    }

    /// Drops what the test processes of one run left on a server that outlives them: the template, and databases of
    /// tests that were killed.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_databases_of(&self, run: &str) -> anyhow::Result<()> {
        let mut admin = PgConnection::connect(self.admin.as_str()).await?;
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database \
             WHERE datname = 'shepherd_template_' || $1 OR starts_with(datname::text, 'shepherd_test_' || $1 || '_')",
        )
        .bind(run)
        .fetch_all(&mut admin)
        .await?;
        admin.close().await?;
        for name in names {
            database::execute(&self.admin, &format!("ALTER DATABASE {name} WITH IS_TEMPLATE false")).await?;
            self.drop_database(&name).await?;
        }
        Ok(())
    }

    /// Stops a private server, and returns when it and its temporary data are gone.
    pub async fn stop(self) {
        if let Some(private) = self.private {
            private.stop().await;
        }
    }
}

/// Removes the data a server kept for `directory` ([`ServerOptions::kept`]), wherever it had to keep it.
///
/// # Errors
/// When something is there that cannot be removed.
pub fn remove_kept_data(directory: &Path) -> anyhow::Result<()> {
    let Ok(directory) = directory.canonicalize() else {
        return Ok(());
    };
    for path in [private::substitute_for(&directory), directory] {
        if path.exists() {
            remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Random bytes from the operating system, in hexadecimal: passwords and names of throw-away things.
///
/// # Errors
/// When the system has no random source.
pub fn random_token(bytes: usize) -> anyhow::Result<String> {
    let mut buffer = vec![0; bytes];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut buffer))
        .context("read random bytes")?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn database_url(admin: &Url, database: &str) -> String {
    let mut url = admin.clone();
    url.set_path(&format!("/{database}"));
    url.into()
}

async fn greet(admin: &Url) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect(admin.as_str()).await?;
    let version: String = sqlx::query_scalar("SELECT current_setting('server_version')")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(format!("PostgreSQL {version} from DATABASE_URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_addressed_by_its_name_with_the_options_kept() {
        let admin = Url::parse("postgres://user:secret@127.0.0.1:5432/postgres?sslmode=disable").unwrap();
        assert_eq!(
            database_url(&admin, "shepherd"),
            "postgres://user:secret@127.0.0.1:5432/shepherd?sslmode=disable"
        );
    }

    #[test]
    fn a_random_token_is_hexadecimal_and_never_the_same() {
        let token = random_token(16).unwrap();
        assert_eq!(token.len(), 32);
        assert!(token.chars().all(|character| character.is_ascii_hexdigit()));
        assert_ne!(token, random_token(16).unwrap());
    }
}
