//! An approval system outside of Shepherd: it takes tickets, decides what its rule covers, and leaves the rest to people.
//!
//! `http` is what Shepherd calls, `callback` what calls Shepherd, `signature` what both sides prove themselves by;
//! `rule` decides and `board` remembers, neither with any IO. `connect` tells a demo about this program. Nothing of
//! Shepherd is linked: the program knows the documented contract alone.

mod board;
mod callback;
mod client;
mod connect;
mod http;
mod rule;
mod signature;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::{App, HttpServer, web};
use anyhow::Context as _;
use clap::{Parser, Subcommand};

use board::Board;
use signature::Secret;

/// Decides tickets of Shepherd by a rule.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Takes tickets until it is stopped; prints `ready ADDRESS` when it does
    Serve {
        /// Where it listens; port 0 picks a free one
        #[arg(long, default_value = "127.0.0.1:9400")]
        listen: SocketAddr,
        #[command(flatten)]
        shared: Shared,
    },
    /// Tells a running demo to hand new machines to this program
    Connect {
        /// What `cargo xtask demo` wrote about itself
        #[arg(long, default_value = "target/demo/demo.json")]
        demo: PathBuf,
        /// Where this program takes tickets
        #[arg(long, default_value = "http://127.0.0.1:9400/board")]
        url: String,
        #[command(flatten)]
        shared: Shared,
    },
}

/// What Shepherd knows as well.
#[derive(clap::Args)]
struct Shared {
    /// The secret that signs both ways, at least 16 characters; from the environment, so that no list of processes shows
    /// it
    #[arg(long = "secret", env = "APPROVAL_SECRET", hide_env_values = true)]
    secret: String,
}

/// Everything that a request needs.
struct Desk {
    secret: Secret,
    board: Board,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Serve { listen, shared } => serve(listen, &shared.secret).await,
        Command::Connect { demo, url, shared } => connect::run(&demo, &url, &shared.secret).await,
    }
}

async fn serve(listen: SocketAddr, secret: &str) -> anyhow::Result<()> {
    let desk = Arc::new(Desk {
        secret: Secret::new(secret),
        board: Board::default(),
    });
    let served = web::Data::from(Arc::clone(&desk));
    let server = HttpServer::new(move || App::new().app_data(served.clone()).configure(http::routes))
        .workers(1)
        .bind(listen)
        .with_context(|| format!("listen at {listen}"))?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    println!("ready http://{address}/board");
    // Ends when the server has been told to stop; what was not reported by then Shepherd asks for by itself.
    tokio::select! {
        ended = server.run() => ended.context("the server ended"),
        () = callback::run(&desk) => Ok(()),
    }
}
