//! The subcommands of the binary.

mod break_glass;
mod check;
mod doctor;
#[cfg(test)]
mod documented;
mod keys;
mod migrate;
mod reconcile;
mod seed;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::config;
use crate::extensions::Extensions;
use crate::{bootstrap, http, telemetry};

/// How long threads may take to end once everything else has.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The version, and the commit that it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SHEPHERD_BUILD"), ")");

/// Governance of KubeVirt virtual machines over many clusters.
#[derive(Parser)]
#[command(name = "shepherd", version = VERSION, about)]
struct Cli {
    /// Configuration file; otherwise config.yaml here, in ./config or in /etc/kubevirt-shepherd, when there is one.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the API, the worker and the controllers, together or apart.
    Serve(serve::Options),
    /// Creates, removes or shows the steps of the schema.
    Migrate {
        #[command(subcommand)]
        direction: migrate::Direction,
    },
    /// Creates built-in roles, templates, sizes and the first administrator; what exists stays as it is.
    Seed(seed::Options),
    /// Looks at who administers the platform and how the queue is; fails when something should be looked at.
    Doctor {
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Compares rows with clusters and prints what is on one side only; fails when anything is.
    Reconcile(reconcile::Options),
    /// Makes a user a platform administrator for 24 hours, for an emergency.
    BreakGlass {
        /// User name.
        #[arg(long)]
        user: String,
    },
    /// Looks at encryption keys, and rotates them.
    Keys {
        #[command(subcommand)]
        what: keys::Keys,
    },
    /// Prints the OpenAPI document.
    Openapi,
    /// Looks at the configuration.
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Loads and checks it, and says which values are not the defaults, where they come from, and what may be regretted.
    Check(check::Options),
}

/// Runs the binary.
pub fn main() -> ExitCode {
    main_with(Extensions::default())
}

/// Runs the commands of the binary with what another program adds to the product.
pub fn main_with(extensions: Extensions) -> ExitCode {
    let cli = Cli::parse();
    match run(cli, &extensions) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shepherd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, extensions: &Extensions) -> anyhow::Result<()> {
    if let Command::Openapi = cli.command {
        let mut document = serde_json::to_string_pretty(&http::openapi::document()?)?;
        document.push('\n');
        print!("{document}");
        return Ok(());
    }
    let loaded = config::load(cli.config.as_deref(), |name| std::env::var(name).ok());
    if let Command::Config {
        what: ConfigCommand::Check(options),
    } = &cli.command
    {
        return check::run(loaded, options);
    }
    let loaded = loaded.context("configuration")?;
    // One provider for all of TLS; a second one could only come in by accident and is refused by cargo-deny.
    let provided = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(loaded.config.worker.general_pool_size)
        .build()
        .context("the runtime cannot start")?;
    let instance = bootstrap::instance_name();
    // Ends before the runtime does, which sends what is traced.
    let (telemetry, log) = telemetry::init(&loaded.config, &instance, runtime.handle())?;
    if provided.is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(options) => serve::run(loaded, &instance, extensions, options, log).await,
            Command::Migrate { direction } => migrate::run(&loaded.config, direction).await,
            Command::Seed(options) => seed::run(&loaded.config, &options).await,
            Command::Doctor { json } => doctor::run(&loaded.config, json).await,
            Command::Reconcile(options) => reconcile::run(&loaded.config, extensions, options).await,
            Command::BreakGlass { user } => break_glass::run(&loaded.config, extensions, &user).await,
            Command::Keys { what } => keys::run(loaded.config, what).await,
            Command::Openapi | Command::Config { .. } => Ok(()),
        }
    });
    drop(telemetry);
    // What blocks a thread, such as a name server that does not answer, does not keep the process from ending.
    runtime.shutdown_timeout(LAST_WORDS);
    outcome
}
