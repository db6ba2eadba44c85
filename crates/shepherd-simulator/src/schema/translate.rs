//! From the OpenAPI dialect of definitions to JSON Schema, draft 4, whose `exclusiveMinimum` is the same flag.

use serde_json::{Map, Value, json};

/// Keywords that say nothing about values.
const SILENT: [&str; 7] = [
    "default",
    "description",
    "example",
    "externalDocs",
    "id",
    "nullable",
    "title",
];
/// Formats that only tell generators about types.
const TYPE_FORMATS: [&str; 7] = ["byte", "double", "float", "int-or-string", "int32", "int64", "password"];

/// Translates a schema with everything inside of it.
pub(super) fn to_json_schema(schema: &Value) -> Value {
    let Some(keywords) = schema.as_object() else {
        return schema.clone();
    };
    let int_or_string = keywords.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    let mut translated = Map::new();
    for (keyword, value) in keywords {
        let skipped = keyword.starts_with("x-kubernetes-")
            || keyword.starts_with('$')
            || SILENT.contains(&keyword.as_str())
            || (keyword == "required" && value.as_array().is_some_and(Vec::is_empty))
            || (keyword == "format" && value.as_str().is_none_or(|format| TYPE_FORMATS.contains(&format)))
            || (int_or_string && (keyword == "type" || (keyword == "anyOf" && is_int_or_string(value))));
        if skipped {
            continue;
        }
        let value = match keyword.as_str() {
            "properties" => each_value(value),
            "items" | "additionalProperties" | "not" => to_json_schema(value),
            "anyOf" | "oneOf" | "allOf" => match value.as_array() {
                Some(schemas) => schemas.iter().map(to_json_schema).collect(),
                None => value.clone(),
            },
            _ => value.clone(),
        };
        translated.insert(keyword.clone(), value);
    }
    if int_or_string {
        translated.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if keywords.get("nullable") == Some(&Value::Bool(true)) {
        allow_null(&mut translated);
    }
    Value::Object(translated)
}

fn each_value(schemas: &Value) -> Value {
    match schemas.as_object() {
        Some(schemas) => schemas
            .iter()
            .map(|(name, schema)| (name.clone(), to_json_schema(schema)))
            .collect(),
        None => schemas.clone(),
    }
}

/// The pair of alternatives definitions write beside `x-kubernetes-int-or-string`.
fn is_int_or_string(alternatives: &Value) -> bool {
    *alternatives == json!([{"type": "integer"}, {"type": "string"}])
}

fn allow_null(schema: &mut Map<String, Value>) {
    let types = match schema.get("type") {
        Some(Value::String(only)) => vec![json!(only), json!("null")],
        Some(Value::Array(several)) => several.iter().cloned().chain([json!("null")]).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() {
        schema.insert("type".to_owned(), Value::Array(types));
    }
    if let Some(Value::Array(allowed)) = schema.get_mut("enum")
        && !allowed.contains(&Value::Null)
    {
        allowed.push(Value::Null);
    }
}
