//! The schema of virtual machines: what the cluster's own definition of them says.

use async_trait::async_trait;
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::schema::MinorVersion;
use shepherd_ports::providers::{ClusterSchema, ProviderError, SchemaProvider};

use crate::detect;
use crate::errors::{lacks, provider_error};
use crate::machines;
use crate::provider::KubeVirtProvider;

/// Name of the definition, `plural.group`.
const DEFINITION: &str = "virtualmachines.kubevirt.io";
/// The version of machines that the product writes.
const VERSION: &str = "v1";

#[async_trait]
impl SchemaProvider for KubeVirtProvider {
    async fn vm_schema(&self, cluster: ClusterId) -> Result<ClusterSchema, ProviderError> {
        self.call(cluster, "vm_schema", move |client| async move {
            let minor_version = minor_version(&client, cluster).await?;
            let schema = definition(&client).await?;
            Ok(ClusterSchema { minor_version, schema })
        })
        .await
    }
}

async fn minor_version(client: &Client, cluster: ClusterId) -> Result<String, ProviderError> {
    let running = detect::kubevirt_version(client, cluster).await?;
    let parsed = running.and_then(|version| version.parse::<MinorVersion>().ok());
    let unknown = || ProviderError::Unsupported("KubeVirt does not say its version".to_owned());
    parsed.map(|version| version.to_string()).ok_or_else(unknown)
}

async fn definition(client: &Client) -> Result<Value, ProviderError> {
    let kind = machines::kind(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let mut definition = api.get(DEFINITION).await.map_err(|error| provider_error(&error))?;
    schema_of(&mut definition.data)
}

/// Takes the schema out of a definition.
fn schema_of(definition: &mut Value) -> Result<Value, ProviderError> {
    let versions = definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    let version = versions
        .into_iter()
        .flatten()
        .find(|version| version["name"] == VERSION && version["served"] == true);
    let schema = version.and_then(|version| version.pointer_mut("/schema/openAPIV3Schema"));
    schema
        .map(Value::take)
        .filter(Value::is_object)
        .ok_or_else(|| lacks("the schema of virtual machines"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(versions: Value) -> Value {
        json!({"spec": {"versions": versions}})
    }

    fn version(name: &str, served: bool) -> Value {
        json!({"name": name, "served": served, "schema": {"openAPIV3Schema": {"description": name}}})
    }

    #[test]
    fn the_schema_is_that_of_the_version_the_product_writes() {
        let mut both = definition(json!([version("v1alpha3", true), version("v1", true)]));
        assert_eq!(schema_of(&mut both), Ok(json!({"description": "v1"})));
    }

    #[test]
    fn a_definition_without_it_is_malformed() {
        for versions in [
            json!(null),
            json!({}),
            json!([]),
            json!([null, 1]),
            json!([version("v1", false)]),
            json!([version("v1alpha3", true)]),
            json!([{"name": "v1", "served": true}]),
            json!([{"name": "v1", "served": true, "schema": "none"}]),
        ] {
            let refusal = schema_of(&mut definition(versions));
            assert!(matches!(refusal, Err(ProviderError::Schema(_))), "{refusal:?}");
        }
        assert!(schema_of(&mut Value::Null).is_err());
    }
}
