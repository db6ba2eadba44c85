//! `cargo xtask soak`: simulated clusters that are never well, for as long as one likes; afterwards every row says
//! what its machine does.
//!
//! Everything that happens by chance follows from one number, which is printed and can be given again.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs::create_dir_all;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use shepherd_testkit::postgres::{PostgresServer, ServerOptions};
use sqlx::PgConnection;

use super::bed::{Bed, execute};
use super::projection::{ENVIRONMENT, ROLES, register};
use crate::fleet::Fleet;
use crate::progress::Step;
use crate::signals::Signals;
use crate::workspace::Workspace;

const CLUSTERS: u32 = 3;
const MACHINES: u32 = 70;
/// How long rows may differ once nothing goes wrong any more: the longest pause between two attempts to reach a
/// cluster, and some time to list it.
const QUIET_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);
/// Most differences that are shown.
const SHOWN: usize = 20;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the clusters are disturbed
    #[arg(long, default_value_t = 10)]
    minutes: u32,
    /// The number that an earlier soak printed
    #[arg(long)]
    seed: Option<u32>,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let directory = workspace.scratch().join("soak");
    create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let _claim = super::claim(&directory.join("lock"))?;
    let built = super::build(workspace).await?;
    let mut signals = Signals::listen()?;
    let server = PostgresServer::start(ServerOptions::throwaway()).await?;
    let (shepherd, fleet) = (built.path("shepherd")?, built.path("shepherd-fleet")?);
    let bed = Bed::new(workspace, &server, shepherd, fleet, directory)?;
    let seed = options.seed.unwrap_or_else(chance);
    println!("seed {seed}");
    let outcome = tokio::select! {
        () = signals.stop_requested() => Err(anyhow::anyhow!("interrupted")),
        outcome = soak(&bed, options.minutes, seed) => outcome,
    };
    drop(bed);
    server.stop().await;
    outcome.with_context(|| format!("a soak of {} minutes with --seed {seed}", options.minutes))
}

fn chance() -> u32 {
    u32::try_from(RandomState::new().hash_one("soak") >> 32).unwrap_or_default()
}

async fn soak(bed: &Bed<'_>, minutes: u32, seed: u32) -> anyhow::Result<()> {
    let step = Step::begin("soak");
    step.detail("preparing");
    let database = bed.database("soak").await?;
    let mut fleet = Fleet::start(bed.fleet(), bed.directory(), CLUSTERS, MACHINES).await?;
    register(bed, &database, &fleet).await?;
    let mut db = database.connect().await?;
    execute(&mut db, &fleet.rows()).await?;
    let served = bed.serve_with(&database, ROLES, &ENVIRONMENT).await?;
    step.detail(&format!("disturbing {CLUSTERS} clusters for {minutes} minutes"));
    let (events, _) = fleet.obey(&format!("chaos {seed} {}", minutes * 60)).await?;
    step.detail("waiting for quiet");
    let calm = Instant::now();
    let differences = loop {
        let differences = differences(&mut fleet, &mut db).await?;
        if differences.is_empty() || calm.elapsed() > QUIET_LIMIT {
            break differences;
        }
        tokio::time::sleep(POLL).await;
    };
    served.stop().await;
    if !differences.is_empty() {
        let shown = differences.len().min(SHOWN);
        bail!(
            "after {events} events {} of {} rows differ from their machines:\n{}",
            differences.len(),
            fleet.size(),
            differences[..shown].join("\n")
        );
    }
    let rows = fleet.size();
    step.done(&format!(
        "{events} events, {rows} rows equal after {:.1} s",
        calm.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The rows that do not say what their machines do.
async fn differences(fleet: &mut Fleet, db: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let rows: Vec<(String, String, Option<String>, bool)> =
        sqlx::query_as("SELECT name, status, status_reason, first_running_at IS NOT NULL FROM vms")
            .fetch_all(db)
            .await?;
    let (_, state) = fleet.obey("state").await?;
    let machines: BTreeMap<&str, &str> = state.iter().filter_map(|line| line.split_once(' ')).collect();
    let differs = |(name, status, reason, has_run): &(String, String, Option<String>, bool)| {
        let printable = machines.get(name.as_str()).copied().unwrap_or_default();
        let expected = expected(printable, *has_run);
        let found = (status.as_str(), reason.as_deref());
        (found != expected).then(|| format!("{name} is {printable}, its row {found:?} instead of {expected:?}"))
    };
    Ok(rows.iter().filter_map(differs).collect())
}

/// Status and reason of a row whose machine says this (kubernetes.md §2).
fn expected(printable: &str, has_run: bool) -> (&'static str, Option<&str>) {
    match printable {
        "Running" => ("RUNNING", None),
        "Stopped" => ("STOPPED", None),
        "Stopping" => ("STOPPING", None),
        "Paused" => ("PAUSED", None),
        "Migrating" => ("MIGRATING", None),
        "Starting" if has_run => ("PENDING", Some(printable)),
        "Starting" => ("CREATING", Some(printable)),
        "CrashLoopBackOff" | "ErrorUnschedulable" => ("FAILED", Some(printable)),
        other => ("UNKNOWN", Some(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_depends_on_the_past() {
        assert_eq!(expected("Starting", true), ("PENDING", Some("Starting")));
        assert_eq!(expected("Starting", false), ("CREATING", Some("Starting")));
        assert_eq!(expected("Levitating", false), ("UNKNOWN", Some("Levitating")));
    }
}
