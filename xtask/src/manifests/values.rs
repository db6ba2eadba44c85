//! The chart's values against their schema: every value is described, and of the kind the schema says.
//!
//! helm checks the values people give; this checks that the chart's own values and its schema are the same list.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

/// What is wrong with the values of a chart.
pub(super) fn check(chart: &Path) -> anyhow::Result<Vec<String>> {
    let read = |name: &str| fs::read_to_string(chart.join(name)).with_context(|| format!("read {name} of the chart"));
    let values: Value = serde_saphyr::from_str(&read("values.yaml")?).context("values.yaml is no YAML")?;
    let schema: Value = serde_json::from_str(&read("values.schema.json")?).context("values.schema.json is no JSON")?;
    let chart: Value = serde_saphyr::from_str(&read("Chart.yaml")?).context("Chart.yaml is no YAML")?;
    let mut findings = Vec::new();
    for field in ["apiVersion", "name", "version", "appVersion", "kubeVersion"] {
        if !chart[field].is_string() {
            findings.push(format!("Chart.yaml has no {field}"));
        }
    }
    compare("values", &values, &schema, &mut findings);
    Ok(findings)
}

fn compare(path: &str, value: &Value, schema: &Value, findings: &mut Vec<String>) {
    if !is_of_type(value, &schema["type"]) {
        findings.push(format!("{path} is not of the type {}", schema["type"]));
    }
    let (Some(fields), Some(described)) = (value.as_object(), schema["properties"].as_object()) else {
        return;
    };
    let closed = schema["additionalProperties"] == false;
    for (name, inner) in fields {
        match described.get(name) {
            Some(schema) => compare(&format!("{path}.{name}"), inner, schema, findings),
            None if closed => findings.push(format!("{path}.{name} is not in values.schema.json")),
            None => {}
        }
    }
    if closed {
        // helm itself passes the values of all charts.
        let missing = described
            .keys()
            .filter(|name| *name != "global" && !fields.contains_key(*name));
        findings.extend(missing.map(|name| format!("{path}.{name} is in values.schema.json only")));
    }
}

fn is_of_type(value: &Value, kinds: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some(_) | None => false,
    };
    match kinds {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().any(is),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => is(kinds),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(value: &Value) -> Vec<String> {
        let schema = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "global": {"type": "object"},
                "replicas": {"type": "integer"},
                "budget": {"type": ["integer", "string"]},
                "config": {"type": "object", "properties": {"url": {"not": {}}}},
            },
        });
        let mut findings = Vec::new();
        compare("values", value, &schema, &mut findings);
        findings
    }

    #[test]
    fn values_and_schema_are_the_same_list() {
        assert!(findings(&json!({"replicas": 3, "budget": "50%", "config": {"anything": true}})).is_empty());
        assert_eq!(
            findings(&json!({"replicas": "3", "budget": 1, "config": {}})),
            ["values.replicas is not of the type \"integer\""]
        );
        assert_eq!(
            findings(&json!({"replicas": 3, "budget": 1, "config": {}, "new": 1})),
            ["values.new is not in values.schema.json"]
        );
        assert_eq!(
            findings(&json!({"replicas": 3, "budget": 1})),
            ["values.config is in values.schema.json only"]
        );
    }
}
