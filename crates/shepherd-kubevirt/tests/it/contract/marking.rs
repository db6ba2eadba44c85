//! The platform's marks on machines that are there already.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use shepherd_domain::infrastructure::Marks;
use shepherd_domain::labels;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::{InfrastructureProvider, ProviderError};

use crate::documents::{Plan, differences};
use crate::lab::{CLUSTER, Subject};

const NAME: &str = "web-01";
/// What somebody else noted down.
const NOTE: &str = "example.com/note";
const NOBODYS_UID: &str = "00000000-0000-0000-0000-000000000000";

/// A machine that somebody else made, and its uid.
async fn with_foreign_machine(subject: Subject) -> (Subject, String) {
    let subject = subject.with_namespace().await;
    let mut object = Plan::new(&subject.namespace, NAME).document().object;
    object["metadata"]["labels"] = json!({"app": "theirs", labels::SYSTEM: "bank"});
    object["metadata"]["annotations"] = json!({NOTE: "kept"});
    object["spec"]["template"]["metadata"]["labels"] = json!({"tier": "front"});
    let made = subject
        .machines()
        .patch(NAME, &PatchParams::apply("somebody-else"), &Patch::Apply(&object))
        .await
        .expect("somebody else may apply");
    let uid = made.metadata.uid.expect("a stored object has a uid");
    (subject, uid)
}

fn marks() -> Marks {
    let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Marks {
        labels: [
            entry(labels::MANAGED_BY, labels::MANAGER),
            entry(labels::SYSTEM, "shop"),
            entry(labels::HOSTNAME, NAME),
        ]
        .into(),
        annotations: [entry(labels::VM, "v-1"), entry(labels::EVENT, "e-1")].into(),
    }
}

async fn mark(subject: &Subject, uid: &str) -> Result<ObservedVm, ProviderError> {
    subject
        .provider
        .mark_vm(CLUSTER, &subject.namespace, NAME, uid, &marks())
        .await
}

fn wanted_labels() -> Value {
    json!({labels::MANAGED_BY: labels::MANAGER, labels::SYSTEM: "shop", labels::HOSTNAME: NAME})
}

pub async fn a_mark_replaces_foreign_labels(subject: Subject) {
    let (subject, uid) = with_foreign_machine(subject).await;
    let marked = mark(&subject, &uid).await.expect("the machine can be marked");
    assert_eq!(
        (marked.uid.as_str(), marked.managed, marked.vm_id.as_deref()),
        (uid.as_str(), true, Some("v-1"))
    );
    let stored = subject.stored(NAME).await;
    assert_eq!(stored["metadata"]["labels"], wanted_labels());
    assert_eq!(stored["spec"]["template"]["metadata"]["labels"], wanted_labels());
    let annotations = &stored["metadata"]["annotations"];
    assert_eq!(
        (
            &annotations[NOTE],
            &annotations[labels::VM],
            &annotations[labels::EVENT]
        ),
        (&json!("kept"), &json!("v-1"), &json!("e-1"))
    );
}

pub async fn a_mark_changes_nothing_else(subject: Subject) {
    let (subject, uid) = with_foreign_machine(subject).await;
    let mut before = subject.stored(NAME).await["spec"].take();
    before["template"]["metadata"] = json!({});
    mark(&subject, &uid).await.expect("the machine can be marked");
    assert_eq!(
        differences(&before, &subject.stored(NAME).await["spec"]),
        Vec::<String>::new()
    );
}

pub async fn a_mark_can_be_repeated(subject: Subject) {
    let (subject, uid) = with_foreign_machine(subject).await;
    let (first, second) = tokio::join!(mark(&subject, &uid), mark(&subject, &uid));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(subject.stored(NAME).await["metadata"]["labels"], wanted_labels());
}

pub async fn another_machine_of_the_name_is_not_marked(subject: Subject) {
    let (subject, _) = with_foreign_machine(subject).await;
    let refusal = mark(&subject, NOBODYS_UID).await;
    assert!(matches!(refusal, Err(ProviderError::Conflict(_))), "{refusal:?}");
    let labels = subject.stored(NAME).await["metadata"]["labels"].take();
    assert_eq!(labels["app"], "theirs");
}

pub async fn a_missing_machine_cannot_be_marked(subject: Subject) {
    let subject = subject.with_namespace().await;
    let refusal = mark(&subject, NOBODYS_UID).await;
    assert!(matches!(refusal, Err(ProviderError::NotFound(_))), "{refusal:?}");
}

pub async fn a_mark_without_rights_is_forbidden(subject: Subject) {
    let (subject, uid) = with_foreign_machine(subject).await;
    let subject = subject.for_somebody_else();
    let refusal = mark(&subject, &uid).await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
}
