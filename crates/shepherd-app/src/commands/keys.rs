//! `shepherd keys`.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use shepherd_crypto::{KeyRing, MasterKey};
use shepherd_ports::crypto::{CipherError, StoredKey};
use shepherd_ports::encryption_keys::EncryptionKeyQueries;
use shepherd_ports::secrets::{SecretName, SecretStore};
use shepherd_usecases::encryption::change_root::{self, Rewrap};
use shepherd_usecases::encryption::{reencrypt, rotate};

use super::seed::refuse_pending;
use crate::bootstrap;
use crate::config::{Config, Secret};

/// What to do with encryption keys.
#[derive(Subcommand)]
pub(super) enum Keys {
    /// Shows the keys and how many values each seals.
    List,
    /// Makes a new key and seals everything with it, while the installation serves.
    ///
    /// With --from-db or --from-env the installation itself gets the key of ENCRYPTION_KEY; replicas need that variable
    /// when they are started the next time.
    Rotate(Rotate),
}

/// Where the present key of the installation is, when that one is to be replaced.
#[derive(Args)]
pub(super) struct Rotate {
    /// In the database: it moves to ENCRYPTION_KEY and leaves the database.
    #[arg(long, conflicts_with = "from_env")]
    from_db: bool,
    /// In this variable: it is replaced by ENCRYPTION_KEY.
    #[arg(long, value_name = "VARIABLE")]
    from_env: Option<String>,
}

pub(super) async fn run(config: Config, what: Keys) -> anyhow::Result<()> {
    match what {
        Keys::List => list(&config).await,
        Keys::Rotate(Rotate {
            from_db: false,
            from_env: None,
        }) => rotate_data_key(&config).await,
        Keys::Rotate(Rotate { from_env, .. }) => replace(config, from_env).await,
    }
}

async fn list(config: &Config) -> anyhow::Result<()> {
    let store = bootstrap::connect(config).await?;
    refuse_pending(&store).await?;
    println!("{:<10} {:<8} {:<20} sealed values", "key", "state", "in use since");
    for key in store.list_encryption_keys().await? {
        let state = if key.active { "active" } else { "retired" };
        let since = key.created_at.format("%Y-%m-%d %H:%M UTC");
        println!("{:<10} {state:<8} {since:<20} {}", key.key_id, key.sealed_rows);
    }
    Ok(store.close().await?)
}

async fn rotate_data_key(config: &Config) -> anyhow::Result<()> {
    let store = bootstrap::connect(config).await?;
    refuse_pending(&store).await?;
    let wired = bootstrap::wire(config, store).await?;
    let key = rotate::by_command(&wired.platform).await?;
    println!("Key {key} seals from now on.");
    let resealed = reencrypt::execute(&wired.platform).await?;
    println!("{resealed} values were sealed anew. Older keys are removed when nothing needs them any more.");
    Ok(wired.store.close().await?)
}

async fn replace(mut config: Config, from_env: Option<String>) -> anyhow::Result<()> {
    let new = config
        .security
        .encryption_key
        .take()
        .context("ENCRYPTION_KEY must hold the new key")?;
    let new = MasterKey::from_base64(&new).context("ENCRYPTION_KEY")?;
    let store = bootstrap::connect(&config).await?;
    refuse_pending(&store).await?;
    let old = match &from_env {
        Some(variable) => std::env::var(variable).with_context(|| format!("{variable} must hold the present key"))?,
        None => match store.stored(SecretName::EncryptionKey).await? {
            Some(stored) => stored.to_string(),
            None => bail!("the database holds no key; name the variable of the present one with --from-env"),
        },
    };
    let rewrapping = Replacement {
        old: KeyRing::new(MasterKey::from_base64(&old).context("the present key")?),
        new,
    };
    config.security.encryption_key = Some(Secret::new(old));
    let wired = bootstrap::wire(&config, store).await?;
    change_root::execute(&wired.platform, &rewrapping).await?;
    println!(
        "The key of the installation is {} now. Running replicas go on; start them with this ENCRYPTION_KEY from now on.",
        rewrapping.new.id()
    );
    Ok(wired.store.close().await?)
}

struct Replacement {
    old: KeyRing,
    new: MasterKey,
}

impl Rewrap for Replacement {
    fn rewrap(&self, stored: &StoredKey) -> Result<Vec<u8>, CipherError> {
        self.old.rewrap(stored, &self.new)
    }

    fn root_id(&self) -> &str {
        self.new.id()
    }
}
