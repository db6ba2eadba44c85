//! A machine with what is wanted of it: its object as YAML, and the numbers in it.

use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::Value;
use shepherd_domain::infrastructure::VmManifest;
use shepherd_domain::rendering::VmDocument;
use shepherd_ports::providers::{ProviderError, VmRenderer};

use crate::machines::{instance_kind, machines};
use crate::objects::{find, text};
use crate::plain::pairs;
use crate::quantity::{GIBIBYTE, MEBIBYTE, in_units};
use crate::render::KubeVirtRenderer;
use crate::{errors, mapping};

/// Metadata that the API server and the cluster's controllers maintain.
const MAINTAINED: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// A copy of the whole object that `kubectl apply` leaves behind.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Cloud-init data that stands in the object itself. The platform puts its own into a Secret.
const INLINE_DATA: [&str; 4] = ["userData", "userDataBase64", "networkData", "networkDataBase64"];
/// What stands in its place.
const REDACTED: &str = "[REDACTED]";

/// The machine, merged with its instance, with its object; `None` when there is none.
pub(crate) async fn get_manifest(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<VmManifest>, ProviderError> {
    let Some(vm) = find(&machines(client, namespace), name).await? else {
        return Ok(None);
    };
    let instances = Api::namespaced_with(client.clone(), namespace, &instance_kind());
    let vmi = find(&instances, name).await?;
    manifest(&vm, vmi.as_ref()).map(Some)
}

fn manifest(vm: &DynamicObject, vmi: Option<&DynamicObject>) -> Result<VmManifest, ProviderError> {
    let object = serde_json::to_value(vm).map_err(|_| errors::lacks("the machine's JSON"))?;
    let spec = &vm.data["spec"];
    let disk = root_disk(spec);
    Ok(VmManifest {
        vm: mapping::observe(vm, vmi)?,
        labels: pairs(vm.metadata.labels.as_ref()),
        yaml: KubeVirtRenderer.to_yaml(&VmDocument {
            object: wanted(object),
            cloud_init: None,
        }),
        cpu_cores: cpu_cores(spec),
        memory_mb: memory_mb(&spec["template"]["spec"]["domain"]),
        disk_gb: disk.and_then(|claim| in_units(&claim["resources"]["requests"]["storage"], GIBIBYTE)),
        storage_class: disk.and_then(|claim| text(&claim["storageClassName"])),
    })
}

/// The object without what others maintain and without what must not be stored.
fn wanted(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !MAINTAINED.contains(&field.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    let volumes = object
        .pointer_mut("/spec/template/spec/volumes")
        .and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        for source in ["cloudInitNoCloud", "cloudInitConfigDrive"] {
            if let Some(fields) = volume.get_mut(source).and_then(Value::as_object_mut) {
                for (_, value) in fields
                    .iter_mut()
                    .filter(|(field, _)| INLINE_DATA.contains(&field.as_str()))
                {
                    *value = Value::from(REDACTED);
                }
            }
        }
    }
    object
}

/// As KubeVirt counts them: the topology, else the limit, else the request, else one. The processors of an instance
/// type do not stand in the machine.
fn cpu_cores(spec: &Value) -> Option<i32> {
    let domain = &spec["template"]["spec"]["domain"];
    let cpu = &domain["cpu"];
    let parts = [&cpu["cores"], &cpu["sockets"], &cpu["threads"]];
    if parts.iter().any(|part| !part.is_null()) {
        return parts
            .into_iter()
            .filter(|part| !part.is_null())
            .try_fold(1_i32, |product, part| {
                product.checked_mul(i32::try_from(part.as_i64()?.max(1)).ok()?)
            });
    }
    let resources = &domain["resources"];
    [&resources["limits"]["cpu"], &resources["requests"]["cpu"]]
        .into_iter()
        .find_map(|quantity| in_units(quantity, 1).filter(|cores| *cores > 0))
        .or_else(|| spec["instancetype"].is_null().then_some(1))
}

/// The guest's memory, else the request, else the limit.
fn memory_mb(domain: &Value) -> Option<i32> {
    let resources = &domain["resources"];
    [
        &domain["memory"]["guest"],
        &resources["requests"]["memory"],
        &resources["limits"]["memory"],
    ]
    .into_iter()
    .find_map(|quantity| in_units(quantity, MEBIBYTE))
}

/// The claim of the first disk that a data volume template makes. Beside an ephemeral root that is the machine's
/// persistent disk.
fn root_disk(spec: &Value) -> Option<&Value> {
    let machine = &spec["template"]["spec"];
    let disks = machine["domain"]["devices"]["disks"].as_array()?;
    let volumes = machine["volumes"].as_array()?;
    let templates = spec["dataVolumeTemplates"].as_array()?;
    let template = disks.iter().find_map(|disk| {
        let volume = volumes.iter().find(|volume| volume["name"] == disk["name"])?;
        let name = text(&volume["dataVolume"]["name"])?;
        templates.iter().find(|template| template["metadata"]["name"] == *name)
    })?;
    let described = &template["spec"];
    ["storage", "pvc"]
        .into_iter()
        .map(|field| &described[field])
        .find(|claim| claim.is_object())
}

#[cfg(test)]
mod tests;
