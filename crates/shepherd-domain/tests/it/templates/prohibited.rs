//! What a template may not say, at any depth and in any spelling.

use proptest::prelude::*;
use serde_json::{Value, json};
use shepherd_domain::catalog::TemplateSpec;

use super::{full, leads_somewhere, path_and_hint, pointers, refusal, sources, with, with_key_at, with_source};

/// Keys that belong to the instance size or to the platform, in the words of the specification.
const PROHIBITED: [&str; 14] = [
    "cpu",
    "memory",
    "resources",
    "domain",
    "requires_gpu",
    "requires_anything",
    "required_features",
    "required_hardware",
    "dedicated_cpu",
    "hugepages_size",
    "running",
    "run_strategy",
    "metadata",
    "labels",
];

/// Some specs to put something into.
fn document() -> impl Strategy<Value = Value> {
    let mut documents = vec![full()];
    documents.extend(sources().map(with_source));
    prop::sample::select(documents)
}

/// Ways to write a key of several words.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Snake,
    Kebab,
    Camel,
    Shouted,
    Spaced,
    Dotted,
    Inside,
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop::sample::select(vec![
        Spelling::Snake,
        Spelling::Kebab,
        Spelling::Camel,
        Spelling::Shouted,
        Spelling::Spaced,
        Spelling::Dotted,
        Spelling::Inside,
    ])
}

fn spelled(key: &str, spelling: Spelling) -> String {
    match spelling {
        Spelling::Snake => key.to_owned(),
        Spelling::Kebab => key.replace('_', "-"),
        Spelling::Camel => key
            .split('_')
            .enumerate()
            .map(|(index, word)| match word.split_at_checked(1) {
                Some((first, rest)) if index > 0 => format!("{}{rest}", first.to_uppercase()),
                Some(_) | None => word.to_owned(),
            })
            .collect(),
        Spelling::Shouted => key.to_uppercase(),
        Spelling::Spaced => format!(" {key}\t"),
        Spelling::Dotted => format!("spec.template.spec.{key}"),
        Spelling::Inside => format!("{key}.cores"),
    }
}

#[test]
fn the_hint_says_where_the_thing_belongs() {
    for (key, place) in [
        ("cpu", "instance size"),
        ("requiresGpu", "instance size"),
        ("runStrategy", "platform"),
        ("labels", "platform"),
        ("{{ name }}", "no variables"),
    ] {
        let (path, hint) = refusal(&with(key, json!(1)));
        assert_eq!(path, format!("spec.{key}"));
        assert!(hint.contains(place), "{hint}");
    }
}

#[test]
fn a_violation_says_where_it_is() {
    let document = with_key_at(full(), "/volumes/0/empty_disk", "Memory", json!("1Gi"));
    assert_eq!(refusal(&document).0, "spec.volumes[0].empty_disk.Memory");
    let document = with("spec.domain.cpu", json!({"cores": 4}));
    assert_eq!(refusal(&document).0, "spec.spec.domain.cpu");
}

#[test]
fn what_only_looks_like_a_known_key_is_unknown() {
    // Cyrillic and full-width letters, and a zero-width space.
    for key in ["gu\u{435}st", "\u{ff47}uest", "guest\u{200b}", "guest ", "Guest"] {
        assert_eq!(refusal(&with(key, json!({}))).0, format!("spec.{key}"));
    }
}

#[test]
fn nothing_is_nested_deeper_than_a_template_can_be() {
    let mut value = json!(1);
    for _ in 0..200 {
        value = json!([value]);
    }
    let document = with("volumes", value);
    let (path, hint) = refusal(&document);
    assert!(hint.contains("deep"), "{hint}");
    assert!(path.starts_with("spec.volumes[0][0]"), "{path}");
}

proptest! {
    #[test]
    fn no_prohibited_key_passes_whatever_its_place_and_spelling(
        document in document(),
        at: prop::sample::Index,
        key in prop::sample::select(PROHIBITED.to_vec()),
        spelling in spelling(),
        depth in 0..4_usize,
    ) {
        let pointer = at.get(&pointers(&document, Value::is_object)).clone();
        let key = spelled(key, spelling);
        let mut inner = json!(1);
        let mut outer = key.clone();
        for _ in 0..depth {
            inner = json!([{outer.as_str(): inner}]);
            outer = "extra".to_owned();
        }
        let document = with_key_at(document, &pointer, &outer, inner);
        let problem = TemplateSpec::parse(&document).expect_err("it has a prohibited key");
        let (path, hint) = path_and_hint(&problem);
        prop_assert!(path.ends_with(&key), "{} in {}", path, document);
        prop_assert!(hint.contains("size") || hint.contains("platform"), "{}", hint);
        let below = path.strip_prefix("spec").unwrap_or("?");
        prop_assert!(leads_somewhere(&document, below), "{} in {}", path, document);
    }

    #[test]
    fn no_key_passes_that_the_specification_does_not_list(
        document in document(),
        at: prop::sample::Index,
        key in "zz[a-z_]{1,12}",
    ) {
        let pointer = at.get(&pointers(&document, Value::is_object)).clone();
        let document = with_key_at(document, &pointer, &key, json!({}));
        let problem = TemplateSpec::parse(&document).expect_err("it has an unknown key");
        prop_assert!(path_and_hint(&problem).0.ends_with(&key), "{} in {}", problem, document);
    }

    #[test]
    fn no_text_holds_a_template_delimiter(document in document(), at: prop::sample::Index, around in "[a-z ]{0,5}") {
        let pointer = at.get(&pointers(&document, Value::is_string)).clone();
        let mut document = document;
        if let Some(text) = document.pointer_mut(&pointer) {
            *text = json!(format!("#cloud-config\n{around}{{{{ name }}}}{around}"));
        }
        let problem = TemplateSpec::parse(&document).expect_err("it has a variable");
        prop_assert!(path_and_hint(&problem).1.contains("no variables"), "{} in {}", problem, document);
    }
}
