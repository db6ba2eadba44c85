//! What a new cluster contains, and the fields the API server fills in on its own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::config::{ClusterSeed, NodeSeed, StorageClassSeed};
use crate::resources::{
    self, DEFINITIONS, KUBEVIRTS, NAMESPACES, NETWORKS, NODES, Registry, ResourceDef, STORAGE_CLASSES, VIRTUAL_MACHINES,
};
use crate::schema::{Schemas, builtin};
use crate::store::Store;
use crate::{host, object};

/// Fills an empty store.
pub(crate) fn fill(store: &mut Store, seed: &ClusterSeed) {
    let mut put = |def: &ResourceDef, mut object: Value| {
        complete(def, &mut object);
        store.put(def, object);
    };
    for name in namespaces(seed) {
        put(&NAMESPACES, json!({"metadata": {"name": name}}));
    }
    for node in &seed.nodes {
        put(&NODES, self::node(node, seed));
    }
    for class in &seed.storage_classes {
        put(&STORAGE_CLASSES, storage_class(class));
    }
    for def in Registry::of(seed).iter().filter(|def| def.is_custom()) {
        put(&DEFINITIONS, definition(def));
    }
    put(&KUBEVIRTS, kubevirt(seed));
    for network in &seed.sriov_networks {
        let (namespace, name) = network.split_once('/').unwrap_or(("default", network));
        put(&NETWORKS, sriov_network(namespace, name));
    }
    for object in &seed.objects {
        match resources::by_kind(object["kind"].as_str().unwrap_or_default()) {
            Some(def) if !object::name(object).is_empty() => put(def, object.clone()),
            _ => tracing::warn!(kind = %object["kind"], "an object of the seed has no name or an unknown kind"),
        }
    }
}

/// Puts the definitions the simulator was given in the place of its own.
pub(crate) fn define(store: &mut Store, schemas: &Schemas) {
    for definition in schemas.definitions() {
        if let Some(stored) = store.get(&DEFINITIONS, "", object::name(definition)) {
            let mut stored = Value::clone(&stored);
            stored["spec"] = definition["spec"].clone();
            store.put(&DEFINITIONS, stored);
        }
    }
}

/// Adds what every stored object has: type, uid, creation time.
pub(crate) fn complete(def: &ResourceDef, object: &mut Value) {
    let document = object::as_map(object);
    document
        .entry("apiVersion")
        .or_insert_with(|| Value::from(def.api_version()));
    document.entry("kind").or_insert_with(|| Value::from(def.kind));
    let metadata = object::metadata_mut(object);
    metadata.entry("uid").or_insert_with(|| Value::from(host::new_uid()));
    metadata
        .entry("creationTimestamp")
        .or_insert_with(|| Value::from(host::timestamp()));
    if def.is_custom() {
        metadata.entry("generation").or_insert_with(|| Value::from(1));
    }
    default_fields(def, object);
}

/// What the API server adds to a new object of some kinds.
pub(crate) fn default_fields(def: &ResourceDef, object: &mut Value) {
    if *def == NAMESPACES {
        let name = Value::from(object::name(object));
        let labels = object::as_map(object::metadata_mut(object).entry("labels").or_insert(Value::Null));
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        object::status_mut(object)
            .entry("phase")
            .or_insert_with(|| Value::from("Active"));
    }
}

fn namespaces(seed: &ClusterSeed) -> Vec<&str> {
    let mut names = vec!["default", "kube-system", "kubevirt"];
    names.extend(seed.namespaces.iter().map(String::as_str));
    names.extend(
        seed.sriov_networks
            .iter()
            .filter_map(|network| network.split_once('/'))
            .map(|(name, _)| name),
    );
    names.sort_unstable();
    names.dedup();
    names
}

fn node(node: &NodeSeed, seed: &ClusterSeed) -> Value {
    let mut resources = Map::new();
    resources.insert("cpu".to_owned(), Value::from(node.cpu.to_string()));
    resources.insert("memory".to_owned(), Value::from(format!("{}Ki", node.memory_mb * 1024)));
    resources.insert("pods".to_owned(), Value::from("110"));
    resources.insert("devices.kubevirt.io/kvm".to_owned(), Value::from("1k"));
    resources.insert(
        "hugepages-2Mi".to_owned(),
        Value::from(format!("{}Mi", node.hugepages_2mi_mb)),
    );
    resources.insert(
        "hugepages-1Gi".to_owned(),
        Value::from(format!("{}Mi", node.hugepages_1gi_mb)),
    );
    for (name, count) in &node.gpus {
        resources.insert(name.clone(), Value::from(count.to_string()));
    }
    let now = host::timestamp();
    json!({
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "kubevirt.io/schedulable": "true",
            },
        },
        "spec": {},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
            "addresses": [{"type": "Hostname", "address": node.name}],
            "nodeInfo": {
                "kubeletVersion": seed.kubernetes_version, "kubeProxyVersion": seed.kubernetes_version,
                "architecture": "amd64", "operatingSystem": "linux", "osImage": "Simulated Linux",
                "kernelVersion": "6.12.0", "containerRuntimeVersion": "cri-o://1.33.0",
                "machineID": "", "systemUUID": "", "bootID": "",
            },
        },
    })
}

fn storage_class(class: &StorageClassSeed) -> Value {
    let mut annotations = BTreeMap::new();
    if class.default {
        annotations.insert("storageclass.kubernetes.io/is-default-class", "true");
    }
    json!({
        "metadata": {"name": class.name, "annotations": annotations},
        "provisioner": "csi.simulator.example",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": true,
    })
}

fn definition(def: &ResourceDef) -> Value {
    let schema = if (def.group, def.plural) == (VIRTUAL_MACHINES.group, VIRTUAL_MACHINES.plural) {
        builtin::machine()
    } else {
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    };
    let mut version = json!({
        "name": def.version,
        "served": true,
        "storage": true,
        "schema": {"openAPIV3Schema": schema},
    });
    if def.status {
        version["subresources"] = json!({"status": {}});
    }
    let names = json!({
        "plural": def.plural,
        "singular": def.singular,
        "kind": def.kind,
        "listKind": def.list_kind(),
        "shortNames": def.short_names,
    });
    let condition = |name: &str, reason: &str| json!({"type": name, "status": "True", "reason": reason, "lastTransitionTime": host::timestamp()});
    json!({
        "metadata": {"name": def.qualified()},
        "spec": {
            "group": def.group,
            "scope": if def.namespaced { "Namespaced" } else { "Cluster" },
            "names": names,
            "versions": [version],
            "conversion": {"strategy": "None"},
        },
        "status": {
            "acceptedNames": names,
            "storedVersions": [def.version],
            "conditions": [
                condition("NamesAccepted", "NoConflicts"),
                condition("Established", "InitialNamesAccepted"),
            ],
        },
    })
}

fn kubevirt(seed: &ClusterSeed) -> Value {
    let mut devices: Vec<&str> = seed
        .nodes
        .iter()
        .flat_map(|node| node.gpus.keys())
        .map(String::as_str)
        .collect();
    devices.sort_unstable();
    devices.dedup();
    let devices: Vec<Value> = devices
        .into_iter()
        .map(|name| json!({"pciVendorSelector": "10DE:2236", "resourceName": name, "externalResourceProvider": true}))
        .collect();
    let version = format!("v{}", seed.kubevirt_version.trim_start_matches('v'));
    let available = if seed.kubevirt_phase == "Deployed" {
        "True"
    } else {
        "False"
    };
    json!({
        "metadata": {"namespace": "kubevirt", "name": "kubevirt"},
        "spec": {
            "configuration": {
                "developerConfiguration": {"featureGates": seed.feature_gates},
                "permittedHostDevices": {"pciHostDevices": devices},
            },
            "imagePullPolicy": "IfNotPresent",
        },
        "status": {
            "phase": seed.kubevirt_phase,
            "observedKubeVirtVersion": version,
            "targetKubeVirtVersion": version,
            "operatorVersion": version,
            "observedGeneration": 1,
            "conditions": [{"type": "Available", "status": available, "reason": "AllComponentsReady"}],
        },
    })
}

fn sriov_network(namespace: &str, name: &str) -> Value {
    let config = json!({"cniVersion": "0.3.1", "name": name, "type": "sriov", "vlan": 0, "ipam": {}});
    json!({
        "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/sriov"},
        },
        "spec": {"config": config.to_string()},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_cluster_shows_what_it_can() {
        let seed = ClusterSeed {
            nodes: vec![NodeSeed {
                gpus: BTreeMap::from([("nvidia.com/A10".to_owned(), 2)]),
                ..NodeSeed::default()
            }],
            sriov_networks: vec!["lab/fast".to_owned()],
            ..ClusterSeed::default()
        };
        let mut store = Store::default();
        fill(&mut store, &seed);
        let kubevirt = store.get(&KUBEVIRTS, "kubevirt", "kubevirt").unwrap();
        assert_eq!(kubevirt["status"]["observedKubeVirtVersion"], "v1.6.2");
        let node = store.get(&NODES, "", "node-1").unwrap();
        assert_eq!(node["status"]["allocatable"]["nvidia.com/A10"], "2");
        assert!(store.get(&DEFINITIONS, "", &VIRTUAL_MACHINES.qualified()).is_some());
        assert!(store.get(&NETWORKS, "lab", "fast").is_some());
        assert_eq!(store.get(&NAMESPACES, "", "lab").unwrap()["status"]["phase"], "Active");
    }
}
