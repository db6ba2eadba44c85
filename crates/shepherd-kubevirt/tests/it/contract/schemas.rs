//! What a cluster says machines are made of.

use kube::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;
use shepherd_domain::schema::{MinorVersion, VmSchema};
use shepherd_ports::providers::{InfrastructureProvider, ProviderError, SchemaProvider};

use crate::golden;
use crate::lab::{CLUSTER, Subject};

/// The definition, past the provider: an API server without KubeVirt has one and no version.
async fn definition(subject: &Subject) -> Value {
    let kind = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        "customresourcedefinitions",
    );
    let api: Api<DynamicObject> = Api::all_with(subject.client.clone(), &kind);
    let found = api.get("virtualmachines.kubevirt.io").await;
    let found = found.expect("the definition can be read");
    let versions = found.data["spec"]["versions"].as_array().expect("versions").clone();
    let version = versions.into_iter().find(|version| version["name"] == "v1");
    version.expect("version v1")["schema"]["openAPIV3Schema"].take()
}

pub async fn a_cluster_tells_what_machines_are_made_of(subject: Subject) {
    let answer = subject.provider.vm_schema(CLUSTER).await;
    if !subject.offer.controllers {
        assert!(matches!(answer, Err(ProviderError::Unsupported(_))), "{answer:?}");
        return;
    }
    let answer = answer.expect("the schema can be read");
    let facts = subject.provider.probe(CLUSTER).await.expect("the cluster answers");
    let running: MinorVersion = facts
        .kubevirt_version
        .and_then(|version| version.parse().ok())
        .expect("a version");
    assert_eq!(answer.minor_version, running.to_string());
    assert_eq!(answer.schema, definition(&subject).await);
}

pub async fn a_cluster_knows_what_the_product_knows(subject: Subject) {
    let real = VmSchema::from_json("1.0", &definition(&subject).await).expect("a schema");
    let own = VmSchema::baseline();
    let mut missing = Vec::new();
    compare(
        "spec",
        &own.to_json()["properties"]["spec"],
        &real.to_json()["properties"]["spec"],
        &mut missing,
    );
    assert!(missing.is_empty(), "{missing:#?}");
}

pub async fn rendered_documents_follow_the_schema(subject: Subject) {
    let schema = VmSchema::from_json("1.0", &definition(&subject).await).expect("a schema");
    for golden in golden::all() {
        // Checksums have a case of their own, because there are clusters that do not know them.
        if golden.name != golden::CHECKSUM {
            assert_eq!(schema.check_document(&golden.object()), Vec::new(), "{}", golden.name);
        }
    }
}

pub async fn the_schema_without_rights_is_forbidden(subject: Subject) {
    let subject = subject.for_somebody_else();
    let refusal = subject.provider.vm_schema(CLUSTER).await;
    let refused = matches!(
        refusal,
        Err(ProviderError::Forbidden(_) | ProviderError::Unsupported(_))
    );
    assert!(refused, "{refusal:?}");
}

/// What the first schema has and the second has not, or has of another type.
fn compare(path: &str, own: &Value, real: &Value, missing: &mut Vec<String>) {
    let real_type = (&real["type"], &real["anyOf"]);
    if *own == Value::Object(Default::default()) {
        return;
    }
    if (&own["type"], &own["anyOf"]) != real_type {
        missing.push(format!("{path}: {} and not {}", own["type"], real["type"]));
        return;
    }
    for (key, inner) in own["properties"].as_object().into_iter().flatten() {
        match real["properties"].get(key) {
            Some(known) => compare(&format!("{path}.{key}"), inner, known, missing),
            None => missing.push(format!("{path}.{key}: unknown")),
        }
    }
    if own["items"].is_object() {
        compare(&format!("{path}[]"), &own["items"], &real["items"], missing);
    }
    if own["additionalProperties"].get("type").is_some() || own["additionalProperties"].get("anyOf").is_some() {
        let (own, real) = (&own["additionalProperties"], &real["additionalProperties"]);
        compare(&format!("{path}.*"), own, real, missing);
    }
}
