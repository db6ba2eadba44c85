//! Which node an instance fits on.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::object;
use crate::quantity::units;
use crate::resources::{INSTANCES, NODES};
use crate::store::Store;

/// Amounts by resource name: processors, bytes, devices.
type Amounts = BTreeMap<String, i128>;

/// The node with the fewest instances among those with room, `except` left out; the first by name of
/// several. The error says what is missing.
pub(crate) fn find_node(store: &Store, instance: &Value, except: &str) -> Result<String, String> {
    let wanted = demand(&instance["spec"]);
    let nodes = store.list(&NODES, "");
    let running: Vec<_> = store
        .list(&INSTANCES, "")
        .into_iter()
        .filter(|other| object::uid(other) != object::uid(instance))
        .collect();
    let mut best: Option<(usize, String)> = None;
    let mut lacking: BTreeMap<String, usize> = BTreeMap::new();
    for node in &nodes {
        let name = object::name(node);
        if name == except || !selects(&instance["spec"]["nodeSelector"], node) {
            continue;
        }
        let here: Vec<&Value> = running
            .iter()
            .map(|other| &**other)
            .filter(|other| other["status"]["nodeName"] == name)
            .collect();
        match first_lack(node, &here, &wanted) {
            Some(resource) => *lacking.entry(resource).or_default() += 1,
            None if best.as_ref().is_none_or(|(count, _)| here.len() < *count) => {
                best = Some((here.len(), name.to_owned()));
            }
            None => {}
        }
    }
    best.map(|(_, name)| name).ok_or_else(|| {
        let reasons: Vec<String> = lacking
            .iter()
            .map(|(resource, count)| format!("{count} Insufficient {resource}"))
            .collect();
        format!("0/{} nodes are available: {}.", nodes.len(), reasons.join(", "))
    })
}

fn selects(selector: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    selector
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels[key.as_str()] == *value))
}

/// The first resource a node has too little of.
fn first_lack(node: &Value, here: &[&Value], wanted: &Amounts) -> Option<String> {
    let mut used = Amounts::new();
    for other in here {
        for (resource, amount) in demand(&other["spec"]) {
            *used.entry(resource).or_default() += amount;
        }
    }
    let allocatable = &node["status"]["allocatable"];
    let lack = wanted.iter().find(|(resource, amount)| {
        let total = units(&allocatable[resource.as_str()]).unwrap_or(0);
        used.get(*resource).copied().unwrap_or(0) + **amount > total
    });
    lack.map(|(resource, _)| resource.clone())
}

/// What an instance takes from its node.
fn demand(spec: &Value) -> Amounts {
    let domain = &spec["domain"];
    let requests = &domain["resources"]["requests"];
    let guest = &domain["memory"]["guest"];
    let memory = units(&requests["memory"]).or_else(|| units(guest)).unwrap_or(0);
    let cpu = units(&requests["cpu"]).unwrap_or_else(|| {
        ["cores", "sockets", "threads"]
            .iter()
            .map(|part| i128::from(domain["cpu"][*part].as_u64().unwrap_or(1).max(1)))
            .product()
    });
    let mut amounts = Amounts::from([("cpu".to_owned(), cpu)]);
    match domain["memory"]["hugepages"]["pageSize"].as_str() {
        Some(size) => amounts.insert(format!("hugepages-{size}"), units(guest).unwrap_or(memory)),
        None => amounts.insert("memory".to_owned(), memory),
    };
    for list in ["gpus", "hostDevices"] {
        for device in domain["devices"][list].as_array().into_iter().flatten() {
            if let Some(name) = device["deviceName"].as_str() {
                *amounts.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
    amounts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store() -> Store {
        let mut store = Store::default();
        for (name, gpus) in [("a", "0"), ("b", "1")] {
            let allocatable = json!({"cpu": "4", "memory": "8Gi", "nvidia.com/A10": gpus});
            store.put(
                &NODES,
                json!({"metadata": {"name": name}, "status": {"allocatable": allocatable}}),
            );
        }
        store
    }

    fn instance(name: &str, memory: &str, gpus: usize, node: &str) -> Value {
        let gpus = vec![json!({"name": "gpu", "deviceName": "nvidia.com/A10"}); gpus];
        json!({
            "metadata": {"namespace": "n", "name": name, "uid": name},
            "spec": {"domain": {"memory": {"guest": memory}, "devices": {"gpus": gpus}}},
            "status": {"nodeName": node},
        })
    }

    #[test]
    fn instances_spread_and_devices_decide() {
        let mut store = store();
        assert_eq!(find_node(&store, &instance("x", "1Gi", 0, ""), "").unwrap(), "a");
        store.put(&INSTANCES, instance("one", "1Gi", 0, "a"));
        assert_eq!(find_node(&store, &instance("x", "1Gi", 0, ""), "").unwrap(), "b");
        assert_eq!(find_node(&store, &instance("x", "1Gi", 1, ""), "").unwrap(), "b");
    }

    #[test]
    fn nothing_fits_when_memory_or_devices_are_taken() {
        let mut store = store();
        assert!(
            find_node(&store, &instance("x", "9Gi", 0, ""), "")
                .unwrap_err()
                .contains("2 Insufficient memory")
        );
        store.put(&INSTANCES, instance("one", "1Gi", 1, "b"));
        assert!(
            find_node(&store, &instance("x", "1Gi", 1, ""), "")
                .unwrap_err()
                .contains("nvidia.com/A10")
        );
    }
}
