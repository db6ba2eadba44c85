//! The running simulator: starts the server and the controllers, and ends them.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};

use crate::access::{Grant, User};
use crate::api::{self, ApiState};
use crate::cluster::Cluster;
use crate::config::SimulatorConfig;
use crate::credentials::{Credentials, url_of};
use crate::faults::Faults;
use crate::inspect::ClusterHandle;
use crate::schema::Schemas;
use crate::store::Store;
use crate::{controller, host, seed, state};

/// The API server's limit for request bodies, in bytes.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// How long an idle connection stays open. Longer than clients keep theirs pooled would be wrong for a real
/// server; shorter makes clients run into connections that are just being closed.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// How long a new connection may say nothing. An API server waits as long; a client that opens two connections and uses
/// one of them has the other closed under its next request.
const FIRST_REQUEST: Duration = Duration::from_secs(32);
/// How often a changed state is written to its file.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Why a simulator could not start or keep its files.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// Certificates could not be made.
    #[error("cannot make certificates")]
    Certificates(#[from] rcgen::Error),
    /// The TLS configuration was refused.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// A certificate or key is not valid PEM.
    #[error("cannot read a certificate or key")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot read or write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A definition of a custom resource cannot be used.
    #[error("cannot use the definition of {name}: {why}")]
    Definition {
        /// The definition, or the file it should be in.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The state file is not one of this program's.
    #[error("{path} is not a simulator state file")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A running cluster. Dropping it, or [`Simulator::stop`], ends it.
#[derive(Debug)]
pub struct Simulator {
    name: String,
    address: SocketAddr,
    credentials: Credentials,
    cluster: Arc<Cluster>,
    handle: ClusterHandle,
    faults: Faults,
    server: ServerGuard,
    state_file: Option<PathBuf>,
}

/// `ServerHandle` cannot be debug-printed.
struct ServerGuard(ServerHandle);

impl std::fmt::Debug for ServerGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerGuard")
    }
}

impl Simulator {
    /// Starts a cluster; it answers as soon as this returns. Must be called within a tokio runtime, which then
    /// drives the controllers.
    ///
    /// # Errors
    /// When the address is taken, the state file cannot be read, or a definition cannot be used.
    pub async fn start(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        let loaded = config.state_file.as_deref().map(state::load).transpose()?.flatten();
        let schemas = Schemas::of(&config.crds)?;
        let (credentials, mut store) = match loaded {
            Some(loaded) => loaded,
            None => {
                let mut store = Store::default();
                seed::fill(&mut store, &config.seed);
                (Credentials::generate(&config.name, config.certificate)?, store)
            }
        };
        seed::define(&mut store, &schemas);
        let cluster = Arc::new(Cluster::new(config.seed, schemas, store));
        let faults = Faults::new(Arc::clone(&cluster));
        let (address, server) = serve(&cluster, &credentials, &faults, config.bind)?;
        if config.controllers {
            host::spawn(controller::run(Arc::clone(&cluster), config.timing));
        }
        if let Some(path) = config.state_file.clone() {
            host::spawn(keep(path, credentials.clone(), Arc::clone(&cluster)));
        }
        tracing::info!(
            cluster = config.name,
            url = url_of(address),
            "the simulated cluster is up"
        );
        Ok(Self {
            name: config.name,
            address,
            credentials,
            handle: ClusterHandle::new(Arc::clone(&cluster)),
            cluster,
            faults,
            server: ServerGuard(server),
            state_file: config.state_file,
        })
    }

    /// The API server's URL, for example `https://127.0.0.1:41234`.
    pub fn url(&self) -> String {
        url_of(self.address)
    }

    /// A kubeconfig (YAML) of an administrator: inline authority, inline token, one context, which is current.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_of(&User::Admin, self.credentials.admin_token())
    }

    /// A kubeconfig of a user who is known but may do nothing: every resource answers 403. Discovery and
    /// health checks work, as they do for every authenticated user of a real cluster.
    pub fn restricted_kubeconfig(&self) -> String {
        self.kubeconfig_of(&User::Restricted, self.credentials.restricted_token())
    }

    /// Makes a user who may do what the grants say and nothing else, and returns the user's kubeconfig. The
    /// user is forgotten when the cluster ends, also with a state file.
    pub fn add_user(&self, name: &str, grants: &[Grant]) -> String {
        let token = host::new_token();
        let user = User::Limited(self.credentials.accounts().add(name, grants, &token));
        self.kubeconfig_of(&user, &token)
    }

    fn kubeconfig_of(&self, user: &User, token: &str) -> String {
        self.credentials
            .kubeconfig(&self.name, self.address, user.name(), token)
    }

    /// Writes [`Simulator::kubeconfig`] to a file only its owner can read.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<(), SimulatorError> {
        state::write_private(path, &self.kubeconfig())
    }

    /// The switches for everything that can go wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Objects and the request log, behind the API's back.
    pub fn cluster(&self) -> &ClusterHandle {
        &self.handle
    }

    /// Ends the cluster: open watches and hanging requests are cut, the state file is written.
    pub async fn stop(mut self) {
        self.cluster.shutdown.cancel();
        self.save();
        self.server.0.stop(false).await;
    }

    fn save(&mut self) {
        let Some(path) = self.state_file.take() else { return };
        if let Err(error) = state::save(&path, &self.credentials, &self.cluster) {
            tracing::error!(error = &error as &dyn std::error::Error, "the state is lost");
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.cluster.shutdown.cancel();
        self.save();
        // The command is sent when the future is made; nobody can wait for it here.
        drop(self.server.0.stop(false));
    }
}

fn serve(
    cluster: &Arc<Cluster>,
    credentials: &Credentials,
    faults: &Faults,
    bind: SocketAddr,
) -> Result<(SocketAddr, ServerHandle), SimulatorError> {
    let state = web::Data::new(ApiState {
        cluster: Arc::clone(cluster),
        credentials: credentials.clone(),
        faults: faults.clone(),
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(web::PayloadConfig::new(BODY_LIMIT))
            .default_service(web::to(api::handle))
    })
    .workers(1)
    .disable_signals()
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(FIRST_REQUEST)
    .bind_rustls_0_23(bind, credentials.tls()?)
    .map_err(|source| SimulatorError::Bind { address: bind, source })?;
    let address = server.addrs().first().copied().unwrap_or(bind);
    let server = server.run();
    let handle = server.handle();
    host::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the simulated API server failed"
            );
        }
    });
    Ok((address, handle))
}

/// Writes the state file whenever something changed, at most once per interval.
async fn keep(path: PathBuf, credentials: Credentials, cluster: Arc<Cluster>) {
    let mut saved = 0;
    loop {
        if cluster.read(Store::revision) != saved {
            match state::save(&path, &credentials, &cluster) {
                Ok(revision) => saved = revision,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the state cannot be saved");
                }
            }
        }
        tokio::select! {
            () = cluster.shutdown.cancelled() => return,
            () = tokio::time::sleep(SAVE_INTERVAL) => {}
        }
    }
}
