//! What a simulated cluster looks like and how fast it works.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// Everything [`Simulator::start`](crate::Simulator::start) needs.
#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// Name of the cluster; it appears in the kubeconfig.
    pub name: String,
    /// Address to listen on; port 0 picks a free one.
    pub bind: SocketAddr,
    /// What the cluster contains at first start.
    pub seed: ClusterSeed,
    /// How long things take.
    pub timing: Timing,
    /// Whether controllers act on what is stored. Without them objects stay as they are put, and many cost little.
    pub controllers: bool,
    /// When the server's certificate is valid.
    pub certificate: CertificateAge,
    /// Where objects, certificates and tokens are kept between runs; `None` keeps them in memory only.
    /// A file that exists wins over the seed's objects, which then only decides the served API groups.
    pub state_file: Option<PathBuf>,
    /// CustomResourceDefinitions whose schemas prune, default and validate the kinds they define; see
    /// [`read_definitions`](crate::read_definitions). Kinds without one keep the built-in rules.
    pub crds: Vec<Value>,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            name: "simulator".to_owned(),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: ClusterSeed::default(),
            timing: Timing::default(),
            controllers: true,
            certificate: CertificateAge::default(),
            state_file: None,
            crds: Vec::new(),
        }
    }
}

/// When the certificate of the server is valid. Clients refuse the other two before they ask anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CertificateAge {
    /// Now.
    #[default]
    Valid,
    /// It was, until 2021.
    Expired,
    /// It will be, from 2090 on.
    NotYetValid,
}

/// The content and the capabilities of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSeed {
    /// `gitVersion` of the API server, for example `v1.33.1`.
    pub kubernetes_version: String,
    /// Version of KubeVirt without the leading `v`, for example `1.6.2`.
    pub kubevirt_version: String,
    /// `status.phase` of the KubeVirt resource; `Deployed` is the healthy one.
    pub kubevirt_phase: String,
    /// Feature gates switched on in the KubeVirt resource.
    pub feature_gates: Vec<String>,
    /// Worker nodes.
    pub nodes: Vec<NodeSeed>,
    /// Storage classes.
    pub storage_classes: Vec<StorageClassSeed>,
    /// SR-IOV network attachment definitions as `namespace/name`.
    pub sriov_networks: Vec<String>,
    /// Whether the Containerized Data Importer is installed.
    pub cdi: bool,
    /// Whether `snapshot.kubevirt.io` is served.
    pub snapshot: bool,
    /// Whether `clone.kubevirt.io` is served.
    pub clone: bool,
    /// Namespaces besides `default`, `kube-system` and `kubevirt`.
    pub namespaces: Vec<String>,
    /// More objects, as manifests of kinds the simulator serves, for example instance types. They are stored
    /// as they are; their namespaces have to be named above.
    pub objects: Vec<Value>,
}

impl Default for ClusterSeed {
    fn default() -> Self {
        let node = |name: &str| NodeSeed {
            name: name.to_owned(),
            ..NodeSeed::default()
        };
        Self {
            kubernetes_version: "v1.33.1".to_owned(),
            kubevirt_version: "1.6.2".to_owned(),
            kubevirt_phase: "Deployed".to_owned(),
            feature_gates: ["HostDevices", "Snapshot"].map(str::to_owned).to_vec(),
            nodes: vec![node("node-1"), node("node-2")],
            storage_classes: vec![StorageClassSeed {
                name: "standard".to_owned(),
                default: true,
            }],
            sriov_networks: Vec::new(),
            cdi: true,
            snapshot: true,
            clone: true,
            namespaces: Vec::new(),
            objects: Vec::new(),
        }
    }
}

/// One worker node.
#[derive(Debug, Clone)]
pub struct NodeSeed {
    /// Name of the node.
    pub name: String,
    /// Logical processors.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Devices by resource name, for example `nvidia.com/A10` → 2.
    pub gpus: BTreeMap<String, u32>,
    /// Memory set aside as 2 MiB huge pages, in MiB.
    pub hugepages_2mi_mb: u64,
    /// Memory set aside as 1 GiB huge pages, in MiB.
    pub hugepages_1gi_mb: u64,
}

impl Default for NodeSeed {
    fn default() -> Self {
        Self {
            name: "node-1".to_owned(),
            cpu: 64,
            memory_mb: 256 * 1024,
            gpus: BTreeMap::new(),
            hugepages_2mi_mb: 0,
            hugepages_1gi_mb: 0,
        }
    }
}

/// One storage class.
#[derive(Debug, Clone)]
pub struct StorageClassSeed {
    /// Name of the class.
    pub name: String,
    /// Whether it is the cluster's default class.
    pub default: bool,
}

/// How long each phase of a virtual machine's life lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From a data volume's creation to `Succeeded`; also how long a snapshot and a restore take.
    pub provision: Duration,
    /// From an instance's creation to `Running`; each phase in between takes a third. A live migration takes as
    /// long.
    pub start: Duration,
    /// From a stop request until the instance is gone.
    pub stop: Duration,
    /// From deletion until the virtual machine is gone.
    pub terminate: Duration,
}

impl Timing {
    /// A few milliseconds per phase: fast enough for tests, slow enough that watches see every phase.
    pub const fn instant() -> Self {
        let step = Duration::from_millis(4);
        Self {
            provision: step,
            start: Duration::from_millis(9),
            stop: step,
            terminate: step,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            provision: Duration::from_millis(1_500),
            start: Duration::from_millis(2_000),
            stop: Duration::from_millis(1_000),
            terminate: Duration::from_millis(1_000),
        }
    }
}
