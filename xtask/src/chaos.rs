//! `cargo xtask chaos`: users work while replicas, the database and clusters fail; afterwards every operation is
//! accounted for. Before that the tests are run that take too long for every day ([`long_tests`]).
//!
//! [`stage`] is what runs: a durable PostgreSQL behind a switchable wire ([`database`]), simulated clusters, replicas
//! ([`replicas`]). [`people`] ask for operations and note what they were told, an [`approver`] decides what waits,
//! [`trouble`] is what goes wrong, [`verdict`] compares what was accepted with what became of it. Everything that happens
//! by chance follows from one number, which is printed and can be given again; how the processes interleave does not
//! follow from it.

mod approver;
mod database;
mod dice;
mod long_tests;
mod people;
mod replicas;
mod stage;
mod trouble;
mod verdict;

use std::collections::BTreeMap;
use std::fs::create_dir_all;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::compile;
use crate::progress::Step;
use crate::signals::Signals;
use crate::workspace::Workspace;
use dice::Dice;
use people::Operation;
use stage::Stage;
use verdict::Report;

/// How long what is left may take once nothing goes wrong any more. Work that a cluster did not take is tried again
/// after growing pauses.
const QUIET_LIMIT: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(500);
const USERS: usize = 6;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long things go wrong; the end takes up to five minutes more
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=12))]
    minutes: u64,
    /// Leave out the tests that take long
    #[arg(long)]
    without_tests: bool,
    /// The number that an earlier run printed
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let directory = workspace.scratch().join("chaos");
    create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let _claim = crate::bench::claim(&directory.join("lock"))?;
    let tests = if options.without_tests {
        BTreeMap::new()
    } else {
        long_tests::run(workspace).await?
    };
    let step = Step::begin("building shepherd and its simulated clusters");
    let built = compile::build(workspace, &["--workspace", "--all-targets"], &step).await?;
    step.done("");
    let seed = options.seed.unwrap_or_else(dice::chance);
    println!("seed {seed}");
    let mut signals = Signals::listen()?;
    let step = Step::begin("preparing");
    let stage = Stage::prepare(workspace, &built, directory.clone(), USERS).await?;
    step.done(&format!("3 replicas, 2 clusters, {USERS} users"));
    let outcome = tokio::select! {
        () = signals.stop_requested() => Err(anyhow::anyhow!("interrupted")),
        outcome = play(&stage, Duration::from_secs(options.minutes * 60), seed) => outcome,
    };
    stage.clear().await;
    let mut report = outcome.with_context(|| format!("a run with --seed {seed}"))?;
    report.set_tests(tests);
    let path = directory.join("report.json");
    std::fs::write(&path, format!("{:#}\n", report.document())).context("write target/chaos/report.json")?;
    println!("\n{report}\nwrote target/chaos/report.json");
    if report.is_clean() {
        return Ok(());
    }
    bail!(
        "operations were lost or doubled, or tests failed; the logs are in {}",
        directory.display()
    )
}

async fn play(stage: &Stage, duration: Duration, seed: u64) -> anyhow::Result<Report> {
    let step = Step::begin("chaos");
    step.detail(&format!("for {} s", duration.as_secs()));
    let until = Instant::now() + duration;
    let working = people::work_all(stage, seed, until);
    let disturbing = trouble::disturb(stage, Dice::new(seed), until);
    let (operations, troubles, ()) = tokio::join!(working, disturbing, approver::approve_all(stage, until));
    let troubles = troubles?;
    let stops = stage.replicas.lock().await.counts();
    step.done(&format!("{} operations", operations.len()));

    let step = Step::begin("waiting for quiet");
    let quiet_after = wait_for_quiet(stage, &operations).await?;
    step.done("");
    let mut report = verdict::compare(stage, operations).await?;
    report.set_run(seed, duration, quiet_after, troubles, stops);
    Ok(report)
}

/// Waits until every ticket is at its end and every row says what its machine should do. What is still open after the
/// limit shows in the report.
async fn wait_for_quiet(stage: &Stage, operations: &[Operation]) -> anyhow::Result<Duration> {
    let calm = Instant::now();
    while calm.elapsed() < QUIET_LIMIT {
        stage.replicas.lock().await.revive()?;
        // A replica may not be up yet.
        let _ = approver::approve_waiting(stage).await;
        if let Ok(true) = verdict::is_quiet(stage, operations).await {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(calm.elapsed())
}
