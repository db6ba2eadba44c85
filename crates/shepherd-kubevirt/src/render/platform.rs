//! What belongs to the platform, whatever the layers before it say.
//!
//! The domain refuses templates and overrides that reach for these places. This layer does not rely on that: it takes
//! each of them as a whole, so that nothing foreign stays beside what is its own.

use serde_json::{Map, Value, json};
use shepherd_domain::rendering::RenderInput;

use super::cloud_init;
use super::metadata;
use super::storage::Disks;
use crate::machines;

/// Sources of a volume that would initialise the guest.
const CLOUD_INIT_SOURCES: [&str; 2] = ["cloudInitNoCloud", "cloudInitConfigDrive"];
/// Labels by which a guest takes any volume for its initial configuration.
const CLOUD_INIT_LABELS: [&str; 2] = ["cidata", "config-2"];

/// The object with everything that is the platform's taken back: kind and name, all metadata of the machine and of its
/// instance, the run strategy, the host name, the data volumes, and the initialisation of the guest.
pub(super) fn claim(object: Value, input: &RenderInput<'_>, made: &Disks) -> Value {
    let identity = input.identity;
    let labels = metadata::labels(identity);
    let mut spec = taken(&mut into_map(object), "spec");
    let mut machine = taken(&mut taken(&mut spec, "template"), "spec");
    machine.insert("hostname".to_owned(), Value::from(identity.name.as_str()));
    claim_cloud_init(&mut machine, made);

    // It excludes the run strategy.
    spec.remove("running");
    spec.insert("runStrategy".to_owned(), Value::from(input.run_strategy));
    spec.remove("dataVolumeTemplates");
    if !made.data_volumes.is_empty() {
        let templates = Value::Array(made.data_volumes.clone());
        spec.insert("dataVolumeTemplates".to_owned(), templates);
    }
    let template = Map::from_iter([
        ("metadata".to_owned(), json!({"labels": labels})),
        ("spec".to_owned(), Value::Object(machine)),
    ]);
    spec.insert("template".to_owned(), Value::Object(template));

    let metadata = json!({
        "name": identity.name,
        "namespace": identity.namespace,
        "labels": labels,
        "annotations": metadata::annotations(identity),
    });
    Value::Object(Map::from_iter([
        ("apiVersion".to_owned(), Value::from(machines::API_VERSION)),
        ("kind".to_owned(), Value::from(machines::KIND)),
        ("metadata".to_owned(), metadata),
        ("spec".to_owned(), Value::Object(spec)),
    ]))
}

/// Leaves one volume that initialises the guest, the platform's own, on a disk as the template layer made it.
fn claim_cloud_init(machine: &mut Map<String, Value>, made: &Disks) {
    if let Some(volumes) = machine.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain_mut(|volume| !is_own(volume) && holds_something_else(volume));
        volumes.extend(made.volumes.iter().filter(|volume| is_own(volume)).cloned());
    } else {
        machine.insert("volumes".to_owned(), Value::Array(made.volumes.clone()));
    }
    let disks = machine
        .get_mut("domain")
        .and_then(|domain| domain.get_mut("devices"))
        .and_then(|devices| devices.get_mut("disks"))
        .and_then(Value::as_array_mut);
    if let Some(disks) = disks {
        disks.retain(|disk| !is_own(disk));
        disks.extend(made.disks.iter().filter(|disk| is_own(disk)).cloned());
    }
}

fn is_own(entry: &Value) -> bool {
    entry["name"] == cloud_init::VOLUME
}

/// Takes out of a volume what would initialise the guest, and says whether there was anything else in it.
fn holds_something_else(volume: &mut Value) -> bool {
    let Some(fields) = volume.as_object_mut() else {
        return true;
    };
    let before = fields.len();
    fields.retain(|field, _| !CLOUD_INIT_SOURCES.contains(&field.as_str()));
    for source in fields.values_mut().filter_map(Value::as_object_mut) {
        let label = source.get("volumeLabel").and_then(Value::as_str).unwrap_or_default();
        if CLOUD_INIT_LABELS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(label.trim()))
        {
            source.remove("volumeLabel");
        }
    }
    fields.len() == before || fields.keys().any(|field| field != "name")
}

/// The object under a key, taken out; an empty one when there is none.
fn taken(map: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    into_map(map.remove(key).unwrap_or_default())
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
