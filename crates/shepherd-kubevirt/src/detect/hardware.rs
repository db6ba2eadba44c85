//! Hardware, from nodes and network attachments.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use serde_json::Value;

use super::items;

/// Vendors whose every device is a GPU.
const GPU_VENDORS: [&str; 3] = ["nvidia.com/", "amd.com/", "gpu.intel.com/"];
/// A vendor of many things, some of them GPUs.
const MIXED_VENDOR: &str = "intel.com/";

/// Exact names of the GPUs that nodes have.
pub(super) fn gpus(nodes: &[DynamicObject]) -> BTreeSet<String> {
    let is_gpu = |name: &str| {
        GPU_VENDORS.iter().any(|vendor| name.starts_with(vendor))
            || name
                .strip_prefix(MIXED_VENDOR)
                .is_some_and(|device| device.to_ascii_lowercase().contains("gpu"))
    };
    nodes
        .iter()
        .flat_map(|node| present(&node.data["status"]["capacity"]))
        .filter(|name| is_gpu(name))
        .map(str::to_owned)
        .collect()
}

/// Page sizes that nodes can give away, lower case.
pub(super) fn hugepages(nodes: &[DynamicObject]) -> BTreeSet<String> {
    nodes
        .iter()
        .flat_map(|node| present(&node.data["status"]["allocatable"]))
        .filter_map(|name| name.strip_prefix("hugepages-"))
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Network attachments of an SR-IOV type, as `namespace/name`.
pub(super) fn sriov_networks(attachments: &[DynamicObject]) -> BTreeSet<String> {
    attachments
        .iter()
        .filter(|attachment| attachment.data["spec"]["config"].as_str().is_some_and(is_sriov))
        .filter_map(|attachment| {
            Some(format!(
                "{}/{}",
                attachment.metadata.namespace.as_deref()?,
                attachment.metadata.name.as_deref()?
            ))
        })
        .collect()
}

/// Names of the resources whose quantity is not zero.
fn present(resources: &Value) -> impl Iterator<Item = &str> {
    let is_some = |quantity: &Value| match quantity.as_str() {
        Some(text) => text
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .any(|byte| (b'1'..=b'9').contains(&byte)),
        None => quantity.as_u64().is_some_and(|number| number > 0),
    };
    resources
        .as_object()
        .into_iter()
        .flatten()
        .filter(move |(_, quantity)| is_some(quantity))
        .map(|(name, _)| name.as_str())
}

/// Whether a CNI configuration, or one of its plugins, is of an SR-IOV type.
fn is_sriov(config: &str) -> bool {
    let Ok(config) = serde_json::from_str::<Value>(config) else {
        return false;
    };
    let of_type = |plugin: &Value| plugin["type"].as_str().is_some_and(|name| name.contains("sriov"));
    of_type(&config) || items(&config["plugins"]).iter().any(of_type)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(resources: Value) -> DynamicObject {
        serde_json::from_value(
            json!({"metadata": {"name": "node-1"}, "status": {"capacity": resources, "allocatable": resources}}),
        )
        .unwrap()
    }

    fn names(set: BTreeSet<String>) -> Vec<String> {
        set.into_iter().collect()
    }

    #[test]
    fn gpus_of_known_vendors_are_found_by_their_exact_names() {
        let nodes = [
            node(json!({"cpu": "64", "nvidia.com/A10": "2", "nvidia.com/gone": "0", "intel.com/sriov_nic": "8"})),
            node(json!({"amd.com/gpu": 1, "gpu.intel.com/i915": "1", "intel.com/gpu-flex": "1"})),
        ];
        assert_eq!(
            names(gpus(&nodes)),
            [
                "amd.com/gpu",
                "gpu.intel.com/i915",
                "intel.com/gpu-flex",
                "nvidia.com/A10"
            ]
        );
    }

    #[test]
    fn hugepages_count_when_there_are_some() {
        let nodes = [
            node(json!({"hugepages-2Mi": "1Gi", "hugepages-1Gi": "0", "memory": "256Gi"})),
            node(json!(null)),
        ];
        assert_eq!(names(hugepages(&nodes)), ["2mi"]);
    }

    #[test]
    fn sriov_is_a_type_of_the_configuration_or_of_a_plugin() {
        let attachment = |name: &str, config: &str| -> DynamicObject {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "net"}, "spec": {"config": config}}))
                .unwrap()
        };
        let attachments = [
            attachment("direct", r#"{"type": "sriov"}"#),
            attachment("chained", r#"{"plugins": [{"type": "ib-sriov"}, {"type": "tuning"}]}"#),
            attachment("bridge", r#"{"type": "bridge", "name": "sriov"}"#),
            attachment("broken", "{"),
        ];
        assert_eq!(names(sriov_networks(&attachments)), ["net/chained", "net/direct"]);
    }
}
