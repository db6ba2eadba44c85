//! `shepherd break-glass`.

use anyhow::Context;
use shepherd_usecases::bootstrap::break_glass;

use super::seed::refuse_pending;
use crate::bootstrap;
use crate::config::Config;
use crate::extensions::Extensions;

pub(super) async fn run(config: &Config, extensions: &Extensions, user: &str) -> anyhow::Result<()> {
    let store = bootstrap::connect(config).await?;
    refuse_pending(&store).await?;
    let wired = bootstrap::wire_with(config, store, extensions).await?;
    let until = break_glass::execute(&wired.platform, user)
        .await
        .with_context(|| format!("user `{user}` must exist and be enabled"))?;
    println!(
        "`{user}` holds the Bootstrap role (platform:admin) until {}.",
        until.format("%Y-%m-%d %H:%M UTC")
    );
    println!("It was recorded in the audit log, and the platform administrators were told.");
    println!("It ends earlier when an administrator removes the binding or sets the user's password.");
    wired.store.close().await?;
    Ok(())
}
