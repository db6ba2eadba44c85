//! Which fields a form shows, and within which bounds.

use proptest::prelude::*;
use serde_json::{Value, json};
use shepherd_domain::catalog::FieldRule;

use super::properties::anything;
use super::{leads_somewhere, path_and_hint};

const CORES: &str = "spec.template.spec.domain.cpu.cores";

/// A field with these keys beside its path.
fn field(mut keys: Value) -> Value {
    keys["path"] = json!(CORES);
    json!([keys])
}

fn parsed(list: &Value) -> Vec<FieldRule> {
    match FieldRule::parse_list(list) {
        Ok(rules) => rules,
        Err(problem) => panic!("{list} is refused: {problem}"),
    }
}

fn refusal(list: &Value) -> String {
    match FieldRule::parse_list(list) {
        Ok(rules) => panic!("{list} is accepted: {rules:?}"),
        Err(problem) => path_and_hint(&problem).0,
    }
}

/// Keys of a field, and one that is none.
fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["min", "max", "default", "options", "path", "x"])
}

#[test]
fn a_field_is_visible_editable_and_optional_unless_it_says_otherwise() {
    let rules = parsed(&field(json!({})));
    assert_eq!(
        rules,
        [FieldRule {
            path: CORES.to_owned(),
            visible: true,
            editable: true,
            required: false,
            default: None,
            min: None,
            max: None,
            options: Vec::new(),
        }]
    );
    assert!(parsed(&json!([])).is_empty());
}

#[test]
fn bounds_options_and_default_agree() {
    for keys in [
        json!({"min": 1, "max": 8, "default": 4}),
        json!({"min": 4, "max": 4, "default": 4}),
        json!({"min": 0.5, "max": 1.5, "options": [0.5, 1, 1.5], "default": 1}),
        json!({"options": ["2Mi", "1Gi"], "default": "1Gi"}),
        json!({"default": true, "visible": false, "required": true}),
        json!({"min": 9_007_199_254_740_993_i64, "max": u64::MAX}),
    ] {
        parsed(&field(keys));
    }
    for (keys, path) in [
        (json!({"min": 2, "max": 1}), ".max"),
        (json!({"min": u64::MAX, "max": u64::MAX - 1}), ".max"),
        (json!({"min": "1"}), ".min"),
        (json!({"min": 1, "default": 0}), ".default"),
        (json!({"max": 8, "default": 8.5}), ".default"),
        (json!({"max": 8, "default": "8"}), ".default"),
        (json!({"max": 8, "options": [4, 16]}), ".options[1]"),
        (json!({"options": [1, "2"]}), ".options[1]"),
        (json!({"options": [1, 1]}), ".options[1]"),
        (json!({"options": [null]}), ".options[0]"),
        (json!({"options": 1}), ".options"),
        (json!({"options": ["a"], "default": "b"}), ".default"),
        (json!({"default": {"a": 1}}), ".default"),
        (json!({"default": "{{ cores }}"}), ".default"),
        (json!({"visible": "yes"}), ".visible"),
        (json!({"required": true, "editable": false}), ""),
        (json!({"required": true, "visible": false}), ""),
        (json!({"requred": true}), ".requred"),
    ] {
        assert_eq!(refusal(&field(keys.clone())), format!("[0]{path}"), "{keys}");
    }
}

#[test]
fn a_path_is_dotted_below_spec_and_unique() {
    for path in [
        "spec.runStrategy",
        CORES,
        "spec.template.spec.domain.devices.gpus[0].deviceName",
        "spec.template.spec.networks[name=default].pod",
    ] {
        assert_eq!(
            parsed(&json!([{"path": path}])).first().map(|rule| rule.path.as_str()),
            Some(path)
        );
    }
    for path in [
        "",
        "spec",
        "spec.",
        "spec..a",
        ".spec.a",
        "status.phase",
        "spec.a b",
        "spec.a[",
        "spec.a[x]",
        "specs.a",
    ] {
        assert_eq!(refusal(&json!([{"path": path}])), "[0].path", "{path:?}");
    }
    assert_eq!(
        refusal(&json!([{"path": "spec.a"}, {"path": "spec.b"}, {"path": "spec.a"}])),
        "[2].path"
    );
    assert_eq!(refusal(&json!([{"visible": true}])), "[0]");
    assert_eq!(refusal(&json!(["spec.a"])), "[0]");
    assert_eq!(refusal(&json!({"path": "spec.a"})), "");
    let many: Value = (0..65).map(|index| json!({"path": format!("spec.a{index}")})).collect();
    assert_eq!(refusal(&many), "");
}

#[test]
fn the_list_is_named_in_paths_where_its_name_is_known() {
    let list = json!([{"path": CORES, "min": "1"}]);
    let problem = FieldRule::parse_named_list("quick_fields", &list).unwrap_err();
    assert_eq!(path_and_hint(&problem).0, "quick_fields[0].min");
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_or_refused_at_a_place_that_exists(
        entries in prop::collection::vec((key(), anything()), 0..4),
    ) {
        let mut keys = json!({"path": CORES});
        for (key, value) in entries {
            keys[key] = value;
        }
        let list = json!([keys]);
        match FieldRule::parse_list(&list) {
            Ok(rules) => {
                let stored = json!(rules);
                prop_assert_eq!(FieldRule::parse_list(&stored).ok(), Some(rules.clone()), "{}", stored);
                let read: Vec<FieldRule> = serde_json::from_value(stored).expect("the stored form is read");
                prop_assert_eq!(read, rules);
            }
            Err(problem) => {
                let (path, hint) = path_and_hint(&problem);
                prop_assert!(leads_somewhere(&list, &path), "{} in {}", path, list);
                prop_assert!(!hint.is_empty());
            }
        }
    }
}
