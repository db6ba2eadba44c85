//! The difference of two documents is complete, honest about its direction, and tells no secret (catalog.md §6).

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shepherd_domain::revision::{Change, ChangeOp, diff, mask, masked_yaml, parse};

const HIDDEN: &str = "[REDACTED]";

/// Changes as `op path old new`.
fn told(old: &Value, new: &Value) -> Vec<String> {
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
    diff(old, new)
        .iter()
        .map(|change| {
            format!(
                "{} {} {} {}",
                change.op,
                change.path,
                shown(&change.old),
                shown(&change.new)
            )
        })
        .collect()
}

#[test]
fn changes_are_told_by_their_paths() {
    let cases: [(Value, Value, &[&str]); 12] = [
        (json!({"a": 1}), json!({"a": 1}), &[]),
        (json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), &["replace a.b 1 2"]),
        (json!({"a": {}}), json!({"a": {"b": 2}}), &["add a.b - 2"]),
        (json!({"a": {"b": 2}}), json!({"a": {}}), &["remove a.b 2 -"]),
        (json!({"a": null}), json!({}), &["remove a null -"]),
        (
            json!({"a": [1, 2]}),
            json!({"a": [1, 3, 4]}),
            &["replace a[1] 2 3", "add a[2] - 4"],
        ),
        (json!({"a": [1]}), json!({"a": {"b": 1}}), &[r#"replace a [1] {"b":1}"#]),
        (
            json!({"m": {"example.com/x": "1"}}),
            json!({"m": {"example.com/x": "2"}}),
            &[r#"replace m["example.com/x"] "1" "2""#],
        ),
        (
            json!({"b": 1, "a": 1}),
            json!({"c": 1}),
            &["remove a 1 -", "remove b 1 -", "add c - 1"],
        ),
        (json!(1), json!(2), &["replace  1 2"]),
        (json!({"a": 1}), json!({"a": 1.5}), &["replace a 1 1.5"]),
        (json!({"": 1}), json!({"": 2}), &[r#"replace [""] 1 2"#]),
    ];
    for (old, new, expected) in cases {
        assert_eq!(told(&old, &new), expected, "{old} -> {new}");
    }
}

#[test]
fn entries_with_names_are_told_by_them() {
    let disk = |name: &str, bus: &str| json!({"name": name, "disk": {"bus": bus}});
    let old = json!({"disks": [disk("root", "virtio"), disk("data", "virtio")]});
    let inserted = json!({"disks": [disk("boot", "sata"), disk("root", "virtio"), disk("data", "scsi")]});
    assert_eq!(
        told(&old, &inserted),
        [
            r#"add disks[name=boot] - {"disk":{"bus":"sata"},"name":"boot"}"#,
            r#"replace disks[name=data].disk.bus "virtio" "scsi""#,
        ]
    );
    let swapped = json!({"disks": [disk("data", "virtio"), disk("root", "virtio")]});
    assert_eq!(
        told(&old, &swapped),
        [
            r#"replace disks[0].name "root" "data""#,
            r#"replace disks[1].name "data" "root""#,
        ],
        "an order that changed is no equality"
    );
    let twice = json!({"disks": [disk("root", "virtio"), disk("root", "sata")]});
    assert_eq!(told(&twice, &json!({"disks": [disk("root", "virtio")]})).len(), 1);
    assert_eq!(told(&json!({"disks": []}), &old).len(), 2);
}

#[test]
fn secrets_are_hidden_and_their_change_is_not() {
    let volume =
        |data: &str| json!({"name": "cloudinit", "cloudInitNoCloud": {"userData": data, "secretRef": {"name": "s"}}});
    let old = json!({"volumes": [volume("#cloud-config\npassword: one")]});
    let new = json!({"volumes": [volume("#cloud-config\npassword: two")]});
    let expected = format!(r#"replace volumes[name=cloudinit].cloudInitNoCloud.userData "{HIDDEN}" "{HIDDEN}""#);
    assert_eq!(told(&old, &new), [expected]);
    for (old, new) in [
        (json!({}), json!({"password": "hunter2"})),
        (
            json!({"env": {"api_key": {"deep": "hunter2"}}}),
            json!({"env": {"api_key": "hunter22"}}),
        ),
        (json!({"a": {"token": ["hunter2"]}}), json!({})),
        (json!({"a": "x"}), json!({"a": "postgres://u:hunter2@db/x"})),
        (
            json!({"l": []}),
            json!({"l": [{"name": "a", "networkData": "hunter2"}]}),
        ),
    ] {
        let told = told(&old, &new);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!told[0].contains("hunter2") && told[0].contains(HIDDEN), "{told:?}");
    }
}

#[test]
fn what_only_names_a_secret_is_shown() {
    let document = json!({"volumes": [
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "init", "cloudInitNoCloud": {"secretRef": {"name": "web-cloudinit"}, "networkDataSecretRef": {"name": "n"}}},
        {"name": "import", "source": {"http": {"url": "https://example.com/a", "secretRef": "pull"}}},
    ]});
    assert_eq!(mask(&document), document);
    assert_eq!(mask(&json!({"secret": "hunter2"}))["secret"], HIDDEN);
}

#[test]
fn a_masked_document_is_yaml_that_reads_the_same() {
    let document =
        json!({"kind": "VirtualMachine", "spec": {"cpu": "2", "on": "true", "n": 3, "password": "x", "l": ["a", {}]}});
    let yaml = masked_yaml(&document).unwrap();
    assert_eq!(parse(&yaml).unwrap(), mask(&document));
    assert!(parse("a: [").is_err());
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let key = prop_oneof![Just("name".to_owned()), "[a-d./]{1,2}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<String, Value>>())),
        ]
    })
}

/// The change that takes a change back.
fn reversed(change: Change) -> Change {
    Change {
        op: match change.op {
            ChangeOp::Add => ChangeOp::Remove,
            ChangeOp::Remove => ChangeOp::Add,
            ChangeOp::Replace => ChangeOp::Replace,
        },
        old: change.new,
        new: change.old,
        path: change.path,
    }
}

fn sorted(mut changes: Vec<Change>) -> Vec<String> {
    let mut told: Vec<String> = changes.drain(..).map(|change| format!("{change:?}")).collect();
    told.sort();
    told
}

proptest! {
    #[test]
    fn there_are_no_changes_exactly_between_equals(old in values(), new in values()) {
        prop_assert!(diff(&old, &old).is_empty());
        prop_assert_eq!(diff(&old, &new).is_empty(), old == new);
    }

    #[test]
    fn the_way_back_is_the_same_changes_reversed(old in values(), new in values()) {
        let back: Vec<Change> = diff(&new, &old).into_iter().map(reversed).collect();
        prop_assert_eq!(sorted(diff(&old, &new)), sorted(back));
    }

    #[test]
    fn changes_come_by_path_and_each_says_what_its_values_say(old in values(), new in values()) {
        let changes = diff(&old, &new);
        prop_assert!(changes.windows(2).all(|pair| pair[0].path <= pair[1].path));
        for change in changes {
            let expected = match (&change.old, &change.new) {
                (None, Some(_)) => Some(ChangeOp::Add),
                (Some(_), None) => Some(ChangeOp::Remove),
                (Some(_), Some(_)) => Some(ChangeOp::Replace),
                (None, None) => None,
            };
            prop_assert_eq!(Some(change.op), expected);
        }
    }
}
