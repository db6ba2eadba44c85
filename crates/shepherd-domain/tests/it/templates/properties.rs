//! What holds for every document.

use proptest::prelude::*;
use serde_json::{Value, json};
use shepherd_domain::catalog::TemplateSpec;

use super::{full, leads_somewhere, path_and_hint, pointers, sources, with_source};

/// Keys that mean something, that are prohibited, and that mean nothing.
fn key() -> impl Strategy<Value = String> {
    let meaningful = vec![
        "image_source",
        "source",
        "image",
        "pvc_name",
        "pvc_namespace",
        "container_disk",
        "data_volume",
        "pvc",
        "url",
        "name",
        "volumes",
        "networks",
        "guest",
        "cloud_init",
        "user_data",
        "size_gb",
        "cpu",
        "source.image",
        "image_source.pvc_name",
        "image_source.data_volume.source",
        "source..image",
        "source.",
    ];
    prop_oneof![
        4 => prop::sample::select(meaningful).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
        1 => "[a-z.]{0,8}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    let meaningful = vec![
        "debian:12",
        "blank",
        "http",
        "images/debian",
        "#cloud-config\na: 1",
        "https://example.com",
        "a",
    ];
    prop_oneof![
        3 => prop::sample::select(meaningful).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => any::<String>(),
    ]
}

/// Any JSON, with a liking for words of the catalogue.
pub(super) fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..40_i64).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A change of one value of a document.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(Value),
    Add(String, Value),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        anything().prop_map(Mutation::Replace),
        (key(), anything()).prop_map(|(key, value)| Mutation::Add(key, value)),
    ]
}

fn mutated(mut document: Value, at: prop::sample::Index, mutation: Mutation) -> Value {
    let pointer = at.get(&pointers(&document, |_| true)).clone();
    if let Some(value) = document.pointer_mut(&pointer) {
        match mutation {
            Mutation::Replace(other) => *value = other,
            Mutation::Add(key, inner) => match value.as_object_mut() {
                Some(map) => {
                    map.insert(key, inner);
                }
                None => *value = inner,
            },
        }
    }
    document
}

/// A document that is accepted, with some of its parts.
fn valid() -> impl Strategy<Value = Value> {
    let mut spelled: Vec<Value> = sources().map(with_source).to_vec();
    spelled.extend([
        json!({"image": "debian:12"}),
        json!({"source.image": "debian:12", "source.pull_policy": "Always"}),
        json!({"image_source.pvc_name": "images/debian"}),
        json!({"source": {"s3": {"url": "s3://images/debian"}}}),
    ]);
    let parts = prop::collection::vec(any::<bool>(), 4);
    (
        prop::sample::select(spelled),
        parts,
        0..=5_usize,
        "[a-z_][a-z0-9_-]{0,8}",
    )
        .prop_map(|(mut document, parts, volumes, user)| {
            let full = full();
            for (part, wanted) in ["cloud_init", "volumes", "networks", "guest"].into_iter().zip(parts) {
                if wanted {
                    document[part] = full[part].clone();
                }
            }
            if let Some(list) = document.get_mut("volumes").and_then(Value::as_array_mut) {
                list.truncate(volumes);
            }
            if let Some(guest) = document.get_mut("guest") {
                guest["access_user"] = json!(user);
            }
            document
        })
}

/// Whatever is sent is either read, and then stored in a form that is read as the same, or refused at a place of what
/// was sent.
fn check(document: &Value) -> Result<(), TestCaseError> {
    match TemplateSpec::parse(document) {
        Ok(spec) => {
            let stored = spec.to_canonical();
            prop_assert_eq!(TemplateSpec::parse(&stored).ok(), Some(spec.clone()), "{}", stored);
            let read: Option<TemplateSpec> = serde_json::from_value(stored).ok();
            prop_assert_eq!(read, Some(spec));
        }
        Err(problem) => {
            let (path, hint) = path_and_hint(&problem);
            let exists = path
                .strip_prefix("spec")
                .is_some_and(|below| leads_somewhere(document, below));
            prop_assert!(exists, "{} in {}", path, document);
            prop_assert!(!hint.is_empty());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn any_json_is_read_or_refused(document in anything()) {
        check(&document)?;
    }
}

proptest! {
    #[test]
    fn a_changed_template_is_read_or_refused(
        document in valid(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), mutation()), 1..3),
    ) {
        let document = changes
            .into_iter()
            .fold(document, |document, (at, mutation)| mutated(document, at, mutation));
        check(&document)?;
    }

    #[test]
    fn a_template_survives_being_stored(document in valid()) {
        let spec = TemplateSpec::parse(&document).map_err(|problem| TestCaseError::fail(problem.to_string()))?;
        let stored = spec.to_canonical();
        prop_assert_eq!(TemplateSpec::parse(&stored).ok(), Some(spec));
        // The bytes are what is hashed.
        let again = TemplateSpec::parse(&stored).map(|spec| spec.to_canonical().to_string());
        prop_assert_eq!(again.ok(), Some(stored.to_string()));
    }
}
