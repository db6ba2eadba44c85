//! Applying a document to a machine that has data: it keeps its volumes.
//!
//! A document is rendered as for a creation, with the names a creation gives. Restores and clones give other names to
//! what they make, so the rendered ones may lead to what a machine had once, or to nothing. What a machine stores and
//! what its guest was initialised with is therefore taken from the machine itself.

use kube::Client;
use kube::api::Patch;
use serde_json::{Value, json};
use shepherd_domain::rendering::VmDocument;
use shepherd_ports::providers::{ApplyMode, ModifiedVm, ProviderError};

use crate::apply::{address, params};
use crate::errors::provider_error;
use crate::{machines, mapping};

/// Sources of a volume that belong to one machine.
const OWN_SOURCES: [&str; 4] = [
    "cloudInitConfigDrive",
    "cloudInitNoCloud",
    "dataVolume",
    "persistentVolumeClaim",
];

/// Applies the document to the machine with this uid.
///
/// # Errors
/// NotFound when there is no machine of the name; Conflict when it is another one, now or by the time of the apply.
pub(crate) async fn modify_vm(
    client: &Client,
    document: &VmDocument,
    uid: &str,
    mode: ApplyMode,
) -> Result<ModifiedVm, ProviderError> {
    let (namespace, name) = address(&document.object)?;
    let api = machines::machines(client, namespace);
    let live = api.get(name).await.map_err(|error| provider_error(&error))?;
    if live.metadata.uid.as_deref() != Some(uid) {
        return Err(ProviderError::Conflict(format!(
            "{name} is not the machine that was meant"
        )));
    }
    let object = with_volumes_of(&live.data["spec"], document.object.clone());
    let applied = api
        .patch(name, &params(mode), &Patch::Apply(&only_if(uid, &object)))
        .await
        .map_err(|error| provider_error(&error))?;
    let vm = match mode {
        ApplyMode::DryRun => mapping::observe_dry_run(applied)?,
        ApplyMode::Persist | ApplyMode::Create => mapping::observe(&applied, None)?,
    };
    let document = VmDocument {
        object,
        cloud_init: None,
    };
    Ok(ModifiedVm { vm, document })
}

/// A uid in an apply is a precondition; without one, a machine that went away meanwhile would come into being again.
fn only_if(uid: &str, object: &Value) -> Value {
    let mut guarded = object.clone();
    guarded["metadata"]["uid"] = Value::from(uid);
    guarded
}

/// The object with the volumes of the machine in the place of those that were rendered under the same names.
fn with_volumes_of(live: &Value, mut object: Value) -> Value {
    let mut renamed = Vec::new();
    let kept = list(&live["template"]["spec"]["volumes"]);
    if let Some(volumes) = object
        .pointer_mut("/spec/template/spec/volumes")
        .and_then(Value::as_array_mut)
    {
        for volume in volumes {
            let own = kept
                .iter()
                .find(|found| found["name"] == volume["name"] && is_own(found) && is_own(volume));
            if let Some(own) = own
                && own != volume
            {
                renamed.push((made_by(volume), made_by(own)));
                *volume = own.clone();
            }
        }
    }
    let templates = object
        .pointer_mut("/spec/dataVolumeTemplates")
        .and_then(Value::as_array_mut);
    if let Some(templates) = templates {
        for (rendered, own) in renamed {
            adopt_template(templates, rendered.as_deref(), own.as_deref(), live);
        }
    }
    without_empty_templates(object)
}

/// Puts the template that made a volume of the machine, if any, in the place of the rendered one, with the size of
/// that one.
fn adopt_template(templates: &mut Vec<Value>, rendered: Option<&str>, own: Option<&str>, live: &Value) {
    let Some(index) = rendered.and_then(|name| templates.iter().position(|template| is_named(template, name))) else {
        return;
    };
    let size = claim_of(&templates[index]).map(|claim| claim["resources"]["requests"]["storage"].clone());
    let found = own.and_then(|name| {
        let mut all = list(&live["dataVolumeTemplates"]).iter();
        all.find(|template| is_named(template, name)).cloned()
    });
    match found {
        Some(mut template) => {
            if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|_, value| !value.is_null());
            }
            let asked = claim_of_mut(&mut template).and_then(|claim| claim.pointer_mut("/resources/requests/storage"));
            if let (Some(size), Some(asked)) = (size, asked) {
                *asked = size;
            }
            templates[index] = template;
        }
        None => {
            templates.remove(index);
        }
    }
}

/// A list that became empty is left out, as rendering leaves it out.
fn without_empty_templates(mut object: Value) -> Value {
    if object["spec"]["dataVolumeTemplates"] == json!([])
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("dataVolumeTemplates");
    }
    object
}

/// Whether a volume belongs to one machine only.
fn is_own(volume: &Value) -> bool {
    OWN_SOURCES.iter().any(|source| volume[*source].is_object())
}

/// The name of the data volume that a volume is on.
fn made_by(volume: &Value) -> Option<String> {
    volume["dataVolume"]["name"].as_str().map(str::to_owned)
}

fn is_named(template: &Value, name: &str) -> bool {
    template["metadata"]["name"] == name
}

fn claim_of(template: &Value) -> Option<&Value> {
    ["storage", "pvc"]
        .into_iter()
        .map(|field| &template["spec"][field])
        .find(|claim| claim.is_object())
}

fn claim_of_mut(template: &mut Value) -> Option<&mut Value> {
    let field = ["storage", "pvc"]
        .into_iter()
        .find(|field| template["spec"][*field].is_object())?;
    template.get_mut("spec")?.get_mut(field)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(name: &str, size: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"storage": {"resources": {"requests": {"storage": size}}}}})
    }

    fn rendered() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "runStrategy": "Halted",
                "dataVolumeTemplates": [template("web-root", "40Gi"), template("web-logs", "5Gi")],
                "template": {"spec": {"volumes": [
                    {"name": "root", "dataVolume": {"name": "web-root"}},
                    {"name": "logs", "dataVolume": {"name": "web-logs"}},
                    {"name": "scratch", "emptyDisk": {"capacity": "2Gi"}},
                    {"name": "cloudinit", "cloudInitNoCloud": {"secretRef": {"name": "web-cloudinit"}}},
                ]}},
            },
        })
    }

    #[test]
    fn a_machine_as_it_was_made_gets_the_document_as_it_is() {
        let live = rendered()["spec"].clone();
        assert_eq!(with_volumes_of(&live, rendered()), rendered());
    }

    #[test]
    fn restored_and_cloned_volumes_stay_and_grow() {
        let live = json!({
            "dataVolumeTemplates": [{
                "metadata": {"name": "restore-1-root", "creationTimestamp": null},
                "spec": {"storage": {"resources": {"requests": {"storage": "20Gi"}}}, "source": {"blank": {}}},
            }],
            "template": {"spec": {"volumes": [
                {"name": "cloudinit", "cloudInitNoCloud": {"secretRef": {"name": "source-cloudinit"}}},
                {"name": "logs", "persistentVolumeClaim": {"claimName": "restore-1-logs"}},
                {"name": "root", "dataVolume": {"name": "restore-1-root"}},
                {"name": "scratch", "emptyDisk": {"capacity": "1Gi"}},
            ]}},
        });
        let kept = with_volumes_of(&live, rendered());
        assert_eq!(
            kept["spec"]["template"]["spec"]["volumes"],
            json!([
                {"name": "root", "dataVolume": {"name": "restore-1-root"}},
                {"name": "logs", "persistentVolumeClaim": {"claimName": "restore-1-logs"}},
                {"name": "scratch", "emptyDisk": {"capacity": "2Gi"}},
                {"name": "cloudinit", "cloudInitNoCloud": {"secretRef": {"name": "source-cloudinit"}}},
            ])
        );
        assert_eq!(
            kept["spec"]["dataVolumeTemplates"],
            json!([{
                "metadata": {"name": "restore-1-root"},
                "spec": {"storage": {"resources": {"requests": {"storage": "40Gi"}}}, "source": {"blank": {}}},
            }])
        );
        assert_eq!(with_volumes_of(&kept["spec"], rendered()), kept, "again");
    }

    #[test]
    fn no_empty_list_of_templates_remains() {
        let live = json!({"template": {"spec": {"volumes": [
            {"name": "root", "persistentVolumeClaim": {"claimName": "a"}},
            {"name": "logs", "persistentVolumeClaim": {"claimName": "b"}},
        ]}}});
        assert!(with_volumes_of(&live, rendered())["spec"]["dataVolumeTemplates"].is_null());
    }

    #[test]
    fn what_is_sent_names_the_machine_that_is_meant() {
        assert_eq!(only_if("u-1", &rendered())["metadata"]["uid"], "u-1");
    }
}
