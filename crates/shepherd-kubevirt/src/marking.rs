//! The platform's marks on a machine that is there already: a clone, a restored or an adopted one.

use std::collections::BTreeMap;

use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use shepherd_domain::infrastructure::Marks;
use shepherd_domain::labels;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::ProviderError;

use crate::errors::provider_error;
use crate::machines::{instance_kind, machines};
use crate::mapping;
use crate::objects::find;

/// Labels of machines that are the platform's; these stay even when a mark says nothing about them.
const OWN_LABELS: [&str; 7] = [
    labels::MANAGED_BY,
    labels::SYSTEM,
    labels::SERVICE,
    labels::INSTANCE,
    labels::TICKET,
    labels::CREATED_BY,
    labels::HOSTNAME,
];

/// Lays labels over the machine and its template and annotations over the machine, as rendering does, and takes all
/// labels away that are not the platform's. Foreign annotations stay: KubeVirt keeps its own notes there.
///
/// # Errors
/// NotFound when there is no machine of the name; Conflict when it is not the one with this uid.
pub(crate) async fn mark_vm(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
    marks: &Marks,
) -> Result<ObservedVm, ProviderError> {
    let api = machines(client, namespace);
    let found = api.get(name).await.map_err(|error| provider_error(&error))?;
    if found.metadata.uid.as_deref() != Some(uid) {
        return Err(another(name));
    }
    let params = PatchParams {
        field_manager: Some(labels::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let marked = api
        .patch(name, &params, &Patch::Merge(patch(&found, uid, marks)))
        .await
        .map_err(|error| refusal(provider_error(&error), name))?;
    let instances = Api::namespaced_with(client.clone(), namespace, &instance_kind());
    let instance = find(&instances, name).await?;
    mapping::observe(&marked, instance.as_ref())
}

/// A uid in a patch is a precondition: it cannot be changed.
fn patch(found: &DynamicObject, uid: &str, marks: &Marks) -> Value {
    let on_machine = found.metadata.labels.iter().flatten().map(|(key, _)| key.as_str());
    let on_template = found.data["spec"]["template"]["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str());
    json!({
        "metadata": {
            "uid": uid,
            "labels": changes(on_machine, &marks.labels),
            "annotations": marks.annotations,
        },
        "spec": {"template": {"metadata": {"labels": changes(on_template, &marks.labels)}}},
    })
}

fn changes<'a>(present: impl Iterator<Item = &'a str>, wanted: &BTreeMap<String, String>) -> Value {
    let mut changes: Map<String, Value> = present
        .filter(|key| !OWN_LABELS.contains(key))
        .map(|key| (key.to_owned(), Value::Null))
        .collect();
    for (key, value) in wanted {
        changes.insert(key.clone(), Value::from(value.as_str()));
    }
    Value::Object(changes)
}

/// An API server answers a patch with another uid either as a conflict or as an attempt to change the uid.
fn refusal(error: ProviderError, name: &str) -> ProviderError {
    let is_about_uid = matches!(
        &error,
        ProviderError::Invalid { causes, .. } if causes.iter().any(|(field, _)| field == "metadata.uid")
    );
    if is_about_uid { another(name) } else { error }
}

fn another(name: &str) -> ProviderError {
    ProviderError::Conflict(format!("{name} is not the machine that was meant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        Marks {
            labels: [(labels::SYSTEM.to_owned(), "shop".to_owned())].into(),
            annotations: [(labels::VM.to_owned(), "v-1".to_owned())].into(),
        }
    }

    #[test]
    fn foreign_labels_go_and_the_platforms_stay() {
        let found: DynamicObject = serde_json::from_value(json!({
            "metadata": {
                "name": "web", "uid": "u-1",
                "labels": {"app": "theirs", labels::SYSTEM: "bank", labels::TICKET: "TKT-000001"},
                "annotations": {"kubevirt.io/latest-observed-api-version": "v1"},
            },
            "spec": {"template": {"metadata": {"labels": {"tier": "front"}, "annotations": {"note": "x"}}}},
        }))
        .unwrap();
        assert_eq!(
            patch(&found, "u-1", &marks()),
            json!({
                "metadata": {
                    "uid": "u-1",
                    "labels": {"app": null, labels::SYSTEM: "shop"},
                    "annotations": {labels::VM: "v-1"},
                },
                "spec": {"template": {"metadata": {"labels": {"tier": null, labels::SYSTEM: "shop"}}}},
            })
        );
    }

    #[test]
    fn a_bare_machine_is_marked_too() {
        let found: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
        let patch = patch(&found, "u-1", &marks());
        assert_eq!(patch["metadata"]["labels"], json!({labels::SYSTEM: "shop"}));
        assert_eq!(
            patch["spec"]["template"]["metadata"]["labels"],
            json!({labels::SYSTEM: "shop"})
        );
    }

    #[test]
    fn an_attempt_to_change_the_uid_is_a_conflict() {
        let invalid = |field: &str| ProviderError::Invalid {
            message: "field is immutable".to_owned(),
            reason: "Invalid".to_owned(),
            causes: vec![(field.to_owned(), "field is immutable".to_owned())],
        };
        assert!(matches!(
            refusal(invalid("metadata.uid"), "web"),
            ProviderError::Conflict(_)
        ));
        assert_eq!(refusal(invalid("spec"), "web"), invalid("spec"));
    }
}
