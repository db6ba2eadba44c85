//! What a cluster is and has: versions, KubeVirt, features, hardware, services, storage classes.
//!
//! No version means no cluster, so that failure is the probe's. Every later step may fail on its own: it is logged
//! and leaves its part of the facts out, so that what was known stays.

use std::collections::BTreeSet;

use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client};
use serde_json::Value;
use shepherd_domain::cluster::{ClusterFacts, DetectedCapabilities, StorageClass};
use shepherd_domain::ids::ClusterId;
use shepherd_ports::providers::ProviderError;

use crate::errors::provider_error;
use crate::machines::kind;
use crate::objects;
use crate::plain::plain;

mod hardware;
mod kubevirt;

/// Annotations that mark the default storage class.
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// Looks whether a cluster is well: its version and its KubeVirt.
///
/// # Errors
/// Whatever kept the version from being read, and a connection that was lost on the way to KubeVirt's state.
pub(crate) async fn health(client: &Client, cluster: ClusterId) -> Result<ClusterFacts, ProviderError> {
    look(client, cluster).await.map(|(facts, _)| facts)
}

/// Looks at all of a cluster.
///
/// # Errors
/// As [`health`].
pub(crate) async fn probe(client: &Client, cluster: ClusterId) -> Result<ClusterFacts, ProviderError> {
    let (facts, permitted_devices) = look(client, cluster).await?;
    let (nodes, networks, groups, classes) = tokio::join!(
        list(client, kind("", "v1", "Node", "nodes")),
        list(
            client,
            kind(
                "k8s.cni.cncf.io",
                "v1",
                "NetworkAttachmentDefinition",
                "network-attachment-definitions"
            )
        ),
        served_groups(client),
        list(client, kind("storage.k8s.io", "v1", "StorageClass", "storageclasses")),
    );
    let nodes = read_or_warn(cluster, "nodes", nodes);
    let networks = read_or_warn(cluster, "network attachments", networks);
    let groups = read_or_warn(cluster, "API groups", groups);
    let classes = read_or_warn(cluster, "storage classes", classes);
    let read = nodes.zip(networks).zip(groups).zip(permitted_devices);
    let capabilities = read.map(|(((nodes, networks), groups), permitted_devices)| {
        let mut gpu_devices = hardware::gpus(&nodes);
        gpu_devices.extend(permitted_devices);
        DetectedCapabilities {
            gpu_devices,
            hugepages: hardware::hugepages(&nodes),
            sriov_networks: hardware::sriov_networks(&networks),
            cdi: groups.contains("cdi.kubevirt.io"),
            snapshot: groups.contains("snapshot.kubevirt.io"),
            clone: groups.contains("clone.kubevirt.io"),
        }
    });
    Ok(ClusterFacts {
        capabilities,
        storage_classes: classes.map(|classes| storage_classes(&classes)),
        ..facts
    })
}

/// The version of a cluster's KubeVirt, without a leading `v`; `None` when it says none.
///
/// # Errors
/// When the cluster was lost.
pub(crate) async fn kubevirt_version(client: &Client, cluster: ClusterId) -> Result<Option<String>, ProviderError> {
    Ok(kubevirt::read(client, cluster).await?.version)
}

/// Versions and KubeVirt, and the devices that KubeVirt lets machines ask for.
async fn look(client: &Client, cluster: ClusterId) -> Result<(ClusterFacts, Option<BTreeSet<String>>), ProviderError> {
    let version = client
        .apiserver_version()
        .await
        .map_err(|error| provider_error(&error))?;
    let kubevirt = kubevirt::read(client, cluster).await?;
    if kubevirt.reason.is_none() && kubevirt.version.is_none() {
        tracing::warn!(%cluster, "KubeVirt is deployed and does not say which version it is");
    }
    let facts = ClusterFacts {
        kubernetes_version: plain(&version.git_version),
        kubevirt_version: kubevirt.version,
        kubevirt_deployed: kubevirt.reason.is_none(),
        reason: kubevirt.reason,
        features: kubevirt.features,
        capabilities: None,
        storage_classes: None,
    };
    Ok((facts, kubevirt.permitted_devices))
}

/// All objects of a kind, in all namespaces.
async fn list(client: &Client, kind: ApiResource) -> Result<Vec<DynamicObject>, ProviderError> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    objects::pages(&api).await
}

async fn served_groups(client: &Client) -> Result<BTreeSet<String>, ProviderError> {
    let list = client.list_api_groups().await.map_err(|error| provider_error(&error))?;
    Ok(list.groups.into_iter().map(|group| group.name).collect())
}

/// What a step found. A kind that is not served has no objects; any other failure is worth a warning and says nothing.
fn read_or_warn<T: Default>(cluster: ClusterId, step: &str, found: Result<T, ProviderError>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(ProviderError::NotFound(_)) => Some(T::default()),
        Err(error) => {
            tracing::warn!(%cluster, step, %error, "a part of the detection failed");
            None
        }
    }
}

fn storage_classes(classes: &[DynamicObject]) -> Vec<StorageClass> {
    let is_default = |class: &DynamicObject| {
        let annotations = class.metadata.annotations.as_ref();
        DEFAULT_CLASS.iter().any(|key| {
            annotations
                .and_then(|all| all.get(*key))
                .is_some_and(|value| value == "true")
        })
    };
    let mut found: Vec<StorageClass> = classes
        .iter()
        .filter_map(|class| {
            Some(StorageClass {
                name: class.metadata.name.as_deref().map(plain)?,
                default: is_default(class),
            })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The items of a list, or nothing.
fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_default_storage_class_is_annotated() {
        let class = |name: &str, annotations: Value| -> DynamicObject {
            serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).unwrap()
        };
        let classes = [
            class("slow", json!({})),
            class("fast", json!({DEFAULT_CLASS[0]: "true"})),
            class("odd", json!({DEFAULT_CLASS[0]: "false"})),
        ];
        let found: Vec<(String, bool)> = storage_classes(&classes)
            .into_iter()
            .map(|class| (class.name, class.default))
            .collect();
        assert_eq!(
            found,
            [
                ("fast".to_owned(), true),
                ("odd".to_owned(), false),
                ("slow".to_owned(), false)
            ]
        );
    }

    #[test]
    fn a_failed_step_says_nothing_and_an_absent_kind_has_no_objects() {
        let cluster = ClusterId::from_bits(1);
        let absent = read_or_warn::<Vec<u8>>(cluster, "step", Err(ProviderError::NotFound(String::new())));
        assert_eq!(absent, Some(Vec::new()));
        let refused = read_or_warn::<Vec<u8>>(cluster, "step", Err(ProviderError::Forbidden(String::new())));
        assert_eq!(refused, None);
        assert_eq!(read_or_warn(cluster, "step", Ok(vec![1])), Some(vec![1]));
    }
}
