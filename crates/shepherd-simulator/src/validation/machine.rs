//! The VirtualMachine schema as far as templates render it, and the checks of KubeVirt's webhook.

use serde_json::Value;

use crate::quantity::parse_quantity;
use crate::status::Cause;

/// The webhook that speaks in refusals.
pub(crate) const WEBHOOK: &str = "virtualmachine-validator.kubevirt.io";

/// The word in an annotation or image that makes the webhook refuse a machine.
const REFUSED_WORD: &str = "reject-me";

const ROOT_FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
const SPEC_FIELDS: [&str; 7] = [
    "dataVolumeTemplates",
    "instancetype",
    "preference",
    "runStrategy",
    "running",
    "template",
    "updateVolumesStrategy",
];
const RUN_STRATEGIES: [&str; 6] = ["Always", "RerunOnFailure", "Manual", "Halted", "Once", "WaitAsReceiver"];

/// The type the schema gives a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Object,
    Array,
    Text,
    Integer,
    Boolean,
    Quantity,
}

/// Dotted paths with their types: `[]` goes through a list, `{}` through the values of a map. A trailing
/// `!` marks a field its parent must have.
const SCHEMA: [(&str, Type); 58] = [
    ("spec!", Type::Object),
    ("spec.running", Type::Boolean),
    ("spec.runStrategy", Type::Text),
    ("spec.instancetype", Type::Object),
    ("spec.preference", Type::Object),
    ("spec.template!", Type::Object),
    ("spec.template.metadata", Type::Object),
    ("spec.template.spec", Type::Object),
    ("spec.template.spec.nodeSelector", Type::Object),
    ("spec.template.spec.nodeSelector{}", Type::Text),
    ("spec.template.spec.evictionStrategy", Type::Text),
    ("spec.template.spec.hostname", Type::Text),
    ("spec.template.spec.terminationGracePeriodSeconds", Type::Integer),
    ("spec.template.spec.domain!", Type::Object),
    ("spec.template.spec.domain.cpu", Type::Object),
    ("spec.template.spec.domain.cpu.cores", Type::Integer),
    ("spec.template.spec.domain.cpu.sockets", Type::Integer),
    ("spec.template.spec.domain.cpu.threads", Type::Integer),
    ("spec.template.spec.domain.cpu.model", Type::Text),
    ("spec.template.spec.domain.cpu.dedicatedCpuPlacement", Type::Boolean),
    ("spec.template.spec.domain.memory", Type::Object),
    ("spec.template.spec.domain.memory.guest", Type::Quantity),
    ("spec.template.spec.domain.memory.hugepages", Type::Object),
    ("spec.template.spec.domain.memory.hugepages.pageSize", Type::Text),
    ("spec.template.spec.domain.resources", Type::Object),
    ("spec.template.spec.domain.resources.requests", Type::Object),
    ("spec.template.spec.domain.resources.requests{}", Type::Quantity),
    ("spec.template.spec.domain.resources.limits", Type::Object),
    ("spec.template.spec.domain.resources.limits{}", Type::Quantity),
    ("spec.template.spec.domain.firmware", Type::Object),
    ("spec.template.spec.domain.firmware.bootloader", Type::Object),
    ("spec.template.spec.domain.machine", Type::Object),
    ("spec.template.spec.domain.features", Type::Object),
    ("spec.template.spec.domain.devices!", Type::Object),
    ("spec.template.spec.domain.devices.disks", Type::Array),
    ("spec.template.spec.domain.devices.disks[].name!", Type::Text),
    ("spec.template.spec.domain.devices.disks[].bootOrder", Type::Integer),
    ("spec.template.spec.domain.devices.interfaces", Type::Array),
    ("spec.template.spec.domain.devices.interfaces[].name!", Type::Text),
    ("spec.template.spec.domain.devices.gpus", Type::Array),
    ("spec.template.spec.domain.devices.gpus[].name!", Type::Text),
    ("spec.template.spec.domain.devices.gpus[].deviceName", Type::Text),
    ("spec.template.spec.domain.devices.hostDevices", Type::Array),
    ("spec.template.spec.domain.devices.hostDevices[].name!", Type::Text),
    ("spec.template.spec.domain.devices.hostDevices[].deviceName", Type::Text),
    ("spec.template.spec.networks", Type::Array),
    ("spec.template.spec.networks[].name!", Type::Text),
    ("spec.template.spec.networks[].multus.networkName", Type::Text),
    ("spec.template.spec.volumes", Type::Array),
    ("spec.template.spec.volumes[].name!", Type::Text),
    ("spec.template.spec.volumes[].containerDisk.image", Type::Text),
    ("spec.template.spec.volumes[].dataVolume.name", Type::Text),
    ("spec.template.spec.volumes[].cloudInitNoCloud.userData", Type::Text),
    ("spec.template.spec.volumes[].cloudInitNoCloud.secretRef", Type::Object),
    ("spec.dataVolumeTemplates", Type::Array),
    ("spec.dataVolumeTemplates[].spec!", Type::Object),
    (
        "spec.dataVolumeTemplates[].spec.storage.resources.requests{}",
        Type::Quantity,
    ),
    (
        "spec.dataVolumeTemplates[].spec.pvc.resources.requests{}",
        Type::Quantity,
    ),
];

/// Takes out unknown fields of the document and of `spec`, and returns their paths.
pub(crate) fn prune(object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut keep = |value: &mut Value, prefix: &str, known: &[&str]| {
        if let Value::Object(map) = value {
            map.retain(|key, _| {
                let keep = known.contains(&key.as_str());
                if !keep {
                    unknown.push(format!("{prefix}{key}"));
                }
                keep
            });
        }
    };
    keep(object, "", &ROOT_FIELDS);
    if let Some(spec) = object.get_mut("spec") {
        keep(spec, "spec.", &SPEC_FIELDS);
    }
    unknown
}

/// Checks types and required fields.
pub(crate) fn schema(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (path, wanted) in SCHEMA {
        let (path, required) = match path.strip_suffix('!') {
            Some(path) => (path, true),
            None => (path, false),
        };
        check(object, "", path, required, wanted, &mut causes);
    }
    causes
}

/// Walks one schema path; fields of the wrong type end the walk, because their own entry reports them.
fn check(value: &Value, at: &str, path: &str, required: bool, wanted: Type, causes: &mut Vec<Cause>) {
    let (step, rest) = match path.split_once('.') {
        Some((step, rest)) => (step, Some(rest)),
        None => (path, None),
    };
    let Some(parent) = value.as_object() else { return };
    let name = step.trim_end_matches("[]").trim_end_matches("{}");
    let at = if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    };
    let found = parent.get(name).filter(|found| !found.is_null());
    let Some(found) = found else {
        if required && rest.is_none() {
            causes.push(Cause::required(at));
        }
        return;
    };
    let children: Vec<(String, &Value)> = match (found, step) {
        (Value::Array(items), step) if step.ends_with("[]") => items
            .iter()
            .enumerate()
            .map(|(index, item)| (format!("{at}[{index}]"), item))
            .collect(),
        (Value::Object(map), step) if step.ends_with("{}") => {
            map.iter().map(|(key, item)| (format!("{at}.{key}"), item)).collect()
        }
        (_, step) if step.ends_with("[]") || step.ends_with("{}") => Vec::new(),
        (found, _) => vec![(at, found)],
    };
    for (at, child) in children {
        match rest {
            Some(rest) => check(child, &at, rest, required, wanted, causes),
            None => causes.extend(mismatch(&at, child, wanted)),
        }
    }
}

fn mismatch(at: &str, value: &Value, wanted: Type) -> Option<Cause> {
    if let (Type::Quantity, Value::String(text)) = (wanted, value) {
        let sound = parse_quantity(text).is_some();
        return (!sound).then(|| Cause::invalid(at, value, &format!("{at} in body should be a quantity")));
    }
    let (fits, type_name) = match wanted {
        Type::Object => (value.is_object(), "object"),
        Type::Array => (value.is_array(), "array"),
        Type::Text => (value.is_string(), "string"),
        Type::Integer => (value.is_i64() || value.is_u64(), "integer"),
        Type::Boolean => (value.is_boolean(), "boolean"),
        Type::Quantity => (value.is_number(), "integer or string"),
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    (!fits).then(|| Cause {
        reason: "FieldValueTypeInvalid",
        message: format!("Invalid value: {found:?}: {at} in body must be of type {type_name}: {found:?}"),
        field: at.to_owned(),
    })
}

/// The checks of KubeVirt's own webhook, on an object whose schema is sound.
pub(crate) fn webhook(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &object["spec"];
    match (spec["running"].is_null(), spec["runStrategy"].as_str()) {
        (true, None) => {
            causes.push(refusal(
                "spec.running",
                "One of Running or RunStrategy must be specified",
            ));
        }
        (false, Some(_)) => {
            causes.push(refusal(
                "spec.running",
                "Running and RunStrategy are mutually exclusive",
            ));
        }
        (true, Some(strategy)) if !RUN_STRATEGIES.contains(&strategy) => {
            causes.push(refusal(
                "spec.runStrategy",
                &format!("Invalid RunStrategy ({strategy})"),
            ));
        }
        _ => {}
    }
    let template = &spec["template"]["spec"];
    let devices = &template["domain"]["devices"];
    causes.extend(unmatched("disks", &devices["disks"], &template["volumes"]));
    causes.extend(unmatched("interfaces", &devices["interfaces"], &template["networks"]));
    causes.extend(refused_words(object));
    causes
}

fn refusal(field: &str, message: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid",
        message: message.to_owned(),
        field: field.to_owned(),
    }
}

/// Disks without a volume and interfaces without a network.
fn unmatched(list: &str, devices: &Value, backing: &Value) -> Vec<Cause> {
    let names: Vec<&Value> = items(backing).iter().map(|item| &item["name"]).collect();
    items(devices)
        .iter()
        .enumerate()
        .filter(|(_, device)| !names.contains(&&device["name"]))
        .map(|(index, device)| {
            let field = format!("spec.template.spec.domain.devices.{list}[{index}].name");
            let message = format!("{field} '{}' not found.", device["name"].as_str().unwrap_or_default());
            refusal(&field, &message)
        })
        .collect()
}

fn refused_words(object: &Value) -> Vec<Cause> {
    let template = &object["spec"]["template"];
    let mut places = Vec::new();
    for (field, annotations) in [
        ("metadata.annotations", &object["metadata"]["annotations"]),
        (
            "spec.template.metadata.annotations",
            &template["metadata"]["annotations"],
        ),
    ] {
        let entries = annotations.as_object().into_iter().flatten();
        places.extend(entries.map(|(key, value)| {
            (
                field.to_owned(),
                format!("{key}={}", value.as_str().unwrap_or_default()),
            )
        }));
    }
    for (index, volume) in items(&template["spec"]["volumes"]).iter().enumerate() {
        let image = volume["containerDisk"]["image"].as_str().unwrap_or_default();
        places.push((
            format!("spec.template.spec.volumes[{index}].containerDisk.image"),
            image.to_owned(),
        ));
    }
    for (index, volume) in items(&object["spec"]["dataVolumeTemplates"]).iter().enumerate() {
        let url = volume["spec"]["source"]["registry"]["url"].as_str().unwrap_or_default();
        places.push((
            format!("spec.dataVolumeTemplates[{index}].spec.source.registry.url"),
            url.to_owned(),
        ));
    }
    places
        .into_iter()
        .filter(|(_, text)| text.contains(REFUSED_WORD))
        .map(|(field, text)| {
            refusal(
                &field,
                &format!("{field} {text:?} is not allowed by the cluster's policy"),
            )
        })
        .collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine() -> Value {
        json!({
            "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "web"},
            "spec": {"runStrategy": "Always", "template": {"spec": {"domain": {
                "cpu": {"cores": 2}, "memory": {"guest": "2Gi"},
                "devices": {"disks": [{"name": "root"}]},
            }, "volumes": [{"name": "root", "containerDisk": {"image": "fedora"}}]}}},
        })
    }

    #[test]
    fn a_sound_machine_passes() {
        assert!(schema(&machine()).is_empty());
        assert!(webhook(&machine()).is_empty());
        assert!(prune(&mut machine()).is_empty());
    }

    #[test]
    fn wrong_types_name_the_field() {
        let mut vm = machine();
        vm["spec"]["template"]["spec"]["domain"]["cpu"]["cores"] = json!("two");
        vm["spec"]["template"]["spec"]["domain"]["memory"]["guest"] = json!("lots");
        vm["spec"]["template"]["spec"]["domain"]["devices"]["disks"][0] = json!({});
        let fields: Vec<String> = schema(&vm).into_iter().map(|cause| cause.field).collect();
        let prefix = "spec.template.spec.domain";
        assert_eq!(
            fields,
            [
                format!("{prefix}.cpu.cores"),
                format!("{prefix}.memory.guest"),
                format!("{prefix}.devices.disks[0].name")
            ]
        );
    }

    #[test]
    fn the_template_is_required() {
        let vm = json!({"metadata": {"name": "web"}, "spec": {"running": true}});
        assert_eq!(schema(&vm), [Cause::required("spec.template")]);
    }

    #[test]
    fn the_webhook_wants_one_run_strategy_and_matching_volumes() {
        let mut vm = machine();
        vm["spec"]["running"] = json!(true);
        vm["spec"]["template"]["spec"]["volumes"][0]["name"] = json!("other");
        let fields: Vec<String> = webhook(&vm).into_iter().map(|cause| cause.field).collect();
        assert_eq!(
            fields,
            ["spec.running", "spec.template.spec.domain.devices.disks[0].name"]
        );
    }

    #[test]
    fn the_webhook_refuses_the_word() {
        let mut vm = machine();
        vm["metadata"]["annotations"] = json!({"test": "reject-me please"});
        assert_eq!(webhook(&vm)[0].field, "metadata.annotations");
    }

    #[test]
    fn unknown_fields_are_taken_out_and_named() {
        let mut vm = machine();
        vm["extra"] = json!(1);
        vm["spec"]["runstrategy"] = json!("Always");
        assert_eq!(prune(&mut vm), ["extra", "spec.runstrategy"]);
        assert_eq!(vm, machine());
    }
}
