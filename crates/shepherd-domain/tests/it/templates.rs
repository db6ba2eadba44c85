//! Template specs against catalog.md §1.

use proptest::prelude::*;
use serde_json::{Value, json};
use shepherd_domain::ErrorCode;
use shepherd_domain::catalog::{Firmware, TemplateSpec};

/// Keys that belong to the instance size or to the platform.
const PROHIBITED: [&str; 14] = [
    "cpu",
    "memory",
    "resources",
    "domain",
    "requires_gpu",
    "requires_anything",
    "required_features",
    "required_hardware",
    "dedicated_cpu",
    "hugepages_size",
    "running",
    "runStrategy",
    "metadata",
    "labels",
];

/// A spec that uses everything a template may say.
fn full() -> Value {
    json!({
        "image_source": {"container_disk": {"image": "quay.io/containerdisks/debian:12", "pull_policy": "Always"}},
        "cloud_init": {"user_data": "#cloud-config\npackages: [nginx]\n", "network_data": "version: 2\n"},
        "volumes": [
            {"name": "scratch", "empty_disk": {"size_gb": 5}},
            {"name": "settings", "config_map": {"name": "shop"}},
            {"name": "certificates", "secret": {"name": "shop"}},
        ],
        "networks": [{"pod": {}}, {"multus": {"name": "storage", "attachment": "infra/storage"}}],
        "guest": {"firmware": "efi", "disk_bus": "sata"},
    })
}

fn with_source(source: Value) -> Value {
    json!({"image_source": source})
}

/// One spec of each image source.
fn sources() -> [Value; 6] {
    [
        json!({"container_disk": {"image": "debian:12"}}),
        json!({"pvc": {"namespace": "images", "name": "debian-12"}}),
        json!({"data_volume": {"source": "http", "url": "https://example.com/debian.qcow2"}}),
        json!({"data_volume": {"source": "registry", "url": "docker://example.com/debian:12", "secret_ref": "pull"}}),
        json!({"data_volume": {"source": "s3", "url": "https://s3.example.com/debian.qcow2", "secret_ref": "keys"}}),
        json!({"data_volume": {"source": "blank"}}),
    ]
}

fn refusal(value: &Value) -> Option<ErrorCode> {
    TemplateSpec::parse(value).err().map(|problem| problem.code)
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

/// Some specs to put something into.
fn document() -> impl Strategy<Value = Value> {
    let mut documents = vec![full()];
    documents.extend(sources().map(with_source));
    prop::sample::select(documents)
}

/// The key with every letter in either case.
fn spelled(key: &str, upper: &[bool]) -> String {
    let cases = upper.iter().copied().cycle();
    key.chars()
        .zip(cases)
        .map(|(c, upper)| {
            if upper {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

#[test]
fn everything_a_template_may_say_is_read() {
    let spec = TemplateSpec::parse(&full()).unwrap();
    assert_eq!(spec.volumes.len(), 3);
    assert_eq!(spec.networks.len(), 2);
    assert_eq!(spec.guest.firmware, Firmware::Efi);
    for source in sources() {
        assert_eq!(refusal(&with_source(source.clone())), None, "{source}");
    }
}

#[test]
fn a_spec_survives_being_stored() {
    for value in sources().map(with_source).into_iter().chain([full()]) {
        let spec = TemplateSpec::parse(&value).unwrap();
        let stored = serde_json::to_value(&spec).unwrap();
        assert_eq!(TemplateSpec::parse(&stored).unwrap(), spec, "{stored}");
    }
}

#[test]
fn a_guest_nobody_described_boots_by_bios_from_virtio() {
    let [source, ..] = sources();
    let spec = TemplateSpec::parse(&with_source(source)).unwrap();
    assert_eq!(
        (spec.guest.firmware, spec.guest.disk_bus.as_str()),
        (Firmware::Bios, "virtio")
    );
}

#[test]
fn there_is_exactly_one_image_source() {
    for value in [
        json!({}),
        json!(null),
        json!([]),
        json!("debian"),
        with_source(json!({})),
        with_source(json!(null)),
        with_source(json!({"floppy": {}})),
        with_source(json!({"container_disk": {"image": "a"}, "pvc": {"namespace": "a", "name": "b"}})),
        with_source(json!({"container_disk": {}})),
        with_source(json!({"container_disk": {"image": " "}})),
        with_source(json!({"container_disk": {"image": "a", "pull_policy": "Sometimes"}})),
        with_source(json!({"pvc": {"namespace": "", "name": "b"}})),
        with_source(json!({"pvc": {"namespace": "a", "name": ""}})),
        with_source(json!({"data_volume": {"source": "http"}})),
        with_source(json!({"data_volume": {"source": "http", "url": ""}})),
        with_source(json!({"data_volume": {"source": "ftp", "url": "ftp://example.com"}})),
        with_source(json!({"data_volume": {"url": "https://example.com"}})),
    ] {
        assert_eq!(refusal(&value), Some(ErrorCode::TemplateSpecViolation), "{value}");
    }
}

#[test]
fn volumes_have_names_of_their_own_and_one_content() {
    let with_volumes = |volumes: Value| {
        let mut document = full();
        document["volumes"] = volumes;
        refusal(&document)
    };
    for volumes in [
        json!([{"name": "root", "empty_disk": {"size_gb": 1}}]),
        json!([{"name": "data", "empty_disk": {"size_gb": 1}}]),
        json!([{"name": "cloudinit", "empty_disk": {"size_gb": 1}}]),
        json!([{"name": "a", "empty_disk": {"size_gb": 1}}, {"name": "a", "empty_disk": {"size_gb": 1}}]),
        json!([{"name": "", "empty_disk": {"size_gb": 1}}]),
        json!([{"name": "A", "empty_disk": {"size_gb": 1}}]),
        json!([{"name": "-a", "empty_disk": {"size_gb": 1}}]),
        json!([{"name": "a"}]),
        json!([{"name": "a", "empty_disk": {"size_gb": -1}}]),
        json!([{"name": "a", "empty_disk": {"size_gb": 1}, "secret": {"name": "b"}}]),
        json!([{"name": "a", "host_path": {"path": "/"}}]),
    ] {
        assert_eq!(
            with_volumes(volumes.clone()),
            Some(ErrorCode::TemplateSpecViolation),
            "{volumes}"
        );
    }
}

#[test]
fn user_data_is_a_cloud_config() {
    for user_data in [
        "",
        "#!/bin/sh\nreboot",
        "packages: []",
        "## template: jinja\n#cloud-config",
    ] {
        let mut document = full();
        document["cloud_init"]["user_data"] = user_data.into();
        assert_eq!(
            refusal(&document),
            Some(ErrorCode::TemplateSpecViolation),
            "{user_data:?}"
        );
    }
}

#[test]
fn a_violation_says_where_it_is() {
    let document = with_key_at(full(), "/volumes/0/empty_disk", "Memory", json!("1Gi"));
    let problem = TemplateSpec::parse(&document).unwrap_err();
    assert_eq!(problem.params["path"], "spec.volumes[0].empty_disk.Memory");
}

proptest! {
    #[test]
    fn no_prohibited_key_passes_whatever_its_place_and_spelling(
        document in document(),
        at: prop::sample::Index,
        key in prop::sample::select(PROHIBITED.to_vec()),
        upper in prop::collection::vec(any::<bool>(), 1..8),
        prefix in prop::sample::select(vec!["", "spec.", "spec.template.spec."]),
        depth in 0..4_usize,
    ) {
        let pointer = at.get(&pointers(&document, Value::is_object)).clone();
        let key = format!("{prefix}{}", spelled(key, &upper));
        let mut value = json!({key.as_str(): 1});
        for _ in 0..depth {
            value = json!({"extra": [value]});
        }
        let document = match value {
            Value::Object(map) => map.into_iter().fold(document, |document, (key, inner)| {
                with_key_at(document, &pointer, &key, inner)
            }),
            leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => leaf,
        };
        prop_assert_eq!(refusal(&document), Some(ErrorCode::TemplateSpecViolation), "{}", document);
    }

    #[test]
    fn no_key_passes_that_the_specification_does_not_list(
        document in document(),
        at: prop::sample::Index,
        key in "zz[a-z_]{1,12}",
    ) {
        let pointer = at.get(&pointers(&document, Value::is_object)).clone();
        let document = with_key_at(document, &pointer, &key, json!({}));
        prop_assert_eq!(refusal(&document), Some(ErrorCode::TemplateSpecViolation), "{}", document);
    }

    #[test]
    fn no_text_holds_a_template_delimiter(document in document(), at: prop::sample::Index, around in "[a-z ]{0,5}") {
        let pointer = at.get(&pointers(&document, Value::is_string)).clone();
        let mut document = document;
        if let Some(text) = document.pointer_mut(&pointer) {
            *text = json!(format!("#cloud-config\n{around}{{{{ name }}}}{around}"));
        }
        prop_assert_eq!(refusal(&document), Some(ErrorCode::TemplateSpecViolation), "{}", document);
    }
}
