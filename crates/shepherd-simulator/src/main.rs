//! `shepherd-simulator`: a KubeVirt cluster for demos, as a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use shepherd_simulator::{
    ClusterSeed, NodeSeed, Simulator, SimulatorConfig, SimulatorError, StorageClassSeed, Timing, read_definitions,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How often the parent is looked for with `--exit-with-parent`.
const PARENT_CHECK: Duration = Duration::from_millis(500);

/// Simulates a KubeVirt cluster behind the real Kubernetes API.
///
/// Prints one line, `ready URL`, when it answers, and runs until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Name of the cluster, used in the kubeconfig
    #[arg(long, default_value = "simulator")]
    name: String,
    /// Port to listen on at 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where to write the kubeconfig (mode 0600)
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Keep the cluster in this file between runs
    #[arg(long)]
    state_file: Option<PathBuf>,
    /// Number of worker nodes
    #[arg(long, default_value_t = 2)]
    nodes: u32,
    /// Devices of the first node, as RESOURCE=COUNT; may be repeated
    #[arg(long = "gpu", value_name = "RESOURCE=COUNT", value_parser = parse_gpu)]
    gpus: Vec<(String, u32)>,
    /// Storage class, as NAME or NAME:default; may be repeated [default: standard:default]
    #[arg(long = "storage-class", value_name = "NAME[:default]", value_parser = parse_storage_class)]
    storage_classes: Vec<StorageClassSeed>,
    /// Namespace to create; may be repeated
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// SR-IOV network to define; may be repeated
    #[arg(long = "sriov-network", value_name = "NAMESPACE/NAME")]
    sriov_networks: Vec<String>,
    /// Version of Kubernetes
    #[arg(long, default_value = "v1.33.1")]
    kubernetes_version: String,
    /// Version of KubeVirt
    #[arg(long, default_value = "1.6.2")]
    kubevirt_version: String,
    /// Folder with CustomResourceDefinitions (JSON or YAML) that prune, default and validate their kinds
    #[arg(long, value_name = "DIR")]
    crds: Option<PathBuf>,
    /// Feature gate of KubeVirt; may be repeated [default: HostDevices Snapshot]
    #[arg(long = "feature-gate", value_name = "NAME")]
    feature_gates: Vec<String>,
    /// Let every phase last only milliseconds
    #[arg(long)]
    instant: bool,
    /// End when the process that started this one ends
    #[arg(long)]
    exit_with_parent: bool,
}

fn parse_gpu(text: &str) -> Result<(String, u32), String> {
    let (name, count) = text.split_once('=').ok_or("expected RESOURCE=COUNT")?;
    let count = count.parse().map_err(|_| format!("{count:?} is not a count"))?;
    Ok((name.to_owned(), count))
}

fn parse_storage_class(text: &str) -> Result<StorageClassSeed, String> {
    match text.split_once(':') {
        None => Ok(StorageClassSeed {
            name: text.to_owned(),
            default: false,
        }),
        Some((name, "default")) => Ok(StorageClassSeed {
            name: name.to_owned(),
            default: true,
        }),
        Some((_, other)) => Err(format!("{other:?} is not \"default\"")),
    }
}

impl Arguments {
    fn config(self) -> Result<SimulatorConfig, SimulatorError> {
        let crds = self
            .crds
            .as_deref()
            .map(read_definitions)
            .transpose()?
            .unwrap_or_default();
        let mut nodes: Vec<NodeSeed> = (1..=self.nodes)
            .map(|number| NodeSeed {
                name: format!("node-{number}"),
                ..NodeSeed::default()
            })
            .collect();
        if let Some(first) = nodes.first_mut() {
            first.gpus = self.gpus.into_iter().collect();
        }
        let defaults = ClusterSeed::default();
        let storage_classes = if self.storage_classes.is_empty() {
            defaults.storage_classes.clone()
        } else {
            self.storage_classes
        };
        let seed = ClusterSeed {
            kubernetes_version: self.kubernetes_version,
            kubevirt_version: self.kubevirt_version,
            nodes,
            storage_classes,
            feature_gates: if self.feature_gates.is_empty() {
                defaults.feature_gates.clone()
            } else {
                self.feature_gates
            },
            sriov_networks: self.sriov_networks,
            namespaces: self.namespaces,
            ..defaults
        };
        Ok(SimulatorConfig {
            name: self.name,
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            seed,
            timing: if self.instant {
                Timing::instant()
            } else {
                Timing::default()
            },
            state_file: self.state_file,
            crds,
            ..SimulatorConfig::default()
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Asked for before anything else, so that a parent that is gone already is noticed.
    let parent = parent_id();
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    let (kubeconfig, exit_with_parent) = (arguments.kubeconfig.clone(), arguments.exit_with_parent);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;

    let config = arguments.config().context("cannot read the definitions")?;
    let simulator = Simulator::start(config).await.context("cannot start the cluster")?;
    simulator
        .write_kubeconfig(&kubeconfig)
        .context("cannot write the kubeconfig")?;
    println!("ready {}", simulator.url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = orphaned(parent), if exit_with_parent => {}
    }
    simulator.stop().await;
    Ok(())
}

/// Returns when the process has got another parent, which happens when its own one ends.
async fn orphaned(parent: u32) {
    while parent_id() == parent {
        tokio::time::sleep(PARENT_CHECK).await;
    }
}
