//! `shepherd doctor`.

use serde_json::json;
use shepherd_ports::health::QueueHealthQueries as _;
use shepherd_usecases::doctor::{self, Finding};

use crate::bootstrap;
use crate::config::Config;

/// Prints what was found; an error when that is anything, so that scripts notice.
pub(super) async fn run(config: &Config, json: bool) -> anyhow::Result<()> {
    let findings = look(config).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        for finding in &findings {
            println!("{:<28} {}", finding.check, finding.message);
        }
        if findings.is_empty() {
            println!("Nothing to report.");
        }
    }
    anyhow::ensure!(findings.is_empty(), "{} findings", findings.len());
    Ok(())
}

/// What stands in the way of the other checks is a finding of its own.
async fn look(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let store = match bootstrap::connect(config).await {
        Ok(store) => store,
        Err(error) => {
            return Ok(vec![Finding::new(
                "database_unreachable",
                format!("{error:#}"),
                json!({}),
            )]);
        }
    };
    let pending = migrations::pending(store.connection()).await?;
    if !pending.is_empty() {
        store.close().await?;
        let message = format!("{} migrations are pending; run `shepherd migrate up`", pending.len());
        let details = json!({"migrations": pending});
        return Ok(vec![Finding::new("migrations_pending", message, details)]);
    }
    let wired = bootstrap::wire(config, store).await?;
    let mut findings = doctor::execute(&wired.platform).await?;
    if let Some(health) = wired.store.queue_health().await? {
        findings.extend(doctor::look_at_queue(&health));
    }
    wired.store.close().await?;
    Ok(findings)
}
