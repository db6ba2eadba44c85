//! Overrides against catalog.md §2: the grammar of paths, what is kept of what was sent, what is not a size's to set,
//! and what they do to a document.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forbidden;
mod properties;

use serde_json::{Map, Value, json};
use shepherd_domain::ErrorCode;
use shepherd_domain::catalog::{PathError, Segment, SpecOverrides, SpecPath};

fn parse(overrides: &Value) -> Result<SpecOverrides, (String, String)> {
    SpecOverrides::parse(overrides.as_object().unwrap()).map_err(|problem| {
        assert_eq!(problem.code, ErrorCode::InvalidSpecOverrides, "{problem}");
        let text = |name: &str| problem.params[name].as_str().unwrap().to_owned();
        (text("path"), text("reason"))
    })
}

fn parsed(overrides: &Value) -> SpecOverrides {
    parse(overrides).unwrap_or_else(|refused| panic!("{overrides}: {refused:?}"))
}

fn one(path: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(path.to_owned(), value)]))
}

fn reason(overrides: &Value) -> String {
    match parse(overrides) {
        Ok(accepted) => panic!("{overrides} was accepted as {accepted:?}"),
        Err((_, reason)) => reason,
    }
}

fn key(name: &str) -> Segment {
    Segment::Key(name.to_owned())
}

#[test]
fn a_path_is_read_and_written_in_one_form() {
    let cases: [(&str, &str, Vec<Segment>); 9] = [
        ("spec", "spec", vec![key("spec")]),
        ("[\"spec\"]", "spec", vec![key("spec")]),
        ("spec.running", "spec.running", vec![key("spec"), key("running")]),
        ("spec['running']", "spec.running", vec![key("spec"), key("running")]),
        ("spec[\"running\"]", "spec.running", vec![key("spec"), key("running")]),
        (
            "limits['nvidia.com/A10']",
            "limits[\"nvidia.com/A10\"]",
            vec![key("limits"), key("nvidia.com/A10")],
        ),
        ("a[0].b", "a[0].b", vec![key("a"), Segment::Index(0), key("b")]),
        ("a[63]", "a[63]", vec![key("a"), Segment::Index(63)]),
        (
            "a[name=x-1.y_2]['b']",
            "a[name=x-1.y_2].b",
            vec![key("a"), Segment::Named("x-1.y_2".to_owned()), key("b")],
        ),
    ];
    for (text, canonical, segments) in cases {
        let path = SpecPath::parse(text).unwrap();
        assert_eq!(path.segments(), segments, "{text}");
        assert_eq!(path.to_string(), canonical, "{text}");
        assert_eq!(canonical.parse::<SpecPath>().unwrap(), path);
    }
}

#[test]
fn what_is_not_a_path_is_refused() {
    let deep = ["a"; 33].join(".");
    let long = "a".repeat(513);
    let long_key = format!("a['{}']", "k".repeat(318));
    let long_name = format!("a[name={}]", "n".repeat(254));
    let cases: &[(&str, PathError)] = &[
        ("", PathError::EmptySegment),
        (".", PathError::EmptySegment),
        (".a", PathError::EmptySegment),
        ("a.", PathError::EmptySegment),
        ("a..b", PathError::EmptySegment),
        ("a.[0]", PathError::EmptySegment),
        ("a[]", PathError::EmptySegment),
        ("a['']", PathError::EmptySegment),
        ("a[name=]", PathError::EmptySegment),
        (" a", PathError::Character),
        ("a ", PathError::Character),
        ("a b", PathError::Character),
        ("a. b", PathError::Character),
        ("a\n", PathError::Character),
        ("a\u{0}b", PathError::Character),
        ("a\u{200b}", PathError::Character),
        ("\u{430}", PathError::Character),
        ("a/b", PathError::Character),
        ("a~1b", PathError::Character),
        ("-a", PathError::Character),
        ("_a", PathError::Character),
        ("$patch", PathError::Character),
        ("a]", PathError::Character),
        ("a[0]b", PathError::Character),
        ("a['b c']", PathError::Character),
        ("a['.b']", PathError::Character),
        ("a['b[0]']", PathError::Character),
        ("a[name= x]", PathError::Character),
        ("a[name='x']", PathError::Character),
        ("a[name=x=y]", PathError::Character),
        ("[0]", PathError::Bracket),
        ("[name=a].b", PathError::Bracket),
        ("a[", PathError::Bracket),
        ("a[0", PathError::Bracket),
        ("a[b]", PathError::Bracket),
        ("a[-1]", PathError::Bracket),
        ("a[*]", PathError::Bracket),
        ("a['b]", PathError::Bracket),
        ("a['b\"]", PathError::Bracket),
        ("a[01]", PathError::Index),
        ("a[64]", PathError::Index),
        ("a[18446744073709551616]", PathError::Index),
        (deep.as_str(), PathError::TooDeep),
        (long.as_str(), PathError::TooLong),
    ];
    for (text, error) in cases {
        assert_eq!(SpecPath::parse(text), Err(*error), "{text:?}");
        assert_eq!(
            parse(&one(text, json!(1))),
            Err((text.chars().take(512).collect(), error.reason().to_owned())),
            "{text:?}"
        );
    }
    assert_eq!(SpecPath::parse(&long_key), Err(PathError::TooLong));
    assert_eq!(SpecPath::parse(&long_name), Err(PathError::TooLong));
}

#[test]
fn nested_objects_become_leaves() {
    let overrides = parsed(&json!({
        "spec": {"template": {"spec": {
            "domain": {"cpu": {"cores": 4.0, "model": "host-model"}, "devices": {"rng": {}}},
            "nodeSelector": {"kubevirt.io/schedulable": "true"},
        }}},
        "spec.template.spec.domain.devices.interfaces[name=fast]": {"sriov": {}, "name": "fast"},
        "spec.template.spec.tolerations": [{"key": "gpu", "tolerationSeconds": 3e2, "weights": [1.0, 1.5]}],
        "spec.template.spec['terminationGracePeriodSeconds']": -0.0,
    }));
    let stored = serde_json::to_value(&overrides).unwrap();
    assert_eq!(
        stored,
        json!({
            "spec.template.spec.domain.cpu.cores": 4,
            "spec.template.spec.domain.cpu.model": "host-model",
            "spec.template.spec.domain.devices.interfaces[name=fast].name": "fast",
            "spec.template.spec.domain.devices.interfaces[name=fast].sriov": {},
            "spec.template.spec.domain.devices.rng": {},
            "spec.template.spec.nodeSelector[\"kubevirt.io/schedulable\"]": "true",
            "spec.template.spec.terminationGracePeriodSeconds": 0,
            "spec.template.spec.tolerations": [{"key": "gpu", "tolerationSeconds": 300, "weights": [1, 1.5]}],
        })
    );
    assert_eq!(serde_json::from_value::<SpecOverrides>(stored).unwrap(), overrides);
    assert_eq!(overrides.len(), 8);
    assert!(parsed(&json!({})).is_empty());
}

#[test]
fn indices_are_ordered_by_number() {
    let overrides = parsed(&json!({"spec.a[10]": 1, "spec.a[9]": 1, "spec.B": 1}));
    let paths: Vec<String> = overrides.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["spec.B", "spec.a[9]", "spec.a[10]"]);
}

#[test]
fn overrides_that_are_in_each_others_way_are_refused() {
    for (overrides, expected) in [
        (json!({"spec.a": 1, "spec['a']": 1}), "duplicate"),
        (json!({"spec.a.b": 1, "spec": {"a": {"b": 1}}}), "duplicate"),
        (json!({"spec.a[name=x]": {"b": 1}, "spec.a[name=x].b": 1}), "duplicate"),
        (json!({"spec.a": 1, "spec.a.b": 1}), "conflict"),
        (json!({"spec.a": {}, "spec.a.b": 1}), "conflict"),
        (json!({"spec.a": [], "spec.a[0]": 1}), "conflict"),
        (json!({"spec.a": [], "spec.a[name=x].b": 1}), "conflict"),
        (json!({"spec.a[0].b": 1, "spec.a[name=x].b": 1}), "conflict"),
        (json!({"spec.a[0]": 1, "spec.a.b": 1}), "conflict"),
        (json!({"spec.a.b": 1, "spec.a.c": 1, "spec.a[name=x].b": 1}), "conflict"),
        (json!({"spec.a.b": 1, "spec": {"a": 1}}), "conflict"),
    ] {
        assert_eq!(reason(&overrides), expected, "{overrides}");
    }
    parsed(&json!({"spec.a": 1, "spec.a-b": 1, "spec.ab": 1, "spec.b[0]": 1, "spec.b[1].c": 1}));
}

#[test]
fn values_that_kubernetes_cannot_hold_are_refused() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!([value]));
    parsed(&one("spec.a", nested(SpecOverrides::MAX_VALUE_DEPTH)));
    parsed(&one("spec.a", json!(9_223_372_036_854_775_807_u64)));
    for (value, expected) in [
        (json!(null), "null"),
        (json!([null]), "null"),
        (json!({"b": null}), "null"),
        (json!([{"b": null}]), "null"),
        (json!(1e19), "number"),
        (json!(9_223_372_036_854_775_808_u64), "number"),
        (json!([-1e300]), "number"),
        (json!([{"b c": 1}]), "key"),
        (json!([{"": 1}]), "key"),
        (json!([{"$patch": "replace"}]), "key"),
        (json!({"b c": 1}), "path_character"),
        (json!({"b[0]": 1}), "path_character"),
        (json!({"": 1}), "path_empty_segment"),
        (nested(SpecOverrides::MAX_VALUE_DEPTH + 1), "value_too_deep"),
        (json!("x".repeat(SpecOverrides::MAX_BYTES)), "too_large"),
    ] {
        assert_eq!(reason(&one("spec.a", value.clone())), expected, "{value}");
    }
    let deep = (0..SpecPath::MAX_DEPTH).fold(json!(1), |value, _| json!({"a": value}));
    assert_eq!(reason(&one("spec", deep)), "path_too_deep");
}

#[test]
fn there_are_only_so_many() {
    let numbered = |count: usize| -> Value {
        (0..count)
            .map(|n| (format!("k{n}"), json!(n)))
            .collect::<Map<_, _>>()
            .into()
    };
    parsed(&one("spec.a", numbered(SpecOverrides::MAX_ENTRIES)));
    assert_eq!(
        reason(&one("spec.a", numbered(SpecOverrides::MAX_ENTRIES + 1))),
        "too_many"
    );
}

#[test]
fn stored_overrides_are_not_trusted() {
    for stored in [
        json!({"spec.running": true}),
        json!({"a..b": 1}),
        json!({"spec.a": null}),
    ] {
        assert!(
            serde_json::from_value::<SpecOverrides>(stored.clone()).is_err(),
            "{stored}"
        );
    }
}

#[test]
fn overrides_are_put_where_they_belong() {
    let cases: [(Value, Value, Value); 12] = [
        (json!(null), json!({"spec.a.b": 1}), json!({"spec": {"a": {"b": 1}}})),
        (
            json!({"spec": {"a": 5, "c": 1}}),
            json!({"spec.a.b": 1}),
            json!({"spec": {"a": {"b": 1}, "c": 1}}),
        ),
        (
            json!({"spec": {"a": [1]}}),
            json!({"spec.a.b": 1}),
            json!({"spec": {"a": {"b": 1}}}),
        ),
        (
            json!({"spec": {"a": {"b": 1}}}),
            json!({"spec.a": {}}),
            json!({"spec": {"a": {"b": 1}}}),
        ),
        (
            json!({"spec": {"a": 1}}),
            json!({"spec.a": {}}),
            json!({"spec": {"a": {}}}),
        ),
        (
            json!({"spec": {"a": [1, 2]}}),
            json!({"spec.a": [3]}),
            json!({"spec": {"a": [3]}}),
        ),
        (
            json!({"spec": {"a": [1, 2]}}),
            json!({"spec.a[1]": 3}),
            json!({"spec": {"a": [1, 3]}}),
        ),
        (
            json!({"spec": {"a": [1]}}),
            json!({"spec.a[1]": 3}),
            json!({"spec": {"a": [1, 3]}}),
        ),
        (
            json!({}),
            json!({"spec.a[2].b": 3}),
            json!({"spec": {"a": [null, null, {"b": 3}]}}),
        ),
        (
            json!({"spec": {"a": [{"name": "x", "c": 1}, {"name": "y"}]}}),
            json!({"spec.a[name=x].b": 1, "spec.a[name=z].b": 2}),
            json!({"spec": {"a": [{"name": "x", "c": 1, "b": 1}, {"name": "y"}, {"name": "z", "b": 2}]}}),
        ),
        (
            json!({"spec": {"a": "x"}}),
            json!({"spec.a[name=x]": {}}),
            json!({"spec": {"a": [{"name": "x"}]}}),
        ),
        (
            json!({"spec": {"a": [{"name": "x"}, {"name": "x"}, 5, null]}}),
            json!({"spec.a[name=x].b": 1}),
            json!({"spec": {"a": [{"name": "x", "b": 1}, {"name": "x"}, 5, null]}}),
        ),
    ];
    for (document, overrides, expected) in cases {
        let overrides = parsed(&overrides);
        let mut applied = document.clone();
        overrides.apply(&mut applied);
        assert_eq!(applied, expected, "{overrides:?} on {document}");
        overrides.apply(&mut applied);
        assert_eq!(applied, expected, "{overrides:?} twice on {document}");
    }
}
