//! What clusters offer beside machines: snapshots, clones, migrations, instance types, preferences.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::vm::ObservedVm;

/// Labels and annotations of an object; the platform's own (see [`crate::labels`]) and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// A machine of a list, with the labels it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVm {
    /// What the cluster reports.
    pub vm: ObservedVm,
    /// All labels of the VirtualMachine.
    pub labels: BTreeMap<String, String>,
}

/// One page of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmPage {
    /// The machines.
    pub items: Vec<ListedVm>,
    /// Where the next page begins; `None` after the last one.
    pub continue_token: Option<String>,
    /// The version the whole list is of.
    pub resource_version: Option<String>,
}

/// A machine as it stands on its cluster, wanted state included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmManifest {
    /// What the cluster reports.
    pub vm: ObservedVm,
    /// All labels of the VirtualMachine.
    pub labels: BTreeMap<String, String>,
    /// Canonical YAML of the object without status and without what the API server maintains.
    pub yaml: String,
    /// Processors of the guest.
    pub cpu_cores: Option<i32>,
    /// Memory of the guest in MiB.
    pub memory_mb: Option<i32>,
    /// Size of the root disk in GiB, when it is a data volume template.
    pub disk_gb: Option<i32>,
    /// Storage class of the root disk, when it is a data volume template that names one.
    pub storage_class: Option<String>,
}

/// A snapshot of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Object name.
    pub name: String,
    /// Name of the machine.
    pub vm: String,
    /// Object uid.
    pub uid: String,
    /// Whether it can be restored from.
    pub ready: bool,
    /// When it was taken, or asked for as long as it is not ready.
    pub created_at: Option<DateTime<Utc>>,
    /// Why it will not become ready, redacted.
    pub error: Option<String>,
    /// The event that made it, from its annotation.
    pub event_id: Option<String>,
}

/// A restore of a machine from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Object name.
    pub name: String,
    /// Name of the machine.
    pub vm: String,
    /// Name of the snapshot.
    pub snapshot: String,
    /// Whether it is done.
    pub complete: bool,
    /// Why it does not go on, redacted.
    pub error: Option<String>,
    /// The event that made it, from its annotation.
    pub event_id: Option<String>,
}

/// What a clone is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloneSource {
    /// A machine of this name.
    Vm(String),
    /// A snapshot of this name.
    Snapshot(String),
}

/// How far a clone is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ClonePhase {
    /// Asked for; nothing has happened yet.
    Pending,
    /// Copies are being made.
    InProgress,
    /// The target exists.
    Succeeded,
    /// It will not exist.
    Failed,
}

impl ClonePhase {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clone {
    /// Object name.
    pub name: String,
    /// What it is made from.
    pub source: CloneSource,
    /// Name of the machine it makes.
    pub target: String,
    /// How far it is.
    pub phase: ClonePhase,
    /// Why it failed or does not go on, redacted.
    pub error: Option<String>,
    /// The event that made it, from its annotation.
    pub event_id: Option<String>,
}

/// How far a live migration is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum MigrationPhase {
    /// Asked for, waiting, or looking for a node.
    Pending,
    /// The machine is moving.
    Running,
    /// It runs on the target.
    Succeeded,
    /// It stayed where it was.
    Failed,
    /// It was called off and stayed where it was.
    Cancelled,
}

impl MigrationPhase {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
            Self::Pending | Self::Running => false,
        }
    }
}

/// A live migration of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Object name.
    pub name: String,
    /// Name of the machine.
    pub vm: String,
    /// Object uid.
    pub uid: String,
    /// How far it is.
    pub phase: MigrationPhase,
    /// Node it leaves.
    pub source_node: Option<String>,
    /// Node it goes to.
    pub target_node: Option<String>,
    /// Why it failed, redacted.
    pub error: Option<String>,
    /// The event that made it, from its annotation.
    pub event_id: Option<String>,
}

/// A KubeVirt instance type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceType {
    /// Its name.
    pub name: String,
    /// Guest processors.
    pub cpu: Option<i64>,
    /// Guest memory as Kubernetes writes it, for example `4Gi`.
    pub memory: Option<String>,
    /// Whether every namespace of the cluster can use it.
    pub cluster_wide: bool,
}

/// A KubeVirt preference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preference {
    /// Its name.
    pub name: String,
    /// Whether every namespace of the cluster can use it.
    pub cluster_wide: bool,
}
