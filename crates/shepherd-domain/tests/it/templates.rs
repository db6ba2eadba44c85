//! Templates against catalog.md §1.

mod cloud_init;
mod fields;
mod image_source;
mod lifecycle;
mod parts;
mod prohibited;
mod properties;

use serde_json::{Value, json};
use shepherd_domain::ErrorCode;
use shepherd_domain::catalog::TemplateSpec;
use shepherd_domain::problem::Problem;

/// A spec that uses everything a template may say.
fn full() -> Value {
    json!({
        "image_source": {"container_disk": {"image": "quay.io/containerdisks/debian:12", "pull_policy": "Always"}},
        "cloud_init": {"user_data": "#cloud-config\npackages: [nginx]\n", "network_data": "version: 2\n"},
        "volumes": [
            {"name": "scratch", "empty_disk": {"size_gb": 5}},
            {"name": "settings", "config_map": {"name": "shop"}},
            {"name": "certificates", "secret": {"name": "shop"}},
            {"name": "archive", "data_volume": {"size_gb": 20, "source": "blank"}},
            {"name": "tools", "data_volume": {"size_gb": 8, "source": "http", "url": "https://example.com/tools.iso"}},
        ],
        "networks": [{"pod": {}}, {"multus": {"name": "storage", "attachment": "infra/storage"}}],
        "guest": {
            "os_hints": {"family": "linux", "distribution": "debian", "version": "12"},
            "access_user": "debian",
            "initial_password": false,
            "firmware": "efi",
            "disk_bus": "sata",
        },
    })
}

fn with_source(source: Value) -> Value {
    json!({"image_source": source})
}

/// The smallest spec with one more part.
fn with(part: &str, value: Value) -> Value {
    let mut document = with_source(json!({"container_disk": {"image": "debian:12"}}));
    document[part] = value;
    document
}

/// One spec of each image source.
fn sources() -> [Value; 7] {
    [
        json!({"container_disk": {"image": "debian:12"}}),
        json!({"pvc": {"namespace": "images", "name": "debian-12"}}),
        json!({"data_volume": {"source": "http", "url": "https://example.com/debian.qcow2"}}),
        json!({"data_volume": {"source": "registry", "url": "docker://example.com/debian:12", "secret_ref": "pull"}}),
        json!({"data_volume": {"source": "s3", "url": "https://s3.example.com/debian.qcow2", "secret_ref": "keys"}}),
        json!({"data_volume": {"source": "pvc", "namespace": "images", "name": "debian-12"}}),
        json!({"data_volume": {"source": "blank"}}),
    ]
}

/// The stored form of a spec that is accepted.
fn stored(document: &Value) -> Value {
    match TemplateSpec::parse(document) {
        Ok(spec) => spec.to_canonical(),
        Err(problem) => panic!("{document} is refused: {problem}"),
    }
}

/// Path and hint of a refusal.
fn refusal(document: &Value) -> (String, String) {
    match TemplateSpec::parse(document) {
        Ok(spec) => panic!("{document} is accepted: {spec:?}"),
        Err(problem) => path_and_hint(&problem),
    }
}

fn path_and_hint(problem: &Problem) -> (String, String) {
    assert_eq!(problem.code, ErrorCode::TemplateSpecViolation, "{problem}");
    let text = |name: &str| problem.params[name].as_str().unwrap_or_default().to_owned();
    (text("path"), text("hint"))
}

/// Whether the path of a violation leads somewhere in what was sent. A key with dots is several steps.
fn leads_somewhere(document: &Value, path: &str) -> bool {
    if path.is_empty() {
        return true;
    }
    match document {
        Value::Object(map) => path.strip_prefix('.').is_some_and(|path| {
            map.iter().any(|(key, inner)| match path.strip_prefix(key.as_str()) {
                Some(rest) => leads_somewhere(inner, rest),
                None => key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')),
            })
        }),
        Value::Array(items) => items.iter().enumerate().any(|(index, inner)| {
            path.strip_prefix(&format!("[{index}]"))
                .is_some_and(|rest| leads_somewhere(inner, rest))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// JSON pointers of everything in a document that `wanted` takes.
fn pointers(value: &Value, wanted: fn(&Value) -> bool) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, inner)| (key.clone(), inner)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, inner)| (index.to_string(), inner))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let mut found: Vec<String> = wanted(value).then(String::new).into_iter().collect();
    for (key, inner) in children {
        found.extend(pointers(inner, wanted).into_iter().map(|rest| format!("/{key}{rest}")));
    }
    found
}

/// The document with a further key in one of its objects.
fn with_key_at(mut document: Value, pointer: &str, key: &str, value: Value) -> Value {
    match document.pointer_mut(pointer).and_then(Value::as_object_mut) {
        Some(object) => object.insert(key.to_owned(), value),
        None => panic!("there is no object at {pointer}"),
    };
    document
}

#[test]
fn everything_a_template_may_say_is_stored_as_it_was_said() {
    assert_eq!(stored(&full()), full());
    for source in sources() {
        assert_eq!(stored(&with_source(source.clone()))["image_source"], source);
    }
}

#[test]
fn what_is_stored_is_read_back_by_the_repositories() {
    for document in sources().map(with_source).into_iter().chain([full()]) {
        let spec = TemplateSpec::parse(&document).unwrap();
        let read: TemplateSpec = serde_json::from_value(spec.to_canonical()).unwrap();
        assert_eq!(read, spec, "{document}");
    }
}

#[test]
fn null_is_the_same_as_absent() {
    let bare = with_source(json!({"container_disk": {"image": "debian:12"}}));
    for part in [
        "cloud_init",
        "volumes",
        "networks",
        "guest",
        "source",
        "image",
        "pvc_name",
    ] {
        assert_eq!(stored(&with(part, Value::Null)), stored(&bare), "{part}");
    }
    assert_eq!(stored(&with("cloud_init", json!({}))), stored(&bare));
}
