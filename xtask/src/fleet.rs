//! `shepherd-fleet` as a process: many simulated clusters, told over a pipe what to do.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a fleet may take to start.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Label and annotation of the platform's machines.
const LABEL: &str = "kubevirt-shepherd.io/managed-by=kubevirt-shepherd";
const ID_ANNOTATION: &str = "kubevirt-shepherd.io/vm-id";

/// Rows for the machines of a fleet, whose clusters are registered already. `$clusters` and `$machines` stand for
/// their numbers.
const ROWS: &str = "
    INSERT INTO namespace_registry (id, name, environment, created_by)
        VALUES (gen_random_uuid(), 'fleet', 'test', 'system:fleet');
    INSERT INTO systems (id, name, created_by) VALUES (lpad('1', 32, '0')::uuid, 'fleet', 'system:fleet');
    INSERT INTO services (id, system_id, name, created_by)
        SELECT lpad(to_hex(cluster), 32, '0')::uuid, lpad('1', 32, '0')::uuid, 'svc' || cluster, 'system:fleet'
        FROM generate_series(1, $clusters) AS cluster;
    INSERT INTO vms (id, service_id, name, hostname, instance_index, instance, namespace, cluster_id, status,
            disk_gb, cpu_cores, memory_mb, created_by)
        SELECT (lpad(to_hex(cluster), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(machine), 12, '0'))::uuid,
            lpad(to_hex(cluster), 32, '0')::uuid, made.name, made.name, machine, lpad(machine::text, 5, '0'), 'fleet',
            (SELECT c.id FROM clusters c WHERE c.name = 'fleet-' || cluster), 'CREATING', 20, 2, 2048, 'system:fleet'
        FROM generate_series(1, $clusters) AS cluster, generate_series(1, $machines) AS machine,
            LATERAL (SELECT 'fleet-' || cluster || '-' || machine) AS made (name);
";

/// A running fleet; dropping it ends it.
pub(crate) struct Fleet {
    _process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    directory: PathBuf,
    clusters: u32,
    machines: u32,
}

impl Fleet {
    /// Starts clusters with running machines; their kubeconfigs go to the directory.
    pub(crate) async fn start(program: &Path, directory: &Path, clusters: u32, machines: u32) -> anyhow::Result<Self> {
        Self::start_with(program, directory, clusters, machines, &[]).await
    }

    /// Starts an empty cluster whose controllers act on what it is told, within milliseconds.
    pub(crate) async fn start_live(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        Self::start_with(program, directory, 1, 0, &["--live"]).await
    }

    /// Starts empty clusters of that kind.
    pub(crate) async fn start_live_clusters(program: &Path, directory: &Path, clusters: u32) -> anyhow::Result<Self> {
        Self::start_with(program, directory, clusters, 0, &["--live"]).await
    }

    async fn start_with(
        program: &Path,
        directory: &Path,
        clusters: u32,
        machines: u32,
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(["--clusters", &clusters.to_string(), "--machines", &machines.to_string()])
            .args(options)
            .args(["--label", LABEL, "--id-annotation", ID_ANNOTATION, "--directory"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run shepherd-fleet")?;
        let orders = process.stdin.take().context("the fleet's input")?;
        let answers = BufReader::new(process.stdout.take().context("the fleet's output")?).lines();
        let mut fleet = Self {
            _process: process,
            orders,
            answers,
            directory: directory.to_owned(),
            clusters,
            machines,
        };
        let ready = tokio::time::timeout(START_LIMIT, fleet.answers.next_line()).await;
        match ready.context("the fleet did not start in time")?? {
            Some(line) if line == "ready" => Ok(fleet),
            other => bail!("the fleet did not start: {other:?}"),
        }
    }

    /// The bodies that register the clusters.
    pub(crate) fn registrations(&self) -> anyhow::Result<Vec<Value>> {
        let body = |cluster: u32| {
            let path = self.directory.join(format!("fleet-{cluster}.kubeconfig"));
            let kubeconfig = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let kubeconfig = STANDARD.encode(kubeconfig);
            Ok(json!({"name": format!("fleet-{cluster}"), "kubeconfig": kubeconfig, "environment": "test"}))
        };
        (1..=self.clusters).map(body).collect()
    }

    /// The statements that make the rows of the machines.
    pub(crate) fn rows(&self) -> String {
        ROWS.replace("$clusters", &self.clusters.to_string())
            .replace("$machines", &self.machines.to_string())
    }

    /// How many machines there are in all.
    pub(crate) fn size(&self) -> i64 {
        i64::from(self.clusters) * i64::from(self.machines)
    }

    /// Gives an order; answers what was said, the number of its last line first.
    pub(crate) async fn obey(&mut self, order: &str) -> anyhow::Result<(u64, Vec<String>)> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        self.orders.flush().await?;
        let mut said = Vec::new();
        loop {
            let line = self.answers.next_line().await?.context("the fleet ended")?;
            if let Some(number) = line.strip_prefix("done") {
                return Ok((number.trim().parse().unwrap_or_default(), said));
            }
            said.push(line);
        }
    }
}
