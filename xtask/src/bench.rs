//! `cargo xtask bench`: what the product costs, as ratios and limits measured in one run on one machine.
//!
//! [`submissions`] compares accepted requests with PostgreSQL alone, [`job_start`] times the queue, [`vm_list`] reads
//! pages among many machines, [`audit`] reads and exports many audit rows, [`process`] looks at memory and start-up,
//! [`projection`] watches many clusters, [`render`] makes documents and validates sizes, [`approvals`] decides and
//! [`workbench`] lists what waits among many requests, [`end_to_end`] goes from a request to a running machine,
//! [`console`] relays the screens of many.
//! [`bed`] is what they all lie on: a private PostgreSQL with ordinary durability and a release build of `shepherd`.
//! The figures go to `target/bench.json`. A goal that is missed is reported; only a measurement that could not be made
//! fails the command.

mod approvals;
mod audit;
mod bed;
mod capture;
mod console;
mod end_to_end;
mod figure;
mod http;
mod job_start;
mod pending;
mod people;
mod pgbench;
mod process;
mod projection;
mod reconcile;
mod render;
mod replay;
pub(crate) mod soak;
mod submissions;
mod vm_list;
mod workbench;

use std::fs::{File, TryLockError, create_dir_all};

use anyhow::{Context as _, bail};
use serde_json::json;
use shepherd_testkit::postgres::{PostgresServer, ServerOptions, remove_kept_data};

use crate::compile::{self, Executables};
use crate::progress::Step;
use crate::signals::Signals;
use crate::workspace::Workspace;
use bed::Bed;
use figure::Figure;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measure only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Subject>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// Accepted requests per second, against pgbench running the same statements
    #[value(alias = "a")]
    Submissions,
    /// From the commit of a job to its start
    #[value(alias = "b")]
    JobStart,
    /// A page of machines among 100,000
    #[value(alias = "c")]
    VmList,
    /// Memory at rest, and time from exec to ready
    #[value(alias = "d")]
    Process,
    /// A page of audit rows among 100,000, and their export
    #[value(alias = "e")]
    Audit,
    /// 20 clusters of 1,000 machines: first list, lag, memory, writes
    #[value(alias = "f")]
    Projection,
    /// A run of the reconciler over 20,000 rows
    #[value(alias = "g")]
    Reconcile,
    /// A document, and 1,000 sizes against a schema
    #[value(alias = "h")]
    Render,
    /// Decisions per second while 10,000 requests wait, against pgbench running the same statements
    #[value(alias = "i")]
    Approvals,
    /// The first page of the workbench while 10,000 requests wait
    #[value(alias = "j")]
    Workbench,
    /// From a request to a running machine, and operations per second
    #[value(alias = "k")]
    EndToEnd,
    /// 200 consoles of 1 MiB/s through one replica
    #[value(alias = "l")]
    Console,
}

/// Everything, in the order of the report.
const SUBJECTS: [Subject; 12] = [
    Subject::Submissions,
    Subject::JobStart,
    Subject::VmList,
    Subject::Process,
    Subject::Audit,
    Subject::Projection,
    Subject::Reconcile,
    Subject::Render,
    Subject::Approvals,
    Subject::Workbench,
    Subject::EndToEnd,
    Subject::Console,
];

impl Subject {
    fn title(self) -> &'static str {
        match self {
            Self::Submissions => "requests against pgbench",
            Self::JobStart => "commit to job start",
            Self::VmList => "a page among many machines",
            Self::Process => "memory and start-up",
            Self::Audit => "the audit log",
            Self::Projection => "20,000 watched machines",
            Self::Reconcile => "20,000 reconciled rows",
            Self::Render => "documents and sizes",
            Self::Approvals => "decisions among many requests",
            Self::Workbench => "the workbench among many requests",
            Self::EndToEnd => "request to running machine",
            Self::Console => "200 consoles",
        }
    }

    async fn measure(self, bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Submissions => submissions::measure(bed, step).await,
            Self::JobStart => job_start::measure(bed, step).await,
            Self::VmList => vm_list::measure(bed, step).await,
            Self::Process => process::measure(bed, step).await,
            Self::Audit => audit::measure(bed, step).await,
            Self::Projection => projection::measure(bed, step).await,
            Self::Reconcile => reconcile::measure(bed, step).await,
            Self::Render => render::measure(bed, step).await,
            Self::Approvals => approvals::measure(bed, step).await,
            Self::Workbench => workbench::measure(bed, step).await,
            Self::EndToEnd => end_to_end::measure(bed, step).await,
            Self::Console => console::measure(bed, step).await,
        }
    }
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let directory = workspace.scratch().join("bench");
    create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let _claim = claim(&directory.join("lock"))?;
    let built = build(workspace).await?;
    let mut signals = Signals::listen()?;
    // The data is kept in the sense of the test kit, because only such a server waits for the disk.
    let data = directory.join("postgres");
    create_dir_all(&data)?;
    remove_kept_data(&data).context("remove what an earlier run left")?;
    let step = Step::begin("starting PostgreSQL");
    let server = PostgresServer::start(ServerOptions {
        external_url: None,
        keep_in: Some(data.clone()),
    })
    .await?;
    step.done("");
    let (shepherd, fleet) = (built.path("shepherd")?, built.path("shepherd-fleet")?);
    let bed = Bed::new(workspace, &server, shepherd, fleet, directory)?;
    let mut figures = Vec::new();
    let outcome = tokio::select! {
        () = signals.stop_requested() => Err(anyhow::anyhow!("interrupted")),
        outcome = measure(&bed, &options.only, &mut figures) => outcome,
    };
    drop(bed);
    server.stop().await;
    remove_kept_data(&data)?;
    report(workspace, &figures)?;
    outcome
}

/// Builds what is run: the product, and the clusters it watches.
async fn build(workspace: &Workspace) -> anyhow::Result<Executables> {
    let step = Step::begin("building shepherd and its simulated clusters (release)");
    let product = ["--release", "--package", "shepherd-app", "--bin", "shepherd"];
    let clusters = ["--package", "shepherd-simulator", "--bin", "shepherd-fleet"];
    let built = compile::build(workspace, &[product.as_slice(), &clusters].concat(), &step).await?;
    step.done("");
    Ok(built)
}

async fn measure(bed: &Bed<'_>, only: &[Subject], figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    for subject in SUBJECTS {
        if only.is_empty() || only.contains(&subject) {
            let step = Step::begin(subject.title());
            let measured = subject.measure(bed, &step).await;
            figures.extend(measured.with_context(|| format!("measure {}", subject.title()))?);
            step.done("");
        }
    }
    Ok(())
}

/// Prints the figures and writes them to `target/bench.json`.
fn report(workspace: &Workspace, figures: &[Figure]) -> anyhow::Result<()> {
    if figures.is_empty() {
        return Ok(());
    }
    println!();
    for figure in figures {
        println!("{figure}");
    }
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let document = json!({"cores": cores, "figures": figures});
    let path = workspace.scratch().join("bench.json");
    std::fs::write(&path, format!("{document:#}\n")).context("write target/bench.json")?;
    println!("\nwrote target/bench.json");
    Ok(())
}

/// Two benches at once would measure each other. The system unlocks the file however this one ends.
pub(crate) fn claim(path: &std::path::Path) -> anyhow::Result<File> {
    let lock = File::create(path).context("create target/bench/lock")?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!("another bench of this workspace is running"),
        Err(TryLockError::Error(error)) => Err(error).context("lock target/bench/lock"),
    }
}
