//! One virtual machine from the request to its end, over the HTTP API of a running demo.
//!
//! `demo` reads where it runs and who its users are, `api` speaks with it, `walk` is the walk itself. Nothing of
//! Shepherd is linked: the program knows the API alone.

mod api;
mod demo;
mod walk;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

use demo::Demo;
use walk::{Decision, Plan};

/// Walks through the API of a demo, and says what it does.
#[derive(Parser)]
struct Arguments {
    /// What `cargo xtask demo` wrote about itself
    #[arg(long, default_value = "target/demo/demo.json")]
    demo: PathBuf,
    /// Name of the System that is created, and removed in the end
    #[arg(long, default_value = "walkthrough")]
    system: String,
    /// Name of the size, small or medium for example
    #[arg(long, default_value = "small")]
    size: String,
    /// Leave the decision about the new machine to somebody else, and wait for it
    #[arg(long)]
    decided_elsewhere: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let demo = Demo::read(&arguments.demo)
        .with_context(|| format!("{}: does `cargo xtask demo` run?", arguments.demo.display()))?;
    let plan = Plan {
        system: arguments.system,
        size: arguments.size,
        decision: match arguments.decided_elsewhere {
            true => Decision::Elsewhere,
            false => Decision::ByTheApprover,
        },
    };
    walk::run(&demo, &plan).await
}
