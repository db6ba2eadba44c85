//! Would Shepherd take this request? A service beside it, which asks the same rules and needs neither its server nor its
//! database.
//!
//! `preflight` is the check, `adapters` what stands in for the product, `service` the HTTP of it.

mod adapters;
mod preflight;
mod service;

use std::net::SocketAddr;
use std::path::PathBuf;

use actix_web::{App, HttpServer, web};
use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use shepherd_domain::Environment;
use shepherd_domain::access::ResourceRole;

use adapters::{Numbers, Spool};
use preflight::Wish;
use service::{Desk, Question};

/// Checks requests for virtual machines by the rules of Shepherd, without asking an installation.
#[derive(Parser)]
struct Arguments {
    /// File that notifications are appended to; otherwise they are printed
    #[arg(long, global = true)]
    spool: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks one request; fails when Shepherd would refuse it
    Check(Check),
    /// Answers `POST /checks` until it is stopped; prints `ready ADDRESS` when it does
    Serve {
        /// Where it listens; port 0 picks a free one
        #[arg(long, default_value = "127.0.0.1:9500")]
        listen: SocketAddr,
    },
}

#[derive(clap::Args)]
struct Check {
    /// Namespace the machine is for
    namespace: String,
    /// System it belongs to
    system: String,
    /// Service it runs
    service: String,
    /// CPU limit in cores
    #[arg(long, default_value_t = 2)]
    cpu_cores: i32,
    /// CPU request in cores; equal to the limit when absent
    #[arg(long)]
    cpu_request: Option<i32>,
    /// Memory limit in MiB
    #[arg(long, default_value_t = 4096)]
    memory_mb: i32,
    /// Disk in GiB
    #[arg(long, default_value_t = 60)]
    disk_gb: i32,
    /// Environment of the namespace: test or prod
    #[arg(long, default_value = "test")]
    environment: Environment,
    /// The requester's role on the System: viewer, member, admin or owner
    #[arg(long, default_value = "member")]
    role: ResourceRole,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let desk = Desk {
        ids: Numbers::default(),
        spool: Spool(arguments.spool),
    };
    match arguments.command {
        Command::Check(wished) => check(&desk, wished).await,
        Command::Serve { listen } => serve(desk, listen).await,
    }
}

async fn check(desk: &Desk, wished: Check) -> anyhow::Result<()> {
    let question = Question {
        role: wished.role,
        wish: Wish {
            namespace: wished.namespace,
            environment: wished.environment,
            system: wished.system,
            service: wished.service,
            cpu_cores: wished.cpu_cores,
            cpu_request: wished.cpu_request,
            memory_mb: wished.memory_mb,
            disk_gb: wished.disk_gb,
        },
    };
    match service::answer(desk, &question).await? {
        Ok(verdict) => println!("{}", service::shown(&verdict)),
        Err(refusal) => bail!("refused: {refusal}"),
    }
    Ok(())
}

async fn serve(desk: Desk, listen: SocketAddr) -> anyhow::Result<()> {
    let desk = web::Data::new(desk);
    let server = HttpServer::new(move || App::new().app_data(desk.clone()).configure(service::routes))
        .workers(1)
        .bind(listen)
        .with_context(|| format!("listen at {listen}"))?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    println!("ready http://{address}");
    server.run().await.context("the server ended")
}
