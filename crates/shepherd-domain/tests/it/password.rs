//! The password policy of access.md §8, mode `nist`.

use proptest::prelude::*;
use shepherd_domain::ErrorCode;
use shepherd_domain::password::{check, reused};
use shepherd_domain::problem::FieldCode;

const NOTHING: [FieldCode; 0] = [];

fn violations(password: &str, username: &str) -> Vec<FieldCode> {
    match check("new_password", password, username) {
        Ok(()) => Vec::new(),
        Err(problem) => {
            assert_eq!(problem.code, ErrorCode::PasswordPolicyViolation);
            assert!(problem.field_errors.iter().all(|error| error.field == "new_password"));
            problem.field_errors.iter().map(|error| error.code).collect()
        }
    }
}

#[test]
fn a_password_needs_eight_characters_and_no_special_ones() {
    for password in [
        "sbvrqmxz",
        "        ",
        "пароль-ы",
        "correct horse battery staple",
        "\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}\u{1f511}",
    ] {
        assert_eq!(violations(password, "jane"), NOTHING, "{password}");
    }
}

#[test]
fn characters_count_and_not_bytes() {
    assert_eq!(violations("ñandúes", "jane"), [FieldCode::TooShort]);
    assert_eq!(violations(&"ñ".repeat(128), "jane"), NOTHING);
    assert_eq!(violations(&"ñ".repeat(129), "jane"), [FieldCode::TooLong]);
}

#[test]
fn a_password_that_everybody_has_is_refused_in_any_case() {
    for password in ["welcome123", "Welcome123", "SHEPHERD123", "1q2w3e4r5t", "12345678"] {
        assert_eq!(violations(password, "jane"), [FieldCode::TooCommon], "{password}");
    }
}

#[test]
fn a_password_does_not_contain_the_user_name_in_any_case() {
    for password in ["jane.doe-2027", "my-JANE.DOE!", "xxJane.Doexx"] {
        assert_eq!(
            violations(password, "Jane.Doe"),
            [FieldCode::ContainsUsername],
            "{password}"
        );
    }
    assert_eq!(violations("unrelated-2027", "Jane.Doe"), NOTHING);
}

#[test]
fn a_name_of_two_letters_is_in_too_many_words_to_be_refused() {
    assert_eq!(violations("landlubber", "an"), NOTHING);
}

#[test]
fn all_violations_come_at_once() {
    assert_eq!(
        violations("123456", "123"),
        [FieldCode::TooShort, FieldCode::TooCommon, FieldCode::ContainsUsername]
    );
}

#[test]
fn the_old_password_is_no_new_one() {
    let problem = reused("new_password");
    assert_eq!(problem.code, ErrorCode::PasswordPolicyViolation);
    assert_eq!(problem.field_errors[0].code, FieldCode::Reused);
}

proptest! {
    #[test]
    fn length_is_all_that_is_asked_of_an_uncommon_password(password in "[x-z\u{e4}\u{416}]{0,140}") {
        let length = password.chars().count();
        let expected = if length < 8 {
            vec![FieldCode::TooShort]
        } else if length > 128 {
            vec![FieldCode::TooLong]
        } else {
            Vec::new()
        };
        prop_assert_eq!(violations(&password, "jane"), expected);
    }

    #[test]
    fn no_password_with_the_user_name_in_it_passes(before in ".{0,10}", name in "[a-zA-Z]{3,10}", after in ".{0,10}") {
        let password = format!("{before}{}{after}", name.to_uppercase());
        prop_assert!(violations(&password, &name).contains(&FieldCode::ContainsUsername));
    }
}
