//! The password policy of access.md §8.

use proptest::prelude::*;
use shepherd_domain::ErrorCode;
use shepherd_domain::password::{PasswordMode, PasswordPolicy, check, reused};
use shepherd_domain::problem::FieldCode;

const NOTHING: [FieldCode; 0] = [];

fn violations(password: &str, username: &str) -> Vec<FieldCode> {
    match check(&PasswordPolicy::default(), "new_password", password, username) {
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

/// The classes that a policy misses in a password.
fn missing_classes(policy: &PasswordPolicy, password: &str) -> Vec<String> {
    let Err(problem) = check(policy, "password", password, "jane") else {
        return Vec::new();
    };
    let missing = problem.field_errors.iter();
    missing
        .filter(|error| error.code == FieldCode::MissingClass)
        .filter_map(|error| error.params["class"].as_str().map(str::to_owned))
        .collect()
}

/// A policy of the old kind that asks for everything.
const LEGACY: PasswordPolicy = PasswordPolicy {
    mode: PasswordMode::Legacy,
    min_length: 12,
    require_uppercase: true,
    require_lowercase: true,
    require_digit: true,
    require_special: true,
};

#[test]
fn mode_legacy_asks_for_the_classes_it_was_told_to_ask_for() {
    let all = ["uppercase", "lowercase", "digit", "special"];
    assert_eq!(missing_classes(&LEGACY, "   \u{4e2d}\u{6587}"), all[..3]);
    assert_eq!(missing_classes(&LEGACY, "\u{4e2d}\u{6587}"), all);
    assert_eq!(missing_classes(&LEGACY, "lamps and harbours"), ["uppercase", "digit"]);
    assert_eq!(missing_classes(&LEGACY, "\u{416}\u{436}-is-letter-8"), NO_CLASS);
    let only_digits = PasswordPolicy {
        require_uppercase: false,
        require_lowercase: false,
        require_special: false,
        ..LEGACY
    };
    assert_eq!(missing_classes(&only_digits, "lamps and harbours"), ["digit"]);
    assert_eq!(missing_classes(&only_digits, "7 lamps and harbours"), NO_CLASS);
}

const NO_CLASS: [&str; 0] = [];

#[test]
fn mode_nist_asks_for_no_class_whatever_else_is_set() {
    let policy = PasswordPolicy {
        mode: PasswordMode::Nist,
        ..LEGACY
    };
    assert_eq!(missing_classes(&policy, "lamps and harbours"), NO_CLASS);
}

#[test]
fn the_least_length_is_the_policys_and_never_below_eight() {
    let least = |min_length, password: &str| {
        let policy = PasswordPolicy {
            min_length,
            ..PasswordPolicy::default()
        };
        let found = check(&policy, "password", password, "jane").err();
        found.map(|problem| problem.field_errors[0].params["min_length"].clone())
    };
    assert_eq!(least(15, "fourteen chars"), Some(15.into()));
    assert_eq!(least(15, "fifteen chars !"), None);
    assert_eq!(least(1, "seven c"), Some(8.into()));
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
