//! The processes of a demo: started in order, stopped in reverse, each on a leash.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use shepherd_testkit::leash::{Leash, LeashedProcess};
use shepherd_testkit::postgres::{PostgresServer, ServerOptions, random_token};

use super::api::Api;
use super::place::{Place, Users};
use crate::compile::Executables;
use crate::workspace::Workspace;

/// How long a process of ours may take to be ready, and to stop.
const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A simulated cluster, by what tells it from the other one.
struct ClusterPlan {
    name: &'static str,
    environment: &'static str,
    arguments: &'static [&'static str],
}

/// One cluster per environment; only production has graphics cards and a choice of storage.
const CLUSTERS: [ClusterPlan; 2] = [
    ClusterPlan {
        name: "demo-test",
        environment: "test",
        arguments: &["--storage-class", "standard:default", "--kubevirt-version", "1.6.2"],
    },
    ClusterPlan {
        name: "demo-prod",
        environment: "prod",
        arguments: &[
            "--gpu",
            "nvidia.com/A10=2",
            "--storage-class",
            "fast:default",
            "--storage-class",
            "slow",
            "--kubevirt-version",
            "1.6.2",
        ],
    },
];

/// A running simulated cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) name: &'static str,
    pub(super) environment: &'static str,
    pub(super) kubeconfig: PathBuf,
}

/// The database of the demo.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) url: String,
    pub(super) description: String,
}

/// Everything that runs. What has been started is in here at once, so that it can be stopped at any moment.
#[derive(Debug, Default)]
pub(super) struct Stack {
    server: Option<PostgresServer>,
    /// A database on somebody else's server that goes with the demo.
    borrowed_database: Option<String>,
    processes: Vec<(LeashedProcess, PathBuf)>,
}

impl Stack {
    pub(super) async fn start_database(&mut self, place: &Place) -> anyhow::Result<Database> {
        let kept = place.kept_database();
        let options = kept.clone().map_or_else(ServerOptions::throwaway, ServerOptions::kept);
        let server = PostgresServer::start(options).await?;
        let server = self.server.insert(server);
        let name = match (server.is_external(), kept.is_some()) {
            (false, _) => "shepherd".to_owned(),
            (true, true) => "shepherd_demo".to_owned(),
            (true, false) => format!("shepherd_demo_{}", random_token(4)?),
        };
        if server.is_external() && kept.is_none() {
            self.borrowed_database = Some(name.clone());
        }
        server.create_database(&name).await?;
        Ok(Database {
            url: server.url(&name),
            description: server.description().to_owned(),
        })
    }

    pub(super) async fn prepare_database(
        &self,
        workspace: &Workspace,
        place: &Place,
        built: &Executables,
        database: &Database,
        users: &Users,
    ) -> anyhow::Result<()> {
        for arguments in [["migrate", "up"].as_slice(), &["seed"]] {
            let mut command = tokio::process::Command::new(built.path("shepherd")?);
            let output = command
                .args(arguments)
                .current_dir(place.directory())
                .envs(environment(workspace, database))
                .env("SEED_ADMIN_PASSWORD", &users.initial_admin_password)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output()
                .await
                .context("run shepherd")?;
            if !output.status.success() {
                let errors = String::from_utf8_lossy(&output.stderr);
                bail!("shepherd {} failed:\n{}", arguments.join(" "), errors.trim());
            }
        }
        Ok(())
    }

    pub(super) async fn start_clusters(&mut self, place: &Place, built: &Executables) -> anyhow::Result<Vec<Cluster>> {
        let mut started = Vec::new();
        for plan in &CLUSTERS {
            let kubeconfig = place.path(&format!("{}.kubeconfig", plan.name));
            self.spawn(plan.name, place, built.path("shepherd-simulator")?, |command| {
                command
                    .args(["--name", plan.name, "--port", "0", "--exit-with-parent", "--kubeconfig"])
                    .arg(&kubeconfig)
                    .args(plan.arguments);
            })?;
            started.push(Cluster {
                name: plan.name,
                environment: plan.environment,
                kubeconfig,
            });
        }
        let deadline = Instant::now() + READY_LIMIT;
        for cluster in &started {
            let log = log_of(place, cluster.name);
            while !says_ready(&log) {
                self.fail_if_any_ended()?;
                if Instant::now() > deadline {
                    bail!(
                        "the simulated cluster {} did not start:\n{}",
                        cluster.name,
                        last_lines(&log)
                    );
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        Ok(started)
    }

    pub(super) async fn start_shepherd(
        &mut self,
        workspace: &Workspace,
        place: &Place,
        built: &Executables,
        database: &Database,
        port: u16,
    ) -> anyhow::Result<String> {
        let metrics_port = free_port()?;
        self.spawn("shepherd", place, built.path("shepherd")?, |command| {
            command
                .arg("serve")
                .envs(environment(workspace, database))
                .env("SERVER_BIND", "127.0.0.1")
                .env("SERVER_PORT", port.to_string())
                .env("SERVER_SHUTDOWN_TIMEOUT", "5s")
                .env("METRICS_PORT", metrics_port.to_string())
                // The simulated clusters listen on this machine, which is no place for a cluster otherwise.
                .env("SECURITY_OUTBOUND_ALLOWLIST", "127.0.0.1/32")
                .env("K8S_HEALTH_INTERVAL", "5s")
                // One administrator sets everything up.
                .env("SERVER_API_RATE_PER_USER", "10000/s, burst 10000")
                .env("FEATURES_SNAPSHOTS", "true")
                .env("FEATURES_CLONES", "true")
                .env("FEATURES_MIGRATIONS", "true")
                .env("FEATURES_EXTERNAL_APPROVAL", "true")
                // Where external systems send their decisions; nothing else serves a portal here.
                .env("SERVER_PORTAL_URLS", format!("http://127.0.0.1:{port}"));
        })?;
        let url = format!("http://127.0.0.1:{port}");
        let api = Api::new(&url)?;
        let deadline = Instant::now() + READY_LIMIT;
        while !api.is_ready().await {
            self.fail_if_any_ended()?;
            if Instant::now() > deadline {
                bail!(
                    "shepherd did not become ready:\n{}",
                    last_lines(&log_of(place, "shepherd"))
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(url)
    }

    /// Runs until one of the processes ends, which none should.
    pub(super) async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            self.fail_if_any_ended()?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Stops everything, the last started first.
    pub(super) async fn stop(mut self) {
        while let Some((process, _)) = self.processes.pop() {
            process.stop().await;
        }
        let Some(server) = self.server else {
            return;
        };
        if let Some(name) = self.borrowed_database
            && let Err(error) = server.drop_database(&name).await
        {
            eprintln!("the database {name} is left on the server: {error:#}");
        }
        server.stop().await;
    }

    fn spawn(
        &mut self,
        name: &'static str,
        place: &Place,
        program: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> anyhow::Result<()> {
        let path = log_of(place, name);
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let leash = Leash::terminating(STOP_GRACE);
        let mut command = leash.command(program);
        configure(&mut command);
        command
            .current_dir(place.directory())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.processes
            .push((LeashedProcess::spawn(name, command, &leash)?, path));
        Ok(())
    }

    fn fail_if_any_ended(&mut self) -> anyhow::Result<()> {
        for (process, log) in &mut self.processes {
            if let Some(status) = process.exit_status()? {
                bail!("{} ended with {status}:\n{}", process.name(), last_lines(log));
            }
        }
        Ok(())
    }
}

/// What every `shepherd` command of the demo needs. The processes run in the demo's directory, where no developer's
/// `config.yaml` lies.
fn environment(workspace: &Workspace, database: &Database) -> [(&'static str, String); 2] {
    [
        ("DATABASE_URL", database.url.clone()),
        ("SEED_DIR", workspace.root().join("seed").display().to_string()),
    ]
}

fn log_of(place: &Place, name: &str) -> PathBuf {
    place.path(&format!("{name}.log"))
}

/// The simulator prints `ready <address>` when it serves and its kubeconfig is written.
fn says_ready(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|text| text.lines().any(|line| line.starts_with("ready ")))
}

fn last_lines(log: &Path) -> String {
    const COUNT: usize = 20;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(COUNT)..].join("\n")
}

/// A port that nobody uses right now.
pub(super) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
