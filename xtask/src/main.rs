//! Development commands of the workspace, run as `cargo xtask <command>`.
//!
//! One module per command; what several of them need lies beside them: `workspace` (where things are), `compile`
//! (cargo builds with progress), `fleet` (many simulated clusters), `progress` and `signals`.

mod bench;
mod chaos;
mod compile;
mod conformance;
mod demo;
mod docs;
mod examples;
mod fleet;
mod manifests;
mod openapi;
mod progress;
mod sbom;
mod signals;
mod test;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Development commands of Shepherd"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole product locally: database, two simulated clusters, users, and the API
    Demo(demo::Options),
    /// Run everything CI runs: format, tidy, dependency policy, lints, tests, examples, the OpenAPI diff
    Test(test::Options),
    /// Check what the compiler does not: crate arrows, inherited manifests, module docs
    Tidy,
    /// Write docs/openapi/v1.json from the code
    Openapi(openapi::Options),
    /// Check the chart, the roles for clusters, alerts and dashboards below deploy/
    Manifests(manifests::Options),
    /// Check what the documents say, and build the book into target/book
    Docs(docs::Options),
    /// Write what the binary is made of, as a CycloneDX document
    Sbom(sbom::Options),
    /// Measure throughput, latency, memory and start-up against their goals
    Bench(bench::Options),
    /// Watch simulated clusters that are never well, and compare every row with its machine afterwards
    Soak(bench::soak::Options),
    /// Let users work while replicas, the database and clusters fail, and account for every operation afterwards
    Chaos(chaos::Options),
    /// Run the contract of the cluster adapter against a real cluster
    Conformance(conformance::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let workspace = Workspace::find()?;
    match arguments.command {
        Command::Demo(options) => demo::run(&workspace, &options).await,
        Command::Test(options) => test::run(&workspace, &options).await,
        Command::Tidy => tidy::run(&workspace),
        Command::Openapi(options) => openapi::run(&workspace, &options).await,
        Command::Manifests(options) => manifests::run(&workspace, &options).await,
        Command::Docs(options) => docs::run(&workspace, &options).await,
        Command::Sbom(options) => sbom::run(&workspace, &options).await,
        Command::Bench(options) => bench::run(&workspace, &options).await,
        Command::Soak(options) => bench::soak::run(&workspace, &options).await,
        Command::Chaos(options) => chaos::run(&workspace, &options).await,
        Command::Conformance(options) => conformance::run(&workspace, &options).await,
    }
}
