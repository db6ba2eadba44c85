//! `shepherd seed`.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde::de::DeserializeOwned;
use shepherd_usecases::seed::{self, Seeds};
use zeroize::Zeroizing;

use crate::bootstrap;
use crate::config::Config;

/// Characters of a generated password.
const PASSWORD_LENGTH: usize = 24;

/// How the first administrator gets a password.
#[derive(Args)]
pub(super) struct Options {
    /// Make up no password for the first administrator: fail without SEED_ADMIN_PASSWORD when there is none yet. For
    /// those whose output nobody reads
    #[arg(long)]
    password_required: bool,
}

pub(super) async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    let seeds = Seeds {
        roles: read(&config.seed.dir, "roles.yaml")?,
        templates: read(&config.seed.dir, "templates.yaml")?,
        sizes: read(&config.seed.dir, "instance_sizes.yaml")?,
    };
    let store = bootstrap::connect(config).await?;
    refuse_pending(&store).await?;
    let wired = bootstrap::wire(config, store).await?;
    let given = std::env::var("SEED_ADMIN_PASSWORD").ok().map(Zeroizing::new);
    if options.password_required && given.is_none() && !seed::has_admin(&wired.platform).await? {
        anyhow::bail!("there is no administrator yet: SEED_ADMIN_PASSWORD has to say the first one's password");
    }
    let generated = given.is_none();
    let password = match given {
        Some(password) => password,
        None => shepherd_crypto::random_password(PASSWORD_LENGTH)?,
    };
    let done = seed::execute(&wired.platform, seeds, password.clone()).await?;
    for (kind, names) in [
        ("roles", &done.roles),
        ("templates", &done.templates),
        ("instance sizes", &done.sizes),
    ] {
        match names.len() {
            0 => println!("{kind}: all present"),
            _ => println!("{kind}: created {}", names.join(", ")),
        }
    }
    match (done.admin, generated) {
        (true, true) => println!(
            "administrator: user `{}`, password `{}` (shown once; it must be changed at the first login)",
            seed::ADMIN,
            *password
        ),
        (true, false) => println!(
            "administrator: user `{}`, password from SEED_ADMIN_PASSWORD (it must be changed at the first login)",
            seed::ADMIN
        ),
        (false, _) => println!("administrator: present"),
    }
    wired.store.close().await?;
    Ok(())
}

/// Refuses to work on a schema that is not this version's.
pub(super) async fn refuse_pending(store: &shepherd_postgres::PgStore) -> anyhow::Result<()> {
    let pending = migrations::pending(store.connection()).await?;
    anyhow::ensure!(
        pending.is_empty(),
        "{} migrations are pending; run `shepherd migrate up` first",
        pending.len()
    );
    Ok(())
}

fn read<T: DeserializeOwned>(directory: &Path, name: &str) -> anyhow::Result<Vec<T>> {
    let path = directory.join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} (seed.dir)", path.display()))?;
    // Errors name the place and repeat no lines: user data may hold what is nobody's business.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options).with_context(|| path.display().to_string())
}
