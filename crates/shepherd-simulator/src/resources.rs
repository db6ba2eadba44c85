//! The registry of everything the cluster serves: group, version, names and scope of each resource.
//!
//! Storage, routing and discovery are generic over these definitions; a new kind is one more entry.

use crate::config::ClusterSeed;

/// Group and plural, which name a resource in the store.
pub(crate) type ResourceKey = (&'static str, &'static str);

/// What has to be installed for a resource to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Always there.
    Base,
    /// The Containerized Data Importer.
    Cdi,
    /// KubeVirt's snapshot API.
    Snapshot,
    /// KubeVirt's clone API.
    Clone,
}

/// One served resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResourceDef {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// The one served version.
    pub version: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Lower-case singular.
    pub singular: &'static str,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Short names for `kubectl`.
    pub short_names: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `status` is written through its own subresource.
    pub status: bool,
    /// What must be installed.
    pub feature: Feature,
}

impl ResourceDef {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Key of its table in the store.
    pub fn key(&self) -> ResourceKey {
        (self.group, self.plural)
    }

    /// The name error messages use: `plural.group`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The kind the way validation errors name it: `Kind.group`.
    pub fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Kind of a list of its objects.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// Whether it is defined by a CustomResourceDefinition rather than built into the API server.
    pub fn is_custom(&self) -> bool {
        !matches!(self.group, "" | "storage.k8s.io" | "apiextensions.k8s.io")
    }
}

macro_rules! resource {
    ($name:ident, $group:literal, $version:literal, $plural:literal, $singular:literal, $kind:literal,
     $short:expr, $namespaced:literal, $status:literal, $feature:ident) => {
        pub(crate) static $name: ResourceDef = ResourceDef {
            group: $group,
            version: $version,
            plural: $plural,
            singular: $singular,
            kind: $kind,
            short_names: $short,
            namespaced: $namespaced,
            status: $status,
            feature: Feature::$feature,
        };
    };
}

resource!(
    NAMESPACES,
    "",
    "v1",
    "namespaces",
    "namespace",
    "Namespace",
    &["ns"],
    false,
    true,
    Base
);
resource!(NODES, "", "v1", "nodes", "node", "Node", &["no"], false, true, Base);
resource!(SECRETS, "", "v1", "secrets", "secret", "Secret", &[], true, false, Base);
resource!(
    CONFIG_MAPS,
    "",
    "v1",
    "configmaps",
    "configmap",
    "ConfigMap",
    &["cm"],
    true,
    false,
    Base
);
resource!(
    CLAIMS,
    "",
    "v1",
    "persistentvolumeclaims",
    "persistentvolumeclaim",
    "PersistentVolumeClaim",
    &["pvc"],
    true,
    true,
    Base
);
resource!(EVENTS, "", "v1", "events", "event", "Event", &["ev"], true, false, Base);
resource!(PODS, "", "v1", "pods", "pod", "Pod", &["po"], true, true, Base);
resource!(
    QUOTAS,
    "",
    "v1",
    "resourcequotas",
    "resourcequota",
    "ResourceQuota",
    &["quota"],
    true,
    true,
    Base
);
resource!(
    STORAGE_CLASSES,
    "storage.k8s.io",
    "v1",
    "storageclasses",
    "storageclass",
    "StorageClass",
    &["sc"],
    false,
    false,
    Base
);
resource!(
    DEFINITIONS,
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "customresourcedefinition",
    "CustomResourceDefinition",
    &["crd", "crds"],
    false,
    true,
    Base
);
resource!(
    VIRTUAL_MACHINES,
    "kubevirt.io",
    "v1",
    "virtualmachines",
    "virtualmachine",
    "VirtualMachine",
    &["vm", "vms"],
    true,
    true,
    Base
);
resource!(
    INSTANCES,
    "kubevirt.io",
    "v1",
    "virtualmachineinstances",
    "virtualmachineinstance",
    "VirtualMachineInstance",
    &["vmi", "vmis"],
    true,
    false,
    Base
);
resource!(
    MIGRATIONS,
    "kubevirt.io",
    "v1",
    "virtualmachineinstancemigrations",
    "virtualmachineinstancemigration",
    "VirtualMachineInstanceMigration",
    &["vmim", "vmims"],
    true,
    true,
    Base
);
resource!(
    KUBEVIRTS,
    "kubevirt.io",
    "v1",
    "kubevirts",
    "kubevirt",
    "KubeVirt",
    &["kv", "kvs"],
    true,
    true,
    Base
);
resource!(
    DATA_VOLUMES,
    "cdi.kubevirt.io",
    "v1beta1",
    "datavolumes",
    "datavolume",
    "DataVolume",
    &["dv"],
    true,
    true,
    Cdi
);
resource!(
    NETWORKS,
    "k8s.cni.cncf.io",
    "v1",
    "network-attachment-definitions",
    "networkattachmentdefinition",
    "NetworkAttachmentDefinition",
    &["net-attach-def"],
    true,
    false,
    Base
);
resource!(
    SNAPSHOTS,
    "snapshot.kubevirt.io",
    "v1beta1",
    "virtualmachinesnapshots",
    "virtualmachinesnapshot",
    "VirtualMachineSnapshot",
    &["vmsnapshot"],
    true,
    true,
    Snapshot
);
resource!(
    SNAPSHOT_CONTENTS,
    "snapshot.kubevirt.io",
    "v1beta1",
    "virtualmachinesnapshotcontents",
    "virtualmachinesnapshotcontent",
    "VirtualMachineSnapshotContent",
    &["vmsnapshotcontent"],
    true,
    true,
    Snapshot
);
resource!(
    RESTORES,
    "snapshot.kubevirt.io",
    "v1beta1",
    "virtualmachinerestores",
    "virtualmachinerestore",
    "VirtualMachineRestore",
    &["vmrestore"],
    true,
    true,
    Snapshot
);
resource!(
    CLONES,
    "clone.kubevirt.io",
    "v1beta1",
    "virtualmachineclones",
    "virtualmachineclone",
    "VirtualMachineClone",
    &["vmclone"],
    true,
    true,
    Clone
);
resource!(
    INSTANCE_TYPES,
    "instancetype.kubevirt.io",
    "v1beta1",
    "virtualmachineinstancetypes",
    "virtualmachineinstancetype",
    "VirtualMachineInstancetype",
    &["vminstancetype"],
    true,
    false,
    Base
);
resource!(
    CLUSTER_INSTANCE_TYPES,
    "instancetype.kubevirt.io",
    "v1beta1",
    "virtualmachineclusterinstancetypes",
    "virtualmachineclusterinstancetype",
    "VirtualMachineClusterInstancetype",
    &["vmclusterinstancetype"],
    false,
    false,
    Base
);
resource!(
    PREFERENCES,
    "instancetype.kubevirt.io",
    "v1beta1",
    "virtualmachinepreferences",
    "virtualmachinepreference",
    "VirtualMachinePreference",
    &["vmpref"],
    true,
    false,
    Base
);
resource!(
    CLUSTER_PREFERENCES,
    "instancetype.kubevirt.io",
    "v1beta1",
    "virtualmachineclusterpreferences",
    "virtualmachineclusterpreference",
    "VirtualMachineClusterPreference",
    &["vmcp"],
    false,
    false,
    Base
);

static ALL: [&ResourceDef; 24] = [
    &NAMESPACES,
    &NODES,
    &SECRETS,
    &CONFIG_MAPS,
    &CLAIMS,
    &EVENTS,
    &PODS,
    &QUOTAS,
    &STORAGE_CLASSES,
    &DEFINITIONS,
    &VIRTUAL_MACHINES,
    &INSTANCES,
    &MIGRATIONS,
    &KUBEVIRTS,
    &DATA_VOLUMES,
    &NETWORKS,
    &SNAPSHOTS,
    &SNAPSHOT_CONTENTS,
    &RESTORES,
    &CLONES,
    &INSTANCE_TYPES,
    &CLUSTER_INSTANCE_TYPES,
    &PREFERENCES,
    &CLUSTER_PREFERENCES,
];

/// Every resource the simulator knows, served or not.
pub(crate) fn all() -> impl Iterator<Item = &'static ResourceDef> {
    ALL.iter().copied()
}

/// The definition of a kind, by its name.
pub(crate) fn by_kind(kind: &str) -> Option<&'static ResourceDef> {
    all().find(|def| def.kind == kind)
}

/// The definition behind group and plural.
pub(crate) fn by_key(group: &str, plural: &str) -> Option<&'static ResourceDef> {
    all().find(|def| def.group == group && def.plural == plural)
}

/// The resources one cluster serves.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    served: Vec<&'static ResourceDef>,
}

impl Registry {
    /// What a cluster with this seed has installed.
    pub fn of(seed: &ClusterSeed) -> Self {
        let installed = |feature| match feature {
            Feature::Base => true,
            Feature::Cdi => seed.cdi,
            Feature::Snapshot => seed.snapshot,
            Feature::Clone => seed.clone,
        };
        Self {
            served: all().filter(|def| installed(def.feature)).collect(),
        }
    }

    /// All served resources.
    pub fn iter(&self) -> impl Iterator<Item = &'static ResourceDef> + '_ {
        self.served.iter().copied()
    }

    /// Whether a resource is served.
    pub fn serves(&self, def: &ResourceDef) -> bool {
        self.served.contains(&def)
    }

    /// The served resource of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static ResourceDef> {
        self.iter()
            .find(|def| def.group == group && def.version == version && def.plural == plural)
    }

    /// Served groups with their version, the core group excluded, in order of first appearance.
    pub fn groups(&self) -> Vec<(&'static str, &'static str)> {
        let mut groups = Vec::new();
        for def in self.iter().filter(|def| !def.group.is_empty()) {
            if !groups.contains(&(def.group, def.version)) {
                groups.push((def.group, def.version));
            }
        }
        groups
    }
}
