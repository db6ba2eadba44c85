//! Documents: pure, total and deterministic. There is no client here.
//!
//! Layers are laid over each other, later ones win (catalog.md §4): a skeleton; the template; the size with its
//! overrides; the numbers that were approved; and what belongs to the platform once more. Keys are sorted at every
//! level, so that equal input makes equal bytes whatever map `serde_json` was built with.
//!
//! What reads the one-time password stands in the Secret alone: the machine is the same with and without it, so that
//! previews, creations and modifications render one document.

use serde_json::{Map, Value, json};
use shepherd_domain::rendering::{RenderInput, VmDocument};
use shepherd_ports::providers::VmRenderer;

mod cloud_init;
mod hardware;
mod metadata;
mod network;
mod platform;
mod storage;
mod user_data;

use crate::machines;
use storage::Disks;

/// Renders VirtualMachines.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubeVirtRenderer;

impl VmRenderer for KubeVirtRenderer {
    fn render(&self, input: &RenderInput<'_>) -> VmDocument {
        let disks = storage::disks(input);
        let mut object = skeleton(input);
        lay(&mut object, template(input, &disks));
        lay(&mut object, hardware::size(input));
        input.size.spec_overrides.apply(&mut object);
        lay(&mut object, hardware::numbers(input));
        VmDocument {
            object: canonical(platform::claim(object, input, &disks)),
            cloud_init: cloud_init::secret(input).map(canonical),
        }
    }

    fn to_yaml(&self, document: &VmDocument) -> String {
        let object = canonical(document.object.clone());
        // A JSON value has nothing YAML could not express; if it had, JSON is YAML too.
        serde_saphyr::to_string(&object).unwrap_or_else(|_| object.to_string())
    }
}

fn skeleton(input: &RenderInput<'_>) -> Value {
    json!({
        "apiVersion": machines::API_VERSION,
        "kind": machines::KIND,
        "spec": {"template": {"spec": {"domain": {"devices": {}}}}},
        "metadata": {"name": input.identity.name, "namespace": input.identity.namespace},
    })
}

fn template(input: &RenderInput<'_>, disks: &Disks) -> Value {
    let networks = network::networks(&input.template.networks, input.size.requires_sriov);
    let mut spec = Map::new();
    if !disks.data_volumes.is_empty() {
        spec.insert("dataVolumeTemplates".to_owned(), json!(disks.data_volumes));
    }
    let machine = json!({
        "domain": {
            "devices": {"disks": disks.disks, "interfaces": networks.interfaces},
            "firmware": hardware::firmware(input.template.guest.firmware),
        },
        "networks": networks.networks,
        "volumes": disks.volumes,
    });
    spec.insert("template".to_owned(), json!({"spec": machine}));
    json!({"spec": spec})
}

/// Lays one value over another: objects key by key, anything else as a whole.
fn lay(base: &mut Value, layer: Value) {
    match (base, layer) {
        (Value::Object(base), Value::Object(layer)) => {
            for (key, value) in layer {
                match base.get_mut(&key) {
                    Some(below) => lay(below, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, layer) => *base = layer,
    }
}

/// The value with sorted keys at every level.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, inner)| (key, canonical(inner)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

#[cfg(test)]
mod tests;
