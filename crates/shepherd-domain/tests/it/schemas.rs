//! What a KubeVirt version knows about machines, and what it refuses (catalog.md §3).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shepherd_domain::catalog::SpecPath;
use shepherd_domain::problem::ErrorCode;
use shepherd_domain::schema::{Kind, MinorVersion, SchemaError, VmSchema};

const DOMAIN: &str = "spec.template.spec.domain";

fn path(text: &str) -> SpecPath {
    SpecPath::parse(text).unwrap()
}

/// The definition of a machine with this `domain`.
fn definition(domain: Value) -> Value {
    let instance = json!({"type": "object", "properties": {"domain": domain}});
    let template = json!({"type": "object", "properties": {"spec": instance}});
    let spec = json!({"type": "object", "properties": {"template": template}});
    json!({"type": "object", "properties": {"apiVersion": {"type": "string"}, "spec": spec}})
}

/// A schema whose `domain` has one field `x`.
fn with(x: Value) -> VmSchema {
    let domain = json!({"type": "object", "properties": {"x": x}});
    VmSchema::from_json("1.6", &definition(domain)).unwrap()
}

fn reason(schema: &VmSchema, value: &Value) -> String {
    let checked = schema.check_path(&path(&format!("{DOMAIN}.x")), value);
    checked.err().map(|finding| finding.reason).unwrap_or_default()
}

#[test]
fn versions_are_compared_as_numbers() {
    for (text, wanted) in [
        ("1.6", "1.6"),
        ("v1.6.2", "1.6"),
        ("1.10.0-beta.0", "1.10"),
        ("1.6+build", "1.6"),
    ] {
        assert_eq!(text.parse::<MinorVersion>().unwrap().to_string(), wanted);
    }
    for text in [
        "",
        "1",
        "devel",
        "1.x",
        "1.",
        ".6",
        "-1.6",
        "+1.6",
        "1 .6",
        "99999999999.1",
    ] {
        assert!(text.parse::<MinorVersion>().is_err(), "{text}");
    }
    let version = |text: &str| text.parse::<MinorVersion>().unwrap();
    assert!(version("1.10") > version("1.9"));
    assert!(version("2.0") > version("1.10"));
}

#[test]
fn every_type_takes_its_own_values_and_says_what_is_wrong_with_others() {
    let quantity = json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true});
    let table: [(Value, Vec<Value>, Value, &str); 10] = [
        (
            json!({"type": "integer"}),
            vec![json!(2), json!(-1)],
            json!(2.5),
            "expected integer, found number",
        ),
        (
            json!({"type": "number"}),
            vec![json!(2), json!(2.5)],
            json!("2"),
            "expected number, found string",
        ),
        (
            json!({"type": "boolean"}),
            vec![json!(true)],
            json!("true"),
            "expected boolean, found string",
        ),
        (
            json!({"type": "string"}),
            vec![json!("")],
            json!(1),
            "expected string, found integer",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            vec![json!("a")],
            json!("c"),
            "not one of a, b",
        ),
        (
            quantity,
            vec![json!("4Gi"), json!(4)],
            json!(4.5),
            "expected integer or string, found number",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            vec![json!([]), json!(["a"])],
            json!({}),
            "expected array, found object",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            vec![json!({}), json!({"a": "b"})],
            json!([]),
            "expected object, found array",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            vec![json!({"any": "b"})],
            json!({"any": 1}),
            "expected string, found integer",
        ),
        (
            json!({"type": "string"}),
            vec![],
            Value::Null,
            "expected string, found null",
        ),
    ];
    for (schema, good, bad, why) in table {
        let schema = with(schema);
        for value in good {
            assert_eq!(reason(&schema, &value), "", "{value}");
        }
        assert_eq!(reason(&schema, &bad), why);
    }
}

#[test]
fn what_a_definition_leaves_open_is_open() {
    for x in [
        json!({}),
        json!({"x-kubernetes-preserve-unknown-fields": true}),
        json!({"$ref": "#/elsewhere"}),
        json!({"type": ["string", "integer"]}),
        json!({"oneOf": [{"type": "string"}, {"type": "object"}]}),
        json!("nonsense"),
        Value::Null,
    ] {
        let schema = with(x);
        for value in [json!(1), json!("a"), json!({"a": [null]}), Value::Null] {
            assert_eq!(reason(&schema, &value), "");
        }
        assert!(schema.at(&path(&format!("{DOMAIN}.x.any[3].thing"))).is_some());
    }
    let preserved = json!({"type": "object", "properties": {"a": {"type": "string"}},
        "x-kubernetes-preserve-unknown-fields": true});
    let schema = with(preserved);
    assert_eq!(reason(&schema, &json!({"b": 1, "a": "x"})), "");
    assert_eq!(reason(&schema, &json!({"a": 1})), "expected string, found integer");
    assert_eq!(
        reason(&with(json!({"type": "string", "nullable": true})), &Value::Null),
        ""
    );
    assert_eq!(reason(&with(json!({"type": ["string", "null"]})), &Value::Null), "");
}

#[test]
fn a_definition_that_could_refuse_nothing_is_none() {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    for document in [
        Value::Null,
        json!([]),
        open.clone(),
        json!({"properties": {"spec": open}}),
        definition(json!({"type": "object"})),
        definition(json!({"type": "string"})),
    ] {
        assert_eq!(
            VmSchema::from_json("1.6", &document),
            Err(SchemaError::NoMachine),
            "{document}"
        );
    }
    let fine = definition(json!({"properties": {"x": {}}}));
    assert_eq!(VmSchema::from_json("devel", &fine), Err(SchemaError::Version));
    assert_eq!(VmSchema::from_json("v1.6.2", &fine).unwrap().minor_version(), "1.6");
    let wide: Map<String, Value> = (0..60_000).map(|number| (format!("f{number}"), json!({}))).collect();
    let wide = definition(json!({"properties": wide}));
    assert_eq!(VmSchema::from_json("1.6", &wide), Err(SchemaError::TooLarge));
}

#[test]
fn an_unknown_path_comes_with_the_one_that_was_meant() {
    let schema = VmSchema::baseline();
    for (given, meant) in [
        ("cpu.dedicatedCpuPlacment", Some("cpu.dedicatedCpuPlacement")),
        ("cpu.Cores", Some("cpu.cores")),
        ("cpu.coers", Some("cpu.cores")),
        ("devices.gpu[0].devicename", Some("devices.gpus[0].deviceName")),
        (
            "devices.disks[name=root].disk.buss",
            Some("devices.disks[name=root].disk.bus"),
        ),
        ("memmory.hugepages.nothingLikeIt", Some("memory.hugepages")),
        ("cpu.zzzzzzzz", None),
        ("cpu.cores.more", None),
        ("cpu[0]", None),
        ("devices.disks.name", None),
    ] {
        let given = format!("{DOMAIN}.{given}");
        let finding = schema.check_path(&path(&given), &json!(1)).unwrap_err();
        assert_eq!(
            (finding.path.as_str(), finding.reason.as_str()),
            (given.as_str(), "unknown path")
        );
        assert_eq!(
            finding.suggestion,
            meant.map(|meant| format!("{DOMAIN}.{meant}")),
            "{given}"
        );
    }
}

#[test]
fn a_part_of_a_value_is_named_by_its_own_path() {
    let schema = VmSchema::baseline();
    let gpus = path(&format!("{DOMAIN}.devices.gpus"));
    assert_eq!(
        schema.check_path(&gpus, &json!([{"name": "a", "deviceName": "nvidia.com/A10"}])),
        Ok(())
    );
    let finding = schema
        .check_path(&gpus, &json!([{"name": "a"}, {"nmae": "b"}]))
        .unwrap_err();
    assert_eq!(finding.path, format!("{DOMAIN}.devices.gpus[1].nmae"));
    assert_eq!(finding.suggestion, Some(format!("{DOMAIN}.devices.gpus[1].name")));
    let limits = path(&format!("{DOMAIN}.resources.limits"));
    let finding = schema
        .check_path(&limits, &json!({"nvidia.com/A10": true}))
        .unwrap_err();
    assert_eq!(finding.path, format!("{DOMAIN}.resources.limits[\"nvidia.com/A10\"]"));
}

#[test]
fn a_finding_is_a_problem_with_everything_the_caller_needs() {
    let schema = VmSchema::baseline();
    let wrong = path(&format!("{DOMAIN}.cpu.dedicatedCpuPlacment"));
    let problem = schema.check_path(&wrong, &json!(true)).unwrap_err().problem("1.6");
    assert_eq!(problem.code, ErrorCode::SchemaValidationFailed);
    let params = json!({
        "path": "spec.template.spec.domain.cpu.dedicatedCpuPlacment", "kubevirt_version": "1.6", "reason": "unknown path",
        "suggestion": "spec.template.spec.domain.cpu.dedicatedCpuPlacement",
    });
    assert_eq!(Value::Object(problem.params), params);
    let cores = path(&format!("{DOMAIN}.cpu.cores"));
    let problem = schema.check_path(&cores, &json!("two")).unwrap_err().problem("1.6");
    assert_eq!(problem.params.get("suggestion"), None);
}

#[test]
fn a_document_is_told_all_that_is_wrong_with_its_spec() {
    let schema = VmSchema::baseline();
    let machine = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "a", "whatever": 1}, "anything": true,
        "spec": {
            "runStrategy": "Always", "runing": true,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "domain": {"cpu": {"cores": "two", "sockets": 1}, "devices": {"disks": [{"name": "root", "disk": {"bus": 1}}]}},
                "terminationGracePeriodSeconds": 30,
            }},
        },
    });
    let mut found: Vec<(String, String)> = schema
        .check_document(&machine)
        .into_iter()
        .map(|finding| (finding.path, finding.reason))
        .collect();
    found.sort();
    let wanted = [
        ("spec.runing", "unknown path"),
        ("spec.template.spec.domain.cpu.cores", "expected integer, found string"),
        (
            "spec.template.spec.domain.devices.disks[0].disk.bus",
            "expected string, found integer",
        ),
    ];
    assert_eq!(found, wanted.map(|(path, why)| (path.to_owned(), why.to_owned())));
    let missing = schema.check_document(&json!({}));
    assert_eq!(missing.len(), 1, "a machine without a spec is none: {missing:?}");
}

#[test]
fn findings_of_one_document_have_an_end() {
    let wrong: Map<String, Value> = (0..500).map(|number| (format!("zz{number}"), json!(1))).collect();
    let found = VmSchema::baseline().check_document(&json!({"spec": wrong}));
    assert_eq!(found.len(), VmSchema::MAX_FINDINGS);
}

#[test]
fn descriptions_are_cut_to_a_line() {
    let long = format!("{}\n  and more", "word ".repeat(100));
    let schema = with(json!({"type": "string", "description": long}));
    let node = schema.at(&path(&format!("{DOMAIN}.x"))).unwrap();
    let description = node.description.as_deref().unwrap();
    assert_eq!(description.chars().count(), 200);
    assert!(
        description.ends_with('…') && !description.contains('\n'),
        "{description}"
    );
    assert_eq!(
        with(json!({"type": "string", "description": "  "}))
            .at(&path(&format!("{DOMAIN}.x")))
            .unwrap()
            .description,
        None
    );
}

#[test]
fn the_baseline_knows_what_the_platform_derives_and_shows() {
    let schema = VmSchema::baseline();
    for (known, wanted) in [
        ("cpu.cores", Kind::Integer),
        ("cpu.dedicatedCpuPlacement", Kind::Boolean),
        ("memory.guest", Kind::IntOrString),
        ("memory.hugepages.pageSize", Kind::String(Vec::new())),
        ("resources.requests.memory", Kind::IntOrString),
        ("resources.limits[\"nvidia.com/A10\"]", Kind::IntOrString),
        ("devices.gpus[0].deviceName", Kind::String(Vec::new())),
        ("firmware.bootloader.efi.secureBoot", Kind::Boolean),
    ] {
        let node = schema.at(&path(&format!("{DOMAIN}.{known}")));
        assert_eq!(node.map(|node| &node.kind), Some(&wanted), "{known}");
    }
    let sriov = schema.at(&path(&format!("{DOMAIN}.devices.interfaces[name=fast].sriov")));
    assert_eq!(sriov.map(|node| node.kind.name()), Some("object"));
}

#[test]
fn the_baseline_survives_being_written() {
    let schema = VmSchema::baseline();
    assert_eq!(
        VmSchema::from_json(schema.minor_version(), &schema.to_json()),
        Ok(schema)
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z$-]{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["object", "array", "string", "integer", "null"]).prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-zé\"\\[.]{0,4}",
        prop::sample::select(vec![
            "type",
            "properties",
            "items",
            "enum",
            "anyOf",
            "nullable",
            "additionalProperties",
            "description",
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key.clone(), inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_definition_is_read_without_a_panic_and_survives_being_written(x in any_json(), value in any_json()) {
        let schema = with(x);
        prop_assert_eq!(VmSchema::from_json("1.6", &schema.to_json()), Ok(schema.clone()));
        let _ = schema.check_document(&json!({"spec": {"template": {"spec": {"domain": {"x": value.clone()}}}}}));
        let _ = schema.check_document(&value);
        let _ = schema.check_path(&path(&format!("{DOMAIN}.x")), &value);
        let _ = VmSchema::from_json("1.6", &value);
    }

    #[test]
    fn a_document_and_a_path_are_judged_alike(value in any_json()) {
        let schema = VmSchema::baseline();
        let at_path = schema.check_path(&path(&format!("{DOMAIN}.devices")), &value).err();
        let document = json!({"spec": {"template": {"spec": {"domain": {"devices": value}}}}});
        prop_assert_eq!(schema.check_document(&document).into_iter().next(), at_path);
    }
}
