//! Definitions as KubeVirt ships them, reduced to what a test looks at.

use serde_json::json;

use super::*;
use crate::patch::shapes::ListShape;
use crate::resources::{SNAPSHOTS, VIRTUAL_MACHINES};

fn definition(spec: Value) -> Value {
    json!({
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": "kubevirt.io",
            "names": {"plural": "virtualmachines"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"apiVersion": {"type": "string"}, "spec": spec},
            }}}],
        },
    })
}

fn schemas() -> Schemas {
    let quantity = json!({
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^[0-9]+[KMG]?i?$",
        "x-kubernetes-int-or-string": true,
    });
    let disks = json!({
        "type": "array",
        "maxItems": 2,
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    });
    let document = definition(json!({
        "type": "object",
        "required": ["strategy"],
        "properties": {
            "strategy": {"type": "string", "enum": ["Always", "Halted"]},
            "memory": quantity,
            "cores": {"type": "integer", "minimum": 1, "maximum": 8, "default": 1},
            "gone": {"type": "string", "nullable": true},
            "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "disks": disks,
            "one": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                    "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        },
    }));
    Schemas::of(&[document]).unwrap()
}

fn findings(spec: Value) -> Vec<(String, String)> {
    let schemas = schemas();
    let schema = schemas.get(&VIRTUAL_MACHINES).unwrap();
    let causes = schema.check(&json!({"spec": spec}));
    causes.into_iter().map(|cause| (cause.field, cause.message)).collect()
}

fn finding(field: &str, message: &str) -> Vec<(String, String)> {
    vec![(field.to_owned(), message.to_owned())]
}

#[test]
fn sound_objects_pass() {
    let spec = json!({
        "strategy": "Always", "memory": 4, "gone": null, "disks": [{"name": "root"}], "one": {"a": "x"},
        "extra": {"anything": [1]}, "labels": {"a": "b"},
    });
    assert!(findings(spec).is_empty());
    assert!(findings(json!({"strategy": "Always", "memory": "4Gi"})).is_empty());
}

#[test]
fn every_broken_rule_is_named() {
    assert_eq!(findings(json!({})), finding("spec.strategy", "Required value"));
    assert_eq!(
        findings(json!({"strategy": "Never"})),
        finding(
            "spec.strategy",
            "Unsupported value: \"Never\": supported values: \"Always\", \"Halted\""
        )
    );
    assert_eq!(
        findings(json!({"strategy": "Always", "memory": {}})),
        finding(
            "spec.memory",
            "Invalid value: \"object\": spec.memory in body must be of type integer,string: \"object\""
        )
    );
    assert_eq!(
        findings(json!({"strategy": "Always", "memory": "lots"})),
        finding(
            "spec.memory",
            "Invalid value: \"lots\": spec.memory in body should match '^[0-9]+[KMG]?i?$'"
        )
    );
    assert_eq!(
        findings(json!({"strategy": "Always", "cores": 0})),
        finding(
            "spec.cores",
            "Invalid value: 0: spec.cores in body should be greater than or equal to 1"
        )
    );
    assert_eq!(
        findings(json!({"strategy": "Always", "disks": [{"name": "a"}, {}]})),
        finding("spec.disks[1].name", "Required value")
    );
    assert_eq!(
        findings(json!({"strategy": "Always", "disks": [{"name": "a"}, {"name": "b"}, {"name": "c"}]})),
        finding("spec.disks", "Too many: 3: must have at most 2 items")
    );
    let both = findings(json!({"strategy": "Always", "one": {"a": "x", "b": "y"}}));
    assert!(both[0].1.contains("one and only one schema"), "{both:?}");
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let schemas = schemas();
    let schema = schemas.get(&VIRTUAL_MACHINES).unwrap();
    let mut object = json!({
        "kind": "VirtualMachine", "metadata": {"name": "web", "anything": 1}, "typo": 1,
        "spec": {"extra": {"kept": 1}, "labels": {"a": "b"}, "disks": [{"name": "a", "bus": "x"}], "cores": null},
    });
    assert_eq!(schema.prune(&mut object), ["spec.disks[0].bus", "typo"]);
    schema.fill_in(&mut object);
    assert_eq!(
        object,
        json!({
            "kind": "VirtualMachine", "metadata": {"name": "web", "anything": 1},
            "spec": {"extra": {"kept": 1}, "labels": {"a": "b"}, "disks": [{"name": "a"}], "cores": 1},
        })
    );
}

#[test]
fn lists_merge_as_the_schema_says() {
    let schemas = schemas();
    let keys = ["name".to_owned()];
    assert_eq!(
        schemas.shapes(&VIRTUAL_MACHINES).list("spec.disks"),
        ListShape::Map(&keys)
    );
    assert_eq!(schemas.shapes(&SNAPSHOTS).list("spec.disks"), ListShape::Atomic);
}

#[test]
fn unusable_definitions_are_refused() {
    let mut other_version = definition(json!({"type": "object"}));
    other_version["spec"]["versions"][0]["name"] = json!("v9");
    assert!(Schemas::of(&[other_version]).is_err());
    assert!(Schemas::of(&[definition(json!({"type": "string", "pattern": "("}))]).is_err());
    let mut unknown = definition(json!({"type": "object"}));
    unknown["spec"]["group"] = json!("example.com");
    assert!(Schemas::of(&[unknown]).unwrap().definitions().next().is_none());
}
