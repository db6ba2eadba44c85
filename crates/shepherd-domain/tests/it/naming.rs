//! Names against domain.md §5.

use proptest::prelude::*;
use shepherd_domain::ErrorCode;
use shepherd_domain::naming::{NamingRules, VmName, fqdn};
use shepherd_domain::problem::WarningCode;

/// `^[a-z]([a-z0-9-]*[a-z0-9])?$` and no `--`, read letter by letter.
fn follows_the_pattern(name: &str) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Last {
        Nothing,
        LetterOrDigit,
        Hyphen,
    }
    let mut last = Last::Nothing;
    for character in name.chars() {
        last = match (last, character) {
            (Last::Nothing, 'a'..='z') | (Last::LetterOrDigit | Last::Hyphen, 'a'..='z' | '0'..='9') => {
                Last::LetterOrDigit
            }
            (Last::LetterOrDigit, '-') => Last::Hyphen,
            _ => return false,
        };
    }
    last == Last::LetterOrDigit
}

fn is_reserved(name: &str) -> bool {
    ["default", "system", "admin", "root", "internal"].contains(&name)
        || name.starts_with("kube-")
        || name.starts_with("kubevirt-shepherd-")
}

/// What the specification says about a name: the code it is refused with, or nothing.
fn expected(name: &str) -> Option<ErrorCode> {
    if name.chars().count() > 15 {
        Some(ErrorCode::NameTooLong)
    } else if !follows_the_pattern(name) {
        Some(ErrorCode::NameInvalid)
    } else if is_reserved(name) {
        Some(ErrorCode::NameReserved)
    } else {
        None
    }
}

fn refusal(name: &str) -> Option<ErrorCode> {
    NamingRules::default()
        .parse("system", name)
        .err()
        .map(|problem| problem.code)
}

/// Names around the edges of the rule: mostly valid letters, lengths on both sides of the limit.
fn nearly_a_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,17}",
        "[a-z0-9-]{0,17}",
        "[a-zA-Z0-9_. é-]{0,17}",
        "(default|system|admin|root|internal|kube-|kubevirt-sheph)[a-z0-9-]{0,4}",
        ".{0,20}",
    ]
}

/// A name that follows the rule: at most 15 characters, hyphens only between others.
fn label() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9]|-[a-z0-9]){0,7}"
}

#[test]
fn names_of_every_kind_are_told_apart() {
    for (name, code) in [
        ("a", None),
        ("shop", None),
        ("a-b-c", None),
        ("a1", None),
        ("fifteen-letters", None),
        ("administrator", None),
        ("kubernetes", None),
        ("sixteen-letters-", Some(ErrorCode::NameTooLong)),
        ("sixteen-letterss", Some(ErrorCode::NameTooLong)),
        ("", Some(ErrorCode::NameInvalid)),
        ("-a", Some(ErrorCode::NameInvalid)),
        ("a-", Some(ErrorCode::NameInvalid)),
        ("a--b", Some(ErrorCode::NameInvalid)),
        ("1a", Some(ErrorCode::NameInvalid)),
        ("Shop", Some(ErrorCode::NameInvalid)),
        ("a_b", Some(ErrorCode::NameInvalid)),
        ("a.b", Some(ErrorCode::NameInvalid)),
        ("a ", Some(ErrorCode::NameInvalid)),
        ("a\n", Some(ErrorCode::NameInvalid)),
        ("größe", Some(ErrorCode::NameInvalid)),
        ("default", Some(ErrorCode::NameReserved)),
        ("root", Some(ErrorCode::NameReserved)),
        ("kube-system", Some(ErrorCode::NameReserved)),
    ] {
        assert_eq!(refusal(name), code, "{name:?}");
    }
}

#[test]
fn configured_names_are_reserved_beside_the_built_in_ones() {
    let rules = NamingRules::extended(&["acme".to_owned()], &["corp-".to_owned()]);
    for name in ["acme", "corp-a", "admin", "kube-a"] {
        assert_eq!(
            rules.parse("system", name).unwrap_err().code,
            ErrorCode::NameReserved,
            "{name}"
        );
    }
    for name in ["acme1", "corp", "corpus"] {
        assert!(rules.parse("system", name).is_ok(), "{name}");
    }
}

#[test]
fn a_refused_name_says_whose_it_was_and_why() {
    let problem = NamingRules::default().parse("service", "a--b").unwrap_err();
    assert_eq!(problem.params["entity"], "service");
    assert_eq!(problem.params["name"], "a--b");
    assert_eq!(problem.params["reason"], "double_hyphen");
}

#[test]
fn a_label_of_thirteen_letters_carries_a_warning() {
    for length in 1..=15 {
        let label = NamingRules::default().parse("system", &"a".repeat(length)).unwrap();
        let warning = label.length_warning("system").map(|warning| warning.code);
        assert_eq!(
            warning,
            (length >= 13).then_some(WarningCode::NameLengthWarning),
            "{length} letters"
        );
    }
}

#[test]
fn a_machine_is_named_after_its_place_and_number() {
    let name = VmName::generate("prod-shop", "shop", "redis", 6).unwrap();
    assert_eq!((name.as_str(), name.instance()), ("prod-shop-shop-redis-06", "06"));
    assert_eq!(VmName::generate("a", "b", "c", 123).unwrap().as_str(), "a-b-c-123");
    assert_eq!(
        fqdn(name.as_str(), "prod-shop"),
        "prod-shop-shop-redis-06.prod-shop.svc.cluster.local"
    );
}

/// Hyphens inside the parts make the name ambiguous. Labels on the object say which parts it was made of, and the
/// unique index on (namespace, name) keeps the second machine of such a pair from being created.
#[test]
fn different_parts_can_give_the_same_name() {
    let one = VmName::generate("ns", "shop-eu", "redis", 1).unwrap();
    let other = VmName::generate("ns", "shop", "eu-redis", 1).unwrap();
    assert_eq!(one, other);
}

#[test]
fn parts_of_another_origin_may_be_too_long() {
    let problem = VmName::generate(&"n".repeat(63), "system", "service", 1).unwrap_err();
    assert_eq!(problem.code, ErrorCode::VmNameTooLong);
    assert_eq!(problem.params["components"]["system"], "system");
    assert_eq!(problem.params["suggestion"], "n".repeat(63));
}

proptest! {
    #[test]
    fn a_name_is_judged_as_the_pattern_says(name in nearly_a_name()) {
        prop_assert_eq!(refusal(&name), expected(&name));
        if let Ok(label) = NamingRules::default().parse("system", &name) {
            prop_assert_eq!(label.as_str(), name);
        }
    }

    #[test]
    fn a_suggestion_for_a_long_name_would_be_accepted(name in ".{16,40}|[a-zA-Z0-9-]{16,40}|kube-[a-z]{12,30}") {
        let problem = NamingRules::default().parse("system", &name).unwrap_err();
        prop_assert_eq!(problem.code, ErrorCode::NameTooLong);
        if let Some(suggestion) = problem.params.get("suggestion") {
            prop_assert_eq!(expected(suggestion.as_str().unwrap()), None);
        }
    }

    #[test]
    fn a_machine_name_fits_and_its_parts_can_be_read_off(
        namespace in label(),
        system in label(),
        service in label(),
        index: u32,
    ) {
        let name = VmName::generate(&namespace, &system, &service, index).unwrap();
        prop_assert!(name.as_str().len() <= 63);
        prop_assert!(follows_the_pattern(name.as_str()));
        prop_assert!(name.instance().len() >= 2);
        prop_assert_eq!(name.instance().parse::<u32>().unwrap(), index);
        // Namespace and instance are known for every machine; what is between them is the System and the Service.
        let rest = name.as_str().strip_prefix(namespace.as_str()).unwrap().strip_suffix(name.instance()).unwrap();
        prop_assert_eq!(rest, format!("-{system}-{service}-"));
    }

    #[test]
    fn parts_without_hyphens_are_the_parts_of_the_name(
        parts in prop::array::uniform3("[a-z][a-z0-9]{0,14}"),
        index: u32,
    ) {
        let name = VmName::generate(&parts[0], &parts[1], &parts[2], index).unwrap();
        let read: Vec<&str> = name.as_str().split('-').collect();
        prop_assert_eq!(&read[..3], &parts[..]);
        prop_assert_eq!(&read[3..], &[name.instance()]);
    }

    #[test]
    fn parts_of_any_kind_give_a_name_that_fits_or_a_refusal(parts in prop::array::uniform3(".{0,30}"), index: u32) {
        match VmName::generate(&parts[0], &parts[1], &parts[2], index) {
            Ok(name) => prop_assert!(name.as_str().len() <= 63),
            Err(problem) => prop_assert_eq!(problem.code, ErrorCode::VmNameTooLong),
        }
    }
}
