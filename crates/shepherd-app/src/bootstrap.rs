//! The composition root: every adapter is constructed and wired here, by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use shepherd_crypto::{KeyRing, MasterKey};
use shepherd_identity::{Argon2Hasher, JwtIssuer, Sha512CryptHasher};
use shepherd_kubevirt::{CallLimits, Intake, KubeVirtProvider, KubeVirtRenderer};
use shepherd_notify::GuardedClient;
use shepherd_ports::crypto::{Cipher, Digests, KeyStore};
use shepherd_ports::encryption_keys::EncryptionKeyQueries;
use shepherd_ports::secrets::{SecretName, SecretStore};
use shepherd_ports::{Clock, IdSource, UnitOfWorkFactory};
use shepherd_postgres::{ConnectOptions, PgStore};
use shepherd_usecases::cluster::credentials::DatabaseCredentials;
use shepherd_usecases::console::token::KeyLooks;
use shepherd_usecases::execution::{Operations, steps};
use shepherd_usecases::settings::LiveSettings;
use shepherd_usecases::{Platform, auth::SubjectCache, schema::SchemaCache};
use zeroize::Zeroizing;

use crate::config::Config;
use crate::extensions::Extensions;
use crate::host::{SystemClock, UuidV7Source};
use crate::reload::Follower;
use crate::telemetry::OpenTelemetryContext;

/// Connections for migrations: one holds the lock, the queue's library and the steps have the others.
const MIGRATION_CONNECTIONS: u32 = 4;
/// Sessions that leases, heartbeats and notifications need beside those of the worker.
const BESIDE_WORKERS: u32 = 5;

/// Everything a command needs.
pub struct Wired {
    /// The store, for the worker and for health.
    pub store: PgStore,
    /// The ports and settings.
    pub platform: Arc<Platform>,
    /// The operations tickets can ask for.
    pub operations: Arc<Operations>,
    /// What lets the adapters take over changes of the configuration while the process runs.
    pub adapters: Follower,
}

/// Connects to the database.
///
/// # Errors
/// When the address cannot be understood or the database does not answer.
pub async fn connect(config: &Config) -> anyhow::Result<PgStore> {
    open(&connect_options(config)?).await
}

/// The same for migrations: a step may take as long as it needs. It waits for a lock no longer than everything else does,
/// since requests would wait behind it.
///
/// # Errors
/// As [`connect`].
pub async fn connect_for_migrations(config: &Config) -> anyhow::Result<PgStore> {
    let mut options = connect_options(config)?;
    options.statement_timeout = Duration::ZERO;
    options.max_connections = MIGRATION_CONNECTIONS;
    options.min_connections = 1;
    open(&options).await
}

fn connect_options(config: &Config) -> anyhow::Result<ConnectOptions> {
    let database = &config.database;
    let mut options = ConnectOptions::new(database.connection_url().context("database.url")?);
    options.session_url = database.session_url().context("database.worker_host")?;
    options.max_connections = database.max_conns;
    options.min_connections = database.min_conns;
    let workers = u32::try_from(config.queue.max_workers).unwrap_or(u32::MAX);
    options.max_session_connections = workers.saturating_add(BESIDE_WORKERS);
    options.max_lifetime = database.max_conn_lifetime;
    options.idle_timeout = database.max_conn_idle_time;
    options.lock_timeout = database.lock_timeout;
    options.statement_timeout = database.statement_timeout;
    Ok(options)
}

async fn open(options: &ConnectOptions) -> anyhow::Result<PgStore> {
    PgStore::connect(options)
        .await
        .context("the database cannot be reached (database.url or database.host, .port, .user, .password)")
}

/// Wires the product as it is shipped. The secrets of the installation are made at the first start.
///
/// # Errors
/// When a secret does not fit what was sealed before, or the database fails.
pub async fn wire(config: &Config, store: PgStore) -> anyhow::Result<Wired> {
    wire_with(config, store, &Extensions::default()).await
}

/// Wires the product with what another program adds to it.
///
/// # Errors
/// As [`wire`].
pub async fn wire_with(config: &Config, store: PgStore, extensions: &Extensions) -> anyhow::Result<Wired> {
    wire_as(&instance_name(), config, store, extensions).await
}

/// Wires the product under the name that this process has elsewhere, too.
///
/// # Errors
/// As [`wire`].
pub async fn wire_as(
    instance: &str,
    config: &Config,
    store: PgStore,
    extensions: &Extensions,
) -> anyhow::Result<Wired> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(UuidV7Source);
    let key_ring = Arc::new(key_ring(config, &store).await?);
    let session_secret = session_secret(config, &store).await?;
    let digests = Arc::new(InstallationDigests {
        key: Zeroizing::new(session_secret.as_bytes().to_vec()),
    });
    let further = config
        .security
        .jwt_verification_keys
        .iter()
        .map(|key| Zeroizing::new(key.as_bytes().to_vec()))
        .collect();
    let tokens = JwtIssuer::new(Zeroizing::new(session_secret.as_bytes().to_vec()), further)
        .context("security.session_secret")?;

    let cipher: Arc<dyn Cipher> = key_ring.clone();
    let keys: Arc<dyn KeyStore> = key_ring.clone();
    let credentials = Arc::new(DatabaseCredentials::new(
        Arc::new(store.clone()),
        Arc::clone(&cipher),
        Arc::clone(&keys),
        Arc::new(store.clone()),
    ));
    let limits = CallLimits {
        call_timeout: config.k8s.call_timeout,
        concurrency: config.k8s.cluster_concurrency,
        total_concurrency: config.worker.k8s_pool_size,
        requests_per_second: config.k8s.qps,
        burst: config.k8s.burst,
        breaker_failures: config.k8s.breaker_failures,
        breaker_open: config.k8s.breaker_open,
        ..CallLimits::default()
    };
    let provider = Arc::new(KubeVirtProvider::new(credentials, Arc::clone(&clock), limits));
    let intake = Arc::new(Intake::new(
        config.security.allow_insecure_clusters,
        config.security.outbound_allowlist.clone(),
    ));
    let outbound = Arc::new(GuardedClient::new(config.security.outbound_allowlist.clone()));
    let adapters = adapters(Arc::clone(&provider), Arc::clone(&intake), Arc::clone(&outbound));
    let mut settings = config.settings(instance.to_owned());
    settings.mask = config.mask.load().map_err(anyhow::Error::msg)?;
    let platform = Platform {
        store: Arc::new(store.clone()),
        read: Arc::new(store.clone()),
        leases: Arc::new(store.clone()),
        snapshots: provider.clone(),
        clones: provider.clone(),
        migrations: provider.clone(),
        consoles: provider.clone(),
        instance_types: provider.clone(),
        cluster_schemas: provider.clone(),
        schemas: SchemaCache::default(),
        provider,
        changes: Arc::new(store.clone()),
        renderer: Arc::new(KubeVirtRenderer),
        intake,
        cipher,
        keys,
        console_sealer: key_ring,
        token_key_looks: KeyLooks::default(),
        digests,
        passwords: Arc::new(Argon2Hasher::new(Argon2Hasher::DEFAULT_CONCURRENCY)?),
        guest_passwords: Arc::new(Sha512CryptHasher::default()),
        tokens: Arc::new(tokens),
        notifications: extensions.sender(),
        outbound,
        live: LiveSettings::new(settings),
        traces: Arc::new(OpenTelemetryContext),
        clock,
        ids,
        subjects: SubjectCache::default(),
        step_hook: steps::hook(),
    };
    Ok(Wired {
        store,
        platform: Arc::new(platform),
        operations: Arc::new(Operations::all()?),
        adapters,
    })
}

/// What of the configuration changes in adapters while the process runs.
fn adapters(provider: Arc<KubeVirtProvider>, intake: Arc<Intake>, outbound: Arc<GuardedClient>) -> Follower {
    Arc::new(move |config: &Config| {
        provider.set_pace(config.k8s.cluster_concurrency, config.k8s.qps, config.k8s.burst);
        intake.set_allowlist(config.security.outbound_allowlist.clone());
        outbound.set_allowlist(config.security.outbound_allowlist.clone());
    })
}

/// What of the configuration changes in the rules while the process runs: everything but the name of the process and
/// the mask, which was read at the start.
pub fn rules(platform: Arc<Platform>) -> Follower {
    Arc::new(move |config: &Config| {
        let now = platform.settings();
        let mut settings = config.settings(now.controllers.instance.clone());
        settings.mask = Arc::clone(&now.mask);
        platform.live.replace(settings);
    })
}

/// A name that tells replicas apart, also on one host.
pub fn instance_name() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host
        .map(|host| host.trim().to_owned())
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| "shepherd".to_owned());
    format!("{host}-{:08x}", UuidV7Source.next() & 0xffff_ffff)
}

/// The ring with every stored key.
async fn key_ring(config: &Config, store: &PgStore) -> anyhow::Result<KeyRing> {
    let root = installation_key(config, store).await?;
    let root_id = root.id().to_owned();
    let ring = KeyRing::new(root);
    let mut uow = store.begin().await?;
    uow.encryption_keys().note_root(&root_id, SystemClock.now()).await?;
    uow.commit().await?;
    let stored = store.stored_keys().await?;
    if let Err(error) = ring.install(&stored) {
        bail!(
            "ENCRYPTION_KEY has id {root_id}, but rows are sealed with another key ({error}); start with that key (or, when it is the \
             one in the database, without ENCRYPTION_KEY), and change keys only by `shepherd keys rotate --from-db`"
        );
    }
    Ok(ring)
}

/// ENCRYPTION_KEY, or what the first start put into the database.
async fn installation_key(config: &Config, store: &PgStore) -> anyhow::Result<MasterKey> {
    if let Some(given) = &config.security.encryption_key {
        return MasterKey::from_base64(given).context("ENCRYPTION_KEY");
    }
    // In this order: a first start elsewhere stores its key before it notes it.
    let is_first_start = store.stored_keys().await?.is_empty();
    if !is_first_start && store.stored(SecretName::EncryptionKey).await?.is_none() {
        bail!("the key of this installation is not in the database; start with ENCRYPTION_KEY");
    }
    let candidate = MasterKey::generate()?.to_base64();
    let stored = store.load_or_create(SecretName::EncryptionKey, candidate).await?;
    MasterKey::from_base64(&stored).context("the stored encryption key")
}

async fn session_secret(config: &Config, store: &PgStore) -> anyhow::Result<Zeroizing<String>> {
    match &config.security.session_secret {
        Some(given) => Ok(given.to_text()),
        None => {
            let candidate = MasterKey::generate()?.to_base64();
            Ok(store.load_or_create(SecretName::SessionSecret, candidate).await?)
        }
    }
}

/// Digests under the session secret of the installation.
struct InstallationDigests {
    key: Zeroizing<Vec<u8>>,
}

impl Digests for InstallationDigests {
    fn sha256_hex(&self, bytes: &[u8]) -> String {
        shepherd_crypto::sha256_hex(bytes)
    }

    fn keyed_hex(&self, text: &str) -> String {
        shepherd_crypto::keyed_hash(&self.key, text)
    }

    fn hmac_hex(&self, key: &[u8], bytes: &[u8]) -> String {
        shepherd_crypto::hmac_hex(key, bytes)
    }

    fn is_hmac_hex(&self, key: &[u8], bytes: &[u8], hex: &str) -> bool {
        shepherd_crypto::is_hmac_hex(key, bytes, hex)
    }
}
