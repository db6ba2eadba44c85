//! `cargo xtask test`: everything CI runs, in the order in which failures are cheapest to find.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use shepherd_testkit::postgres::{PostgresServer, RUN_VARIABLE, SERVER_VARIABLE, ServerOptions, random_token};

use crate::progress::{Step, seconds};
use crate::signals::Signals;
use crate::workspace::Workspace;
use crate::{compile, docs, examples, manifests, openapi, tidy};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run the remaining stages after one has failed
    #[arg(long)]
    keep_going: bool,
    /// Leave out the dependency policy, the documentation tests and the examples, which seldom fail; CI never does
    #[arg(long)]
    fast: bool,
}

/// What a stage does.
#[derive(Clone, Copy)]
enum Work {
    Cargo(&'static [&'static str]),
    CargoWithDatabase(&'static [&'static str]),
    Tests,
    DependencyPolicy,
    Examples,
    Tidy,
    Documentation,
    Manifests,
    OpenApi,
}

struct Stage {
    name: &'static str,
    work: Work,
    is_in_fast_run: bool,
}

const STAGES: [Stage; 10] = [
    Stage {
        name: "formatting",
        work: Work::Cargo(&["fmt", "--all", "--check"]),
        is_in_fast_run: true,
    },
    Stage {
        name: "tidy",
        work: Work::Tidy,
        is_in_fast_run: true,
    },
    Stage {
        name: "documentation",
        work: Work::Documentation,
        is_in_fast_run: true,
    },
    Stage {
        name: "manifests",
        work: Work::Manifests,
        is_in_fast_run: true,
    },
    Stage {
        name: "dependency policy",
        work: Work::DependencyPolicy,
        is_in_fast_run: false,
    },
    Stage {
        name: "clippy",
        work: Work::Cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
        is_in_fast_run: true,
    },
    Stage {
        name: "tests",
        work: Work::Tests,
        is_in_fast_run: true,
    },
    Stage {
        name: "documentation tests",
        work: Work::CargoWithDatabase(&["test", "--workspace", "--doc"]),
        is_in_fast_run: false,
    },
    Stage {
        name: "examples",
        work: Work::Examples,
        is_in_fast_run: false,
    },
    Stage {
        name: "OpenAPI document",
        work: Work::OpenApi,
        is_in_fast_run: true,
    },
];

/// How a stage ended.
enum Outcome {
    Passed,
    Skipped(&'static str),
    Failed(anyhow::Error),
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut database = Database::default();
    let outcome = tokio::select! {
        () = signals.stop_requested() => Err(anyhow::anyhow!("interrupted")),
        outcome = run_stages(workspace, options, &mut database) => outcome,
    };
    // Even when a stage failed or somebody pressed Ctrl-C. Should this process be killed outright, the server's
    // leash ends a private server all the same.
    database.stop().await;
    outcome
}

async fn run_stages(workspace: &Workspace, options: &Options, database: &mut Database) -> anyhow::Result<()> {
    let mut results: Vec<(&str, Duration, Outcome)> = Vec::new();
    for stage in STAGES.iter().filter(|stage| stage.is_in_fast_run || !options.fast) {
        eprintln!("\n== {}", stage.name);
        let started = Instant::now();
        let outcome = run_stage(workspace, stage.work, database).await;
        let took = started.elapsed();
        eprintln!("== {}: {} in {}", stage.name, word(&outcome), seconds(took));
        let is_end = matches!(outcome, Outcome::Failed(_)) && !options.keep_going;
        results.push((stage.name, took, outcome));
        if is_end {
            break;
        }
    }
    summarise(&results)
}

async fn run_stage(workspace: &Workspace, work: Work, database: &mut Database) -> Outcome {
    let result = match work {
        Work::Cargo(arguments) => cargo(workspace, arguments, &[]).await,
        Work::CargoWithDatabase(arguments) => match database.environment().await {
            Ok(environment) => cargo(workspace, arguments, &environment).await,
            Err(error) => Err(error),
        },
        Work::Tests => match database.environment().await {
            Ok(environment) => run_tests(workspace, &environment).await,
            Err(error) => Err(error),
        },
        Work::DependencyPolicy => {
            if !is_cargo_deny_installed(workspace).await {
                return Outcome::Skipped("cargo-deny is not installed; `cargo install --locked cargo-deny` adds it");
            }
            // Advisories change without a commit and need the network; the workflow on the forge looks at them.
            cargo(workspace, &["deny", "check", "bans", "licenses", "sources"], &[]).await
        }
        Work::Examples => examples::run(workspace).await,
        Work::Tidy => tidy::run(workspace),
        Work::Documentation => docs::check_and_build(workspace).await,
        Work::Manifests => manifests::run(workspace, &manifests::Options::default()).await,
        Work::OpenApi => check_openapi(workspace).await,
    };
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error),
    }
}

async fn cargo(workspace: &Workspace, arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<()> {
    let status = workspace
        .cargo()
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .status()
        .await
        .context("run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

/// Test programs that run at the same time. Most of them wait for something most of the time.
const AT_ONCE: usize = 2;

/// Builds all tests and runs their programs side by side; each one's output is shown when it ends.
async fn run_tests(workspace: &Workspace, environment: &[(&str, String)]) -> anyhow::Result<()> {
    let step = Step::begin("building the tests");
    let mut binaries = compile::build_tests(workspace, &["--workspace", "--all-targets"], &step).await?;
    step.done("");
    // The end-to-end tests take longest, so the others run beside them.
    binaries.sort_by_key(|binary| !binary.name.starts_with("shepherd-app "));
    let started = Instant::now();
    let mut runs = futures::stream::iter(binaries)
        .map(|binary| async move { (run_binary(&binary, environment).await, binary) })
        .buffer_unordered(AT_ONCE);
    let mut failed = Vec::new();
    while let Some((result, binary)) = runs.next().await {
        let (succeeded, output, took) = result?;
        eprintln!("-- {}: {}\n{output}", binary.name, seconds(took));
        if !succeeded {
            failed.push(binary.name);
        }
    }
    eprintln!("-- all tests: {}", seconds(started.elapsed()));
    if !failed.is_empty() {
        bail!("tests failed in {}", failed.join(", "));
    }
    Ok(())
}

async fn run_binary(
    binary: &compile::TestBinary,
    environment: &[(&str, String)],
) -> anyhow::Result<(bool, String, Duration)> {
    let started = Instant::now();
    let output = tokio::process::Command::new(&binary.path)
        .current_dir(&binary.package)
        .env("CARGO_MANIFEST_DIR", &binary.package)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {}", binary.path.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Ok((output.status.success(), text, started.elapsed()))
}

async fn is_cargo_deny_installed(workspace: &Workspace) -> bool {
    let answer = workspace.cargo().args(["deny", "--version"]).output().await;
    answer.is_ok_and(|output| output.status.success())
}

/// Builds with the selection of the tests, so that nothing is compiled a second time with other features.
async fn check_openapi(workspace: &Workspace) -> anyhow::Result<()> {
    let step = Step::begin("building shepherd");
    let built = compile::build(workspace, &["--workspace", "--all-targets"], &step).await?;
    step.done("");
    openapi::check(workspace, &built).await
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Skipped(reason) => format!("SKIPPED ({reason})"),
        Outcome::Failed(error) => format!("FAILED ({error:#})"),
    }
}

fn summarise(results: &[(&str, Duration, Outcome)]) -> anyhow::Result<()> {
    eprintln!("\n== summary");
    for (name, took, outcome) in results {
        eprintln!("{name:<22} {:>8}  {}", seconds(*took), word(outcome));
    }
    let failed = results
        .iter()
        .filter(|(_, _, outcome)| matches!(outcome, Outcome::Failed(_)))
        .count();
    if failed > 0 {
        bail!("{failed} of {} stages failed", results.len());
    }
    Ok(())
}

/// The database server of one run, started when a stage first needs it.
#[derive(Default)]
struct Database {
    started: Option<(PostgresServer, String)>,
}

impl Database {
    /// What test processes need in their environment to use the server.
    async fn environment(&mut self) -> anyhow::Result<[(&'static str, String); 2]> {
        if self.started.is_none() {
            let step = Step::begin("starting PostgreSQL");
            let server = PostgresServer::start(ServerOptions::throwaway()).await?;
            step.done(server.description());
            self.started = Some((server, random_token(4)?));
        }
        let (server, run) = self.started.as_ref().context("the server was started above")?;
        Ok([
            (SERVER_VARIABLE, server.admin_url().to_string()),
            (RUN_VARIABLE, run.clone()),
        ])
    }

    /// Leaves nothing of the run: a private server ends, on another one the run's databases are dropped.
    async fn stop(self) {
        let Some((server, run)) = self.started else {
            return;
        };
        if server.is_external()
            && let Err(error) = server.drop_databases_of(&run).await
        {
            eprintln!("databases named shepherd_*_{run} may be left on the server: {error:#}");
        }
        server.stop().await;
    }
}
