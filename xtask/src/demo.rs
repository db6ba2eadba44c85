//! `cargo xtask demo`: the whole product on one machine, and nothing of it left afterwards.
//!
//! [`stack`] starts and stops the processes, [`populate`] fills the running product through its API, [`walk`] shows
//! what to do with it. Everything written lies in `target/demo`; a demo that is brought up [for a program](during) has
//! a directory of its own.

pub(crate) mod api;
mod place;
mod populate;
mod stack;
pub(crate) mod walk;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::Context as _;

use crate::compile::{self, Executables};
use crate::progress::Step;
use crate::signals::Signals;
use crate::workspace::Workspace;
use place::{Place, write_private};
use stack::Stack;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The port of the API on 127.0.0.1
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Keep the data in target/demo, and go on with what an earlier run kept
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let place = Place::claim(workspace, "demo", options.keep)?;
    refuse_taken_port(options.port)?;
    place.prepare()?;
    let mut signals = Signals::listen()?;
    let mut stack = Stack::default();
    let outcome = tokio::select! {
        () = signals.stop_requested() => Ok(()),
        outcome = bring_up_and_watch(workspace, options, &place, &mut stack) => outcome,
    };
    eprintln!();
    let step = Step::begin("stopping");
    stack.stop().await;
    let left = place.leave();
    step.done(if options.keep {
        "the data is kept in target/demo"
    } else {
        "nothing is left behind"
    });
    outcome.and(left)
}

/// Returns only when something went wrong: a demo ends by being told to.
async fn bring_up_and_watch(
    workspace: &Workspace,
    options: &Options,
    place: &Place,
    stack: &mut Stack,
) -> anyhow::Result<()> {
    let step = Step::begin("building");
    // The whole workspace, so that every development command shares one build of the dependencies.
    let built = compile::build(workspace, &["--workspace", "--bins"], &step).await?;
    step.done("shepherd, shepherd-simulator");

    let url = bring_up(workspace, &built, place, stack, options.port).await?;
    let script = place.path(walk::NAME);
    let walk = std::fs::read_to_string(&script).context("read the walk")?;
    println!(
        "\nShepherd runs at {url}; Ctrl-C stops it. Addresses and passwords: {}",
        place.announcement().display()
    );
    println!("A walk through it (`bash {}`, or paste):\n\n{walk}", script.display());
    stack.watch().await
}

/// Brings up a demo in a directory of that name, has something done with its `demo.json` there, and takes it down. The
/// directory stays when something went wrong.
pub(crate) async fn during(
    workspace: &Workspace,
    name: &str,
    built: &Executables,
    work: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let place = Place::claim(workspace, name, false)?;
    place.prepare()?;
    let mut stack = Stack::default();
    let outcome = match bring_up(workspace, built, &place, &mut stack, stack::free_port()?).await {
        Ok(_) => {
            let announcement = place.announcement();
            tokio::select! {
                ended = stack.watch() => ended,
                done = work(announcement.as_path()) => done,
            }
        }
        Err(error) => Err(error),
    };
    stack.stop().await;
    match outcome {
        Ok(()) => place.leave(),
        Err(error) => Err(error.context(format!("the logs are in {}", place.directory().display()))),
    }
}

/// Starts everything, fills it and writes down a walk through it; answers the address.
async fn bring_up(
    workspace: &Workspace,
    built: &Executables,
    place: &Place,
    stack: &mut Stack,
    port: u16,
) -> anyhow::Result<String> {
    let step = Step::begin("starting PostgreSQL");
    let database = stack.start_database(place).await?;
    step.done(&database.description);

    let step = Step::begin("migrating and seeding");
    let users = place.users()?;
    stack
        .prepare_database(workspace, place, built, &database, &users)
        .await?;
    step.done("");

    let step = Step::begin("starting the simulated clusters");
    let clusters = stack.start_clusters(place, built).await?;
    step.done(
        &clusters
            .iter()
            .map(|cluster| cluster.name)
            .collect::<Vec<_>>()
            .join(", "),
    );

    let step = Step::begin("starting shepherd");
    let url = stack.start_shepherd(workspace, place, built, &database, port).await?;
    step.done(&url);

    let step = Step::begin("registering clusters, namespaces and users");
    populate::run(&url, &clusters, &users, &step).await?;
    step.done("");

    write_private(&place.path(walk::NAME), &walk::script(&url, &users))?;
    place.announce(&url, &users, &clusters, &database)?;
    Ok(url)
}

fn refuse_taken_port(port: u16) -> anyhow::Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map(drop)
        .with_context(|| format!("127.0.0.1:{port} cannot be used; choose another port with --port"))
}
