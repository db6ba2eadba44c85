//! Clients and call permits, per cluster.
//!
//! A client belongs to one version of a cluster's credentials. The version is looked up again when it was last seen
//! too long ago or when somebody says that it changed; a new one makes a new client, and calls that are under way
//! finish on the old one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::clusters::{CredentialProvider, RestConfig};
use shepherd_ports::providers::ProviderError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long the connection to an API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a write may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client and the version of the credentials it was built from.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The client.
    pub client: Client,
    /// Changes whenever the credentials do.
    pub version: String,
}

/// Clients and permits of all clusters.
pub(crate) struct Registry {
    credentials: Arc<dyn CredentialProvider>,
    concurrency: usize,
    refresh: Duration,
    slots: Mutex<HashMap<ClusterId, Arc<Slot>>>,
}

struct Slot {
    permits: Arc<Semaphore>,
    // Held while credentials are looked up, so that a burst of calls looks them up once.
    known: tokio::sync::Mutex<Option<Known>>,
    stale: AtomicBool,
}

struct Known {
    connection: Connection,
    allow_insecure_tls: bool,
    checked_at: Instant,
}

impl Registry {
    /// An empty registry. `refresh` is the longest time a credential version is trusted without looking again.
    pub(crate) fn new(credentials: Arc<dyn CredentialProvider>, concurrency: usize, refresh: Duration) -> Self {
        Self {
            credentials,
            concurrency,
            refresh,
            slots: Mutex::default(),
        }
    }

    /// Says that the credentials of a cluster may have changed.
    pub(crate) fn invalidate(&self, cluster: ClusterId) {
        self.slot(cluster).stale.store(true, Ordering::Release);
    }

    /// A permit for one call; dropping it gives it back.
    ///
    /// # Errors
    /// Unavailable when none is free in time.
    pub(crate) async fn permit(
        &self,
        cluster: ClusterId,
        wait: Duration,
    ) -> Result<OwnedSemaphorePermit, ProviderError> {
        let permits = Arc::clone(&self.slot(cluster).permits);
        match tokio::time::timeout(wait, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(ProviderError::Unavailable("no call permit was free in time".to_owned())),
        }
    }

    /// The client of a cluster.
    ///
    /// # Errors
    /// Unavailable when the cluster is not registered or its credentials cannot be loaded or used.
    pub(crate) async fn connection(&self, cluster: ClusterId) -> Result<Connection, ProviderError> {
        let slot = self.slot(cluster);
        let mut known = slot.known.lock().await;
        let stale = slot.stale.swap(false, Ordering::AcqRel);
        if let Some(known) = known
            .as_ref()
            .filter(|known| !stale && known.checked_at.elapsed() < self.refresh)
        {
            return Ok(known.connection.clone());
        }
        let config = match self.credentials.rest_config(cluster).await {
            Ok(Some(config)) => config,
            Ok(None) => {
                *known = None;
                return Err(ProviderError::Unavailable("the cluster is not registered".to_owned()));
            }
            Err(error) => {
                // Nothing was learned, so the next call has to look again.
                slot.stale.store(true, Ordering::Release);
                return Err(ProviderError::Unavailable(error.to_string()));
            }
        };
        if let Some(known) = known.as_mut().filter(|known| {
            known.connection.version == config.version && known.allow_insecure_tls == config.allow_insecure_tls
        }) {
            known.checked_at = Instant::now();
            return Ok(known.connection.clone());
        }
        let connection = Connection {
            client: client(&config).await?,
            version: config.version.clone(),
        };
        *known = Some(Known {
            connection: connection.clone(),
            allow_insecure_tls: config.allow_insecure_tls,
            checked_at: Instant::now(),
        });
        Ok(connection)
    }

    fn slot(&self, cluster: ClusterId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(cluster).or_insert_with(|| {
            Arc::new(Slot {
                permits: Arc::new(Semaphore::new(self.concurrency)),
                known: tokio::sync::Mutex::new(None),
                stale: AtomicBool::new(false),
            })
        });
        Arc::clone(slot)
    }
}

async fn client(rest: &RestConfig) -> Result<Client, ProviderError> {
    // The texts name no detail: the detail of a malformed kubeconfig may be a credential.
    let unusable = || ProviderError::Unavailable("the stored kubeconfig cannot be used".to_owned());
    let kubeconfig = Kubeconfig::from_yaml(&rest.kubeconfig).map_err(|_| unusable())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|_| unusable())?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Watches are silent for minutes; single calls are bounded by the provider and watches by the watcher.
    config.read_timeout = None;
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.accept_invalid_certs = config.accept_invalid_certs && rest.allow_insecure_tls;
    // Proxies are refused at intake and must not come back through the environment.
    config.proxy_url = None;
    // Jobs retry with a plan; a client that retries on its own would hide throttling from them.
    config.default_retry = false;
    Client::try_from(config).map_err(|_| unusable())
}
