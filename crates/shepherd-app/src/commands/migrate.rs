//! `shepherd migrate`.

use clap::Subcommand;

use crate::bootstrap;
use crate::config::Config;

/// Which way.
#[derive(Subcommand)]
pub(super) enum Direction {
    /// Applies what is pending; the queue's own steps first.
    Up,
    /// Takes steps back.
    Down {
        /// How many; all when absent.
        #[arg(long)]
        steps: Option<u32>,
    },
    /// Lists all steps. Writes nothing.
    Status,
}

pub(super) async fn run(config: &Config, direction: Direction) -> anyhow::Result<()> {
    let store = bootstrap::connect_for_migrations(config).await?;
    let database = store.connection();
    match direction {
        Direction::Up => {
            let pending = migrations::pending(database).await?;
            migrations::up(database).await?;
            match pending.len() {
                0 => println!("The schema was up to date."),
                applied => println!("{applied} migrations applied."),
            }
        }
        Direction::Down { steps } => {
            migrations::down(database, steps).await?;
            println!("Done.");
        }
        Direction::Status => {
            for (name, applied) in migrations::status(database).await? {
                println!("{} {name}", if applied { "applied" } else { "pending" });
            }
        }
    }
    store.close().await?;
    Ok(())
}
