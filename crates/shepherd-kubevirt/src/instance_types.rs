//! Instance types and preferences, of a namespace and of the whole cluster.

use async_trait::async_trait;
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::{InstanceType, Preference};
use shepherd_ports::providers::{InstanceTypeProvider, ProviderError};

use crate::errors::lacks;
use crate::objects::{OptionalKind, all, text};
use crate::provider::KubeVirtProvider;
use crate::{discovery, machines};

/// Group of all four kinds.
const GROUP: &str = "instancetype.kubevirt.io";
/// Versions of the group this module can read, newest first. What it reads is the same in all of them.
const KNOWN: [&str; 4] = ["v1", "v1beta1", "v1alpha2", "v1alpha1"];

const INSTANCE_TYPES: OptionalKind = of_group("VirtualMachineInstancetype", "virtualmachineinstancetypes");
const CLUSTER_INSTANCE_TYPES: OptionalKind = of_group(
    "VirtualMachineClusterInstancetype",
    "virtualmachineclusterinstancetypes",
);
const PREFERENCES: OptionalKind = of_group("VirtualMachinePreference", "virtualmachinepreferences");
const CLUSTER_PREFERENCES: OptionalKind =
    of_group("VirtualMachineClusterPreference", "virtualmachineclusterpreferences");

const fn of_group(kind: &'static str, plural: &'static str) -> OptionalKind {
    OptionalKind {
        group: GROUP,
        known: &KNOWN,
        kind,
        plural,
    }
}

#[async_trait]
impl InstanceTypeProvider for KubeVirtProvider {
    async fn list_instance_types(
        &self,
        cluster: ClusterId,
        namespace: &str,
    ) -> Result<Vec<InstanceType>, ProviderError> {
        self.call(cluster, "list_instance_types", move |client| async move {
            instance_types(&client, &INSTANCE_TYPES, Some(namespace)).await
        })
        .await
    }

    async fn list_cluster_instance_types(&self, cluster: ClusterId) -> Result<Vec<InstanceType>, ProviderError> {
        self.call(cluster, "list_cluster_instance_types", move |client| async move {
            instance_types(&client, &CLUSTER_INSTANCE_TYPES, None).await
        })
        .await
    }

    async fn list_preferences(&self, cluster: ClusterId, namespace: &str) -> Result<Vec<Preference>, ProviderError> {
        self.call(cluster, "list_preferences", move |client| async move {
            preferences(&client, &PREFERENCES, Some(namespace)).await
        })
        .await
    }

    async fn list_cluster_preferences(&self, cluster: ClusterId) -> Result<Vec<Preference>, ProviderError> {
        self.call(cluster, "list_cluster_preferences", move |client| async move {
            preferences(&client, &CLUSTER_PREFERENCES, None).await
        })
        .await
    }
}

async fn instance_types(
    client: &Client,
    kind: &OptionalKind,
    namespace: Option<&str>,
) -> Result<Vec<InstanceType>, ProviderError> {
    let found = list(client, kind, namespace).await?;
    found
        .iter()
        .map(|object| instance_type(object, namespace.is_none()))
        .collect()
}

async fn preferences(
    client: &Client,
    kind: &OptionalKind,
    namespace: Option<&str>,
) -> Result<Vec<Preference>, ProviderError> {
    let found = list(client, kind, namespace).await?;
    found
        .iter()
        .map(|object| {
            Ok(Preference {
                name: name(object)?,
                cluster_wide: namespace.is_none(),
            })
        })
        .collect()
}

/// All objects of a kind, of one namespace or of the cluster, by name.
async fn list(
    client: &Client,
    kind: &OptionalKind,
    namespace: Option<&str>,
) -> Result<Vec<DynamicObject>, ProviderError> {
    let version = discovery::newest(client, kind.group, kind.known).await?;
    let resource = machines::kind(kind.group, &version, kind.kind, kind.plural);
    let api = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    all(&api).await
}

fn instance_type(object: &DynamicObject, cluster_wide: bool) -> Result<InstanceType, ProviderError> {
    let spec = &object.data["spec"];
    Ok(InstanceType {
        name: name(object)?,
        cpu: spec["cpu"]["guest"].as_i64(),
        memory: quantity(&spec["memory"]["guest"]),
        cluster_wide,
    })
}

fn name(object: &DynamicObject) -> Result<String, ProviderError> {
    let name = object.metadata.name.clone().filter(|name| !name.is_empty());
    name.ok_or_else(|| lacks("metadata.name"))
}

/// A quantity as it was written: `4Gi`, or a plain number of bytes.
fn quantity(value: &Value) -> Option<String> {
    text(value).or_else(|| value.as_number().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: Value) -> InstanceType {
        let object: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "u1.medium"}, "spec": spec})).unwrap();
        instance_type(&object, true).unwrap()
    }

    #[test]
    fn processors_and_memory_are_read() {
        let found = read(json!({"cpu": {"guest": 2, "model": "host-model"}, "memory": {"guest": "4Gi"}}));
        let wanted = InstanceType {
            name: "u1.medium".to_owned(),
            cpu: Some(2),
            memory: Some("4Gi".to_owned()),
            cluster_wide: true,
        };
        assert_eq!(found, wanted);
        let bytes = read(json!({"cpu": {"guest": 1}, "memory": {"guest": 536_870_912}}));
        assert_eq!(bytes.memory.as_deref(), Some("536870912"));
    }

    #[test]
    fn odd_fields_are_absent() {
        for spec in [
            json!(null),
            json!({"cpu": 2, "memory": []}),
            json!({"cpu": {"guest": "two"}, "memory": {"guest": ""}}),
        ] {
            let found = read(spec);
            assert_eq!((found.cpu, found.memory), (None, None));
        }
    }

    #[test]
    fn an_object_without_a_name_is_malformed() {
        let object: DynamicObject = serde_json::from_value(json!({"metadata": {}})).unwrap();
        let found = instance_type(&object, false);
        assert!(matches!(found, Err(ProviderError::Schema(_))), "{found:?}");
    }
}
