//! What an approver may put in the place of a spec (requests.md §6).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use shepherd_domain::ErrorCode;
use shepherd_domain::problem::{Problem, WarningCode};
use shepherd_domain::revision::{ChangeOp, diff};
use shepherd_domain::spec::replacement::{Refusal, check_replaceable, replace};
use shepherd_domain::ticket::RequestType;
use strum::IntoEnumIterator;

use crate::sizes;

const SERVICE: &str = "01983f0e-0000-7000-8000-00000000000a";
const OTHER: &str = "01983f0e-0000-7000-8000-00000000000b";

fn create() -> Value {
    json!({
        "service_id": SERVICE, "namespace": "dev", "template_id": OTHER, "template_version": 1, "instance_size_id": OTHER,
        "disk_gb": 20, "cpu_cores": 2, "memory_mb": 2048, "cpu_request": 2, "memory_request_mb": 2048,
    })
}

fn modify() -> Value {
    json!({
        "vm_id": OTHER, "service_id": SERVICE, "namespace": "dev", "instance_size_id": OTHER, "disk_gb": 20,
    })
}

/// The original with these fields set; null takes one away.
fn with(original: &Value, fields: &Value) -> Value {
    let mut spec = original.clone();
    for (key, value) in fields.as_object().unwrap() {
        if value.is_null() {
            spec.as_object_mut().unwrap().remove(key);
        } else {
            spec[key] = value.clone();
        }
    }
    spec
}

fn refusal(request: RequestType, original: &Value, fields: &Value) -> Problem {
    replace(request, original, &with(original, fields)).unwrap_err().into()
}

#[test]
fn only_creations_and_modifications_can_be_modified() {
    for request in RequestType::iter() {
        let allowed = [RequestType::CreateVm, RequestType::ModifyVm].contains(&request);
        match check_replaceable(request) {
            Ok(()) => assert!(allowed, "{request}"),
            Err(problem) => {
                assert!(!allowed, "{request}");
                assert_eq!(problem.code, ErrorCode::ModifiedSpecNotSupported);
                assert_eq!(problem.params["request_type"], request.as_str());
            }
        }
    }
}

#[test]
fn what_may_not_change_stays() {
    let cases = [
        (RequestType::CreateVm, create(), "service_id", json!(OTHER)),
        (RequestType::CreateVm, create(), "namespace", json!("prod-shop")),
        (RequestType::ModifyVm, modify(), "vm_id", json!(SERVICE)),
        (RequestType::ModifyVm, modify(), "service_id", json!(OTHER)),
        (RequestType::ModifyVm, modify(), "namespace", json!("prod-shop")),
    ];
    for (request, original, field, proposed) in cases {
        let problem = refusal(request, &original, &json!({field: proposed}));
        assert_eq!(problem.code, ErrorCode::ImmutableField, "{request} {field}");
        let expected = json!({"field": field, "original": original[field], "proposed": proposed});
        assert_eq!(Value::Object(problem.params), expected);
    }
}

#[test]
fn an_id_may_be_spelt_otherwise() {
    let proposed = with(&create(), &json!({"service_id": SERVICE.to_uppercase()}));
    let replaced = replace(RequestType::CreateVm, &create(), &proposed).unwrap();
    assert_eq!(replaced.spec, create());
    assert!(replaced.changes.is_empty());
}

#[test]
fn what_is_required_may_not_be_left_out() {
    let required: [(RequestType, Value, &[&str]); 2] = [
        (
            RequestType::CreateVm,
            create(),
            &["service_id", "namespace", "template_id", "instance_size_id"],
        ),
        (
            RequestType::ModifyVm,
            modify(),
            &["vm_id", "service_id", "namespace", "instance_size_id"],
        ),
    ];
    for (request, original, fields) in required {
        for field in fields {
            let problem = refusal(request, &original, &json!({*field: null}));
            assert_eq!(problem.code, ErrorCode::RequiredFieldRemoved, "{request} {field}");
            assert_eq!(problem.params["fields"], json!([field]));
        }
        let nothing = replace(request, &original, &json!({})).unwrap_err();
        let Refusal::Inadmissible(problem) = &nothing else {
            panic!("{nothing:?}")
        };
        assert_eq!(problem.params["fields"], json!(fields));
    }
}

#[test]
fn what_is_no_field_is_named_and_what_is_no_value_is_listed() {
    let problem = refusal(
        RequestType::CreateVm,
        &create(),
        &json!({"cluster_id": OTHER, "disk_gb": 0}),
    );
    assert_eq!(problem.code, ErrorCode::InvalidRequestField);
    assert_eq!(problem.params["field"], "modified_spec.cluster_id");
    let problem = refusal(RequestType::ModifyVm, &modify(), &json!({"template_id": OTHER}));
    assert_eq!(problem.params["field"], "modified_spec.template_id", "it cannot change");

    let wrong = json!({
        "template_id": "debian", "instance_size_id": 7, "disk_gb": 0, "cpu_cores": 1025, "memory_mb": "2Gi",
        "cpu_request": 1.5, "memory_request_mb": -1,
    });
    let problem = refusal(RequestType::CreateVm, &create(), &wrong);
    assert_eq!(problem.code, ErrorCode::ValidationFailed);
    let mut fields: Vec<&str> = problem.field_errors.iter().map(|error| error.field.as_str()).collect();
    fields.sort_unstable();
    let mut expected: Vec<String> = wrong
        .as_object()
        .unwrap()
        .keys()
        .map(|key| format!("modified_spec.{key}"))
        .collect();
    expected.sort_unstable();
    assert_eq!(fields, expected);

    let text = replace(RequestType::CreateVm, &create(), &json!("everything")).unwrap_err();
    assert_eq!(Problem::from(text).code, ErrorCode::ValidationFailed);
}

#[test]
fn a_replacement_is_whole_and_tells_what_it_changes() {
    let proposed = with(
        &create(),
        &json!({"cpu_cores": 4, "cpu_request": null, "disk_gb": null}),
    );
    let replaced = replace(RequestType::CreateVm, &create(), &proposed).unwrap();
    assert_eq!(replaced.spec, proposed, "nothing of the original shines through");
    let told: Vec<(&str, ChangeOp)> = replaced
        .changes
        .iter()
        .map(|change| (change.path.as_str(), change.op))
        .collect();
    let expected = [
        ("cpu_cores", ChangeOp::Replace),
        ("cpu_request", ChangeOp::Remove),
        ("disk_gb", ChangeOp::Remove),
    ];
    assert_eq!(told, expected);
    assert_eq!(replaced.changes, diff(&create(), &proposed));
}

#[test]
fn null_leaves_a_field_out() {
    let mut proposed = create();
    proposed["disk_gb"] = Value::Null;
    let replaced = replace(RequestType::CreateVm, &create(), &proposed).unwrap();
    assert_eq!(replaced.spec, with(&create(), &json!({"disk_gb": null})));
}

#[test]
fn leaving_much_out_is_warned_about_from_five_fields_on() {
    let optional = ["cpu_cores", "cpu_request", "disk_gb", "memory_mb", "memory_request_mb"];
    for left_out in 0..=optional.len() {
        let mut proposed = create();
        for field in &optional[..left_out] {
            proposed.as_object_mut().unwrap().remove(*field);
        }
        let replaced = replace(RequestType::CreateVm, &create(), &proposed).unwrap();
        if left_out < 5 {
            assert!(replaced.warnings.is_empty());
        } else {
            let [warning] = &replaced.warnings[..] else {
                panic!("{:?}", replaced.warnings)
            };
            assert_eq!(warning.code, WarningCode::SpecFieldsRemoved);
            assert_eq!(warning.params["fields"], json!(optional));
        }
    }
}

#[test]
fn memory_comes_in_whole_pages_where_there_are_hugepages() {
    let plain = sizes::size_of(|_| {});
    assert!(plain.check_memory(1025).is_ok());
    let mut size = plain;
    size.requires_hugepages = true;
    for (page, fits, does_not) in [("2Mi", 1026, 1025), ("1Gi", 2048, 2050)] {
        size.hugepages_size = Some(page.to_owned());
        assert!(size.check_memory(fits).is_ok(), "{page}");
        let problem = size.check_memory(does_not).unwrap_err();
        assert_eq!(problem.field_errors[0].field, "memory_mb");
    }
}
