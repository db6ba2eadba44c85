//! The schema that the simulator's own definition of virtual machines shows to whoever asks for it.
//!
//! It is served and not enforced: without a definition from outside, machines keep the rules of [`crate::validation`].

use serde_json::{Map, Value, json};

const MACHINE: &str = include_str!("machine.yaml");
const OPEN: &str = "x-kubernetes-preserve-unknown-fields";

/// `openAPIV3Schema` of a VirtualMachine.
pub(crate) fn machine() -> Value {
    let spec: Value = serde_saphyr::from_str(MACHINE).unwrap_or_default();
    json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema(&spec),
            "status": {"type": "object", OPEN: true},
        },
    })
}

/// The schema of a shorthand: a map is an object with these fields and no others, a text is a type.
fn schema(short: &Value) -> Value {
    let Some(fields) = short.as_object() else {
        return leaf(short.as_str().unwrap_or_default());
    };
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, inner)| match name.strip_suffix("[]") {
            Some(name) => (name.to_owned(), json!({"type": "array", "items": schema(inner)})),
            None => (name.clone(), schema(inner)),
        })
        .collect();
    if properties.is_empty() {
        return json!({"type": "object"});
    }
    json!({"type": "object", "properties": properties})
}

fn leaf(name: &str) -> Value {
    if let Some(values) = name.strip_prefix("map of ") {
        return json!({"type": "object", "additionalProperties": leaf(values)});
    }
    if let Some(options) = name.strip_prefix("one of ") {
        let options: Vec<&str> = options.split(", ").collect();
        return json!({"type": "string", "enum": options});
    }
    match name {
        "open" => json!({"type": "object", OPEN: true}),
        "quantity" => json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}),
        name => json!({"type": name}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_schema_has_a_type() {
        let machine = machine();
        let domain = "/properties/spec/properties/template/properties/spec/properties/domain/properties";
        for (path, wanted) in [
            ("cpu/properties/cores/type", json!("integer")),
            ("memory/properties/guest/x-kubernetes-int-or-string", json!(true)),
            ("rebootPolicy/enum", json!(["Reboot", "Terminate"])),
            (
                "devices/properties/disks/items/properties/disk/properties/bus/type",
                json!("string"),
            ),
            ("features/properties/smm/properties/enabled/type", json!("boolean")),
        ] {
            assert_eq!(machine.pointer(&format!("{domain}/{path}")), Some(&wanted), "{path}");
        }
        check(&machine);
    }

    fn check(schema: &Value) {
        let known = ["object", "array", "string", "integer", "boolean"];
        let typed = schema["type"].as_str().is_some_and(|name| known.contains(&name));
        assert!(typed || schema["x-kubernetes-int-or-string"] == true, "{schema}");
        for inner in schema["properties"].as_object().into_iter().flatten() {
            check(inner.1);
        }
        if schema["type"] == "array" {
            check(&schema["items"]);
        }
    }
}
