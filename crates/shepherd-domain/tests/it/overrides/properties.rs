//! What holds for all overrides and all documents.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shepherd_domain::ErrorCode;
use shepherd_domain::catalog::{Segment, SpecOverrides, SpecPath};

/// A machine as it is rendered, with entries of the platform in every list that has some.
fn rendered() -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "prod-shop-web-06", "namespace": "prod", "labels": {"a": "b"}, "annotations": {}},
        "spec": {
            "runStrategy": "Always",
            "dataVolumeTemplates": [{"metadata": {"name": "prod-shop-web-06-data"}, "spec": {"source": {"blank": {}}}}],
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {
                    "hostname": "prod-shop-web-06",
                    "domain": {
                        "cpu": {"cores": 4, "sockets": 1, "threads": 1},
                        "memory": {"guest": "8192Mi"},
                        "resources": {
                            "limits": {"cpu": "4", "memory": "8192Mi"},
                            "requests": {"cpu": "4", "memory": "8192Mi"},
                        },
                        "devices": {
                            "disks": [{"name": "root"}, {"name": "data"}, {"name": "cloudinit"}],
                            "interfaces": [{"name": "default", "masquerade": {}}],
                        },
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [
                        {"name": "root", "containerDisk": {"image": "debian"}},
                        {"name": "data", "dataVolume": {"name": "prod-shop-web-06-data"}},
                        {"name": "cloudinit", "cloudInitNoCloud": {"secretRef": {"name": "prod-shop-web-06-cloudinit"}}},
                    ],
                },
            },
        },
    })
}

/// What no override may change: the parts of a document that are the platform's.
fn owned(document: &Value) -> Vec<Value> {
    let machine = &document["spec"]["template"]["spec"];
    let entries = |list: &Value, names: &[&str]| -> Vec<Value> {
        let entries = list.as_array().cloned().unwrap_or_default();
        let ours = |entry: &Value| entry["name"].as_str().is_some_and(|name| names.contains(&name));
        entries.into_iter().filter(ours).collect()
    };
    let disks: Vec<Value> = entries(&machine["domain"]["devices"]["disks"], &["root", "data", "cloudinit"])
        .iter()
        .map(|disk| disk["name"].clone())
        .collect();
    vec![
        document["apiVersion"].clone(),
        document["kind"].clone(),
        document["metadata"].clone(),
        document["spec"]["runStrategy"].clone(),
        document["spec"]["running"].clone(),
        document["spec"]["dataVolumeTemplates"].clone(),
        document["spec"]["template"]["metadata"].clone(),
        machine["hostname"].clone(),
        machine["domain"]["resources"]["limits"]["cpu"].clone(),
        machine["domain"]["resources"]["limits"]["memory"].clone(),
        machine["domain"]["resources"]["requests"]["cpu"].clone(),
        Value::from(entries(&machine["volumes"], &["root", "data", "cloudinit"])),
        Value::from(disks),
    ]
}

fn mentions_cloud_init(value: &Value) -> bool {
    match value {
        Value::Object(object) => object
            .iter()
            .any(|(key, inner)| key.to_ascii_lowercase().contains("cloudinit") || mentions_cloud_init(inner)),
        Value::Array(items) => items.iter().any(mentions_cloud_init),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Words of a document in several spellings, so that random paths meet what is there.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "spec",
        "Spec",
        "template",
        "TEMPLATE",
        "metadata",
        "MetaData",
        "labels",
        "runStrategy",
        "runstrategy",
        "running",
        "dataVolumeTemplates",
        "volumes",
        "Volumes",
        "domain",
        "devices",
        "disks",
        "interfaces",
        "gpus",
        "networks",
        "hostname",
        "resources",
        "limits",
        "requests",
        "cpu",
        "CPU",
        "memory",
        "guest",
        "cores",
        "cloudInitNoCloud",
        "cloudinit",
        "name",
        "root",
        "data",
        "a",
        "template.metadata",
        "template.spec",
        "b.c/d",
    ])
    .prop_map(str::to_owned)
}

/// The beginning of a path that leads somewhere, to be continued at random.
fn beginning() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "spec",
        "['spec']",
        "spec.template",
        "spec.template.spec",
        "spec['template'].spec",
        "spec.template.spec.volumes",
        "spec.template.spec.domain",
        "spec.template.spec.domain.devices",
        "spec.template.spec.domain.devices.disks",
        "spec.template.spec.domain.devices.interfaces",
        "spec.template.spec.domain.resources",
        "spec.a",
    ])
    .prop_map(str::to_owned)
}

fn step() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => word().prop_map(|word| format!("['{word}']")),
        4 => word().prop_map(|word| if word.contains('.') { format!("[\"{word}\"]") } else { format!(".{word}") }),
        1 => (0..4_usize).prop_map(|index| format!("[{index}]")),
        2 => word().prop_map(|word| format!("[name={}]", word.replace('/', ""))),
    ]
}

fn path() -> impl Strategy<Value = String> {
    (beginning(), vec(step(), 0..4)).prop_map(|(beginning, steps)| beginning + &steps.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-100..100_i32).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(word(), inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Overrides of which each is acceptable by itself and goes with those before it.
fn acceptable() -> impl Strategy<Value = Vec<(String, Value)>> {
    vec((path(), value()), 0..12).prop_map(|entries| {
        let mut kept = Map::new();
        for (path, value) in entries {
            let mut tried = kept.clone();
            tried.insert(path, value);
            if SpecOverrides::parse(&tried).is_ok() {
                kept = tried;
            }
        }
        kept.into_iter().collect()
    })
}

fn document() -> impl Strategy<Value = Value> {
    prop_oneof![2 => Just(rendered()), 1 => value()]
}

fn overrides_of(entries: Vec<(String, Value)>) -> SpecOverrides {
    SpecOverrides::parse(&entries.into_iter().collect()).unwrap()
}

/// The document with every list sorted.
fn unordered(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(unordered).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(object) => {
            Value::Object(object.into_iter().map(|(key, inner)| (key, unordered(inner))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Texts that are a path, almost one, or none at all.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        7 => "[a-c]{0,2}([.\\[\\]'\"=-]|\\[name=|[0-9]|[a-c]|/| ){0,12}",
        2 => path(),
        1 => any::<String>(),
    ]
}

proptest! {
    // The grammar stands between a person and every document, so it is tried more often than other rules.
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn a_text_is_no_path_or_is_read_as_it_is_written(text in text()) {
        if let Ok(path) = SpecPath::parse(&text) {
            let written = path.to_string();
            prop_assert!(written.len() <= SpecPath::MAX_BYTES && path.segments().len() <= SpecPath::MAX_DEPTH);
            let read = SpecPath::parse(&written);
            prop_assert_eq!(read.as_ref(), Ok(&path));
            prop_assert_eq!(read.map(|read| read.to_string()), Ok(written));
        }
    }
}

proptest! {
    #[test]
    fn any_overrides_are_read_or_refused(entries in vec((prop_oneof![path(), any::<String>()], value()), 0..6)) {
        let map: Map<String, Value> = entries.into_iter().collect();
        match SpecOverrides::parse(&map) {
            Ok(overrides) => {
                let stored = serde_json::to_value(&overrides).unwrap();
                prop_assert_eq!(serde_json::from_value::<SpecOverrides>(stored).unwrap(), overrides);
            }
            Err(problem) => prop_assert_eq!(problem.code, ErrorCode::InvalidSpecOverrides),
        }
    }

    #[test]
    fn the_order_of_overrides_means_nothing(
        (entries, shuffled) in acceptable().prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle())),
        document in document(),
    ) {
        let mut at_once = document.clone();
        overrides_of(entries).apply(&mut at_once);
        let mut together = document.clone();
        overrides_of(shuffled.clone()).apply(&mut together);
        prop_assert_eq!(&at_once, &together);
        // One by one, new entries of a list are in the order in which they came, and nothing else is different.
        let mut one_by_one = document;
        for entry in shuffled {
            overrides_of(vec![entry]).apply(&mut one_by_one);
        }
        prop_assert_eq!(unordered(at_once), unordered(one_by_one));
    }

    #[test]
    fn applying_overrides_twice_does_nothing_more(entries in acceptable(), document in document()) {
        let overrides = overrides_of(entries);
        let mut once = document;
        overrides.apply(&mut once);
        let mut twice = once.clone();
        overrides.apply(&mut twice);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn what_was_set_can_be_read_where_it_was_set(entries in acceptable(), document in document()) {
        let overrides = overrides_of(entries);
        let mut applied = document;
        overrides.apply(&mut applied);
        for (path, value) in overrides.iter() {
            let found = path.segments().iter().try_fold(&applied, |at, segment| match segment {
                Segment::Key(key) => at.get(key),
                Segment::Index(index) => at.get(index),
                Segment::Named(name) => at.as_array()?.iter().find(|entry| entry["name"] == name.as_str()),
            });
            let empty = value.as_object().is_some_and(Map::is_empty);
            if empty {
                prop_assert!(found.is_some_and(Value::is_object), "{}", path);
            } else {
                prop_assert_eq!(found, Some(value), "{}", path);
            }
        }
    }

    #[test]
    fn what_the_platform_owns_stays_as_it_is(entries in acceptable()) {
        let overrides = overrides_of(entries);
        let before = rendered();
        let mut after = before.clone();
        overrides.apply(&mut after);
        prop_assert_eq!(owned(&after), owned(&before));
        // The volume of the platform is the only thing of the kind in there.
        let volumes = after["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap();
        volumes.retain(|volume| volume["name"] != "cloudinit");
        prop_assert!(!mentions_cloud_init(&after));
    }
}
