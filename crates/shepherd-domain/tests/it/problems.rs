//! Errors on the wire.

use serde_json::json;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};

#[test]
fn an_item_is_refused_with_the_code_and_the_parameters_that_it_would_meet_alone() {
    let refusal = Problem::new(ErrorCode::DuplicatePendingRequest).with("operation", "STOP");
    let error = FieldError::of_item("items[3].vm_id", refusal);
    let document = serde_json::to_value(&error).unwrap();
    assert_eq!(
        document,
        json!({"field": "items[3].vm_id", "code": "DUPLICATE_PENDING_REQUEST", "params": {"operation": "STOP"}})
    );
    assert_eq!(serde_json::from_value::<FieldError>(document).unwrap(), error);
    assert_eq!(error.code.to_string(), "DUPLICATE_PENDING_REQUEST");
}

#[test]
fn what_is_wrong_with_the_form_of_a_field_keeps_its_own_code() {
    let error = FieldError::new("reason", FieldCode::TooLong);
    let document = serde_json::to_value(&error).unwrap();
    assert_eq!(document, json!({"field": "reason", "code": "TOO_LONG"}));
    assert_eq!(serde_json::from_value::<FieldError>(document).unwrap(), error);
    assert_eq!(error.code.to_string(), "TOO_LONG");
}
