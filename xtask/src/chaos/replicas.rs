//! The replicas: killed, stopped, and started again like something that keeps them running would.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use shepherd_testkit::leash::{Leash, LeashedProcess};

use super::database::signal;

/// The roles of each replica; work and leases can always go to another one.
const ROLES: [&str; 3] = ["api,worker,controllers", "api,worker,controllers", "api,worker"];
/// `server.shutdown_timeout`, and how long a stop may take in fact.
const SHUTDOWN: &str = "10s";
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

/// How the process that runs in a place will end; its leash has to know from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// `kill -9`.
    Killed,
    /// SIGTERM.
    Stopped,
}

struct Place {
    roles: &'static str,
    port: u16,
    metrics_port: u16,
    starts: u32,
    running: Option<(LeashedProcess, Fate)>,
}

/// All replicas.
pub(super) struct Replicas {
    program: PathBuf,
    directory: PathBuf,
    environment: Vec<(&'static str, String)>,
    places: Vec<Place>,
    counts: BTreeMap<&'static str, u32>,
}

impl Replicas {
    pub(super) fn start(
        program: PathBuf,
        directory: PathBuf,
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let mut places = Vec::new();
        for roles in ROLES {
            places.push(Place {
                roles,
                port: free_port()?,
                metrics_port: free_port()?,
                starts: 0,
                running: None,
            });
        }
        let mut replicas = Self {
            program,
            directory,
            environment,
            places,
            counts: BTreeMap::new(),
        };
        for number in 0..replicas.places.len() {
            replicas.spawn(number)?;
        }
        Ok(replicas)
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        self.places.iter().map(|place| place.port).collect()
    }

    /// How often what happened to replicas.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u32> {
        self.counts.clone()
    }

    /// Ends the process in one place the way it was made for, and starts another one.
    pub(super) async fn replace(&mut self, number: usize) -> anyhow::Result<()> {
        let number = number % self.places.len();
        match self.places[number].running.take() {
            Some((process, Fate::Killed)) => {
                self.count("killed");
                process.stop().await;
            }
            Some((process, Fate::Stopped)) => {
                let clean = stopped_cleanly(process).await?;
                self.count(if clean { "stopped" } else { "stopped uncleanly" });
            }
            None => {}
        }
        self.spawn(number)
    }

    /// Starts again what ended by itself, as a process does that finds no database.
    pub(super) fn revive(&mut self) -> anyhow::Result<()> {
        for number in 0..self.places.len() {
            let ended = match &mut self.places[number].running {
                Some((process, _)) => process.exit_status()?.is_some(),
                None => true,
            };
            if ended {
                self.count("ended by itself");
                self.spawn(number)?;
            }
        }
        Ok(())
    }

    /// Ends all of them.
    pub(super) async fn clear(&mut self) {
        for place in &mut self.places {
            if let Some((process, _)) = place.running.take() {
                process.stop().await;
            }
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn spawn(&mut self, number: usize) -> anyhow::Result<()> {
        let place = &mut self.places[number];
        place.starts += 1;
        // In turn, and not alike in all places.
        let fate = if (number + usize::try_from(place.starts)?).is_multiple_of(2) {
            Fate::Killed
        } else {
            Fate::Stopped
        };
        let leash = match fate {
            Fate::Killed => Leash {
                signal: "KILL",
                grace: Duration::ZERO,
                scratch: None,
            },
            Fate::Stopped => Leash::terminating(STOP_LIMIT),
        };
        let path = self
            .directory
            .join(format!("replica-{}-{}.log", number + 1, place.starts));
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut command = leash.command(&self.program);
        command
            .args(["serve", "--roles", place.roles])
            .current_dir(&self.directory)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("SERVER_BIND", "127.0.0.1")
            .env("SERVER_PORT", place.port.to_string())
            .env("SERVER_SHUTDOWN_TIMEOUT", SHUTDOWN)
            .env("METRICS_PORT", place.metrics_port.to_string())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = LeashedProcess::spawn(format!("replica {}", number + 1), command, &leash)?;
        place.running = Some((process, fate));
        Ok(())
    }
}

/// Sends SIGTERM and waits; whether the process ended in time and said that all is well.
async fn stopped_cleanly(mut process: LeashedProcess) -> anyhow::Result<bool> {
    if process.exit_status()?.is_some() {
        // It ended by itself a moment ago, so there is nothing to be said of its stop.
        return Ok(true);
    }
    signal("TERM", &process.id().to_string())?;
    let asked = Instant::now();
    while asked.elapsed() < STOP_LIMIT {
        if let Some(status) = process.exit_status()? {
            return Ok(status.success());
        }
        tokio::time::sleep(POLL).await;
    }
    process.stop().await;
    Ok(false)
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
