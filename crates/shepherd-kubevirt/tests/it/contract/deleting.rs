//! Deleting machines.

use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError};

use crate::documents::Plan;
use crate::lab::{CLUSTER, Subject, eventually};

const NAME: &str = "web-01";

async fn with_machine(subject: Subject) -> (Subject, String) {
    let subject = subject.with_namespace().await;
    let document = Plan::new(&subject.namespace, NAME).document();
    let applied = subject
        .provider
        .apply_vm(CLUSTER, &document, ApplyMode::Persist)
        .await
        .expect("the document can be applied");
    (subject, applied.uid)
}

async fn delete(subject: &Subject, uid: Option<&str>) -> Result<(), ProviderError> {
    subject.provider.delete_vm(CLUSTER, &subject.namespace, NAME, uid).await
}

pub async fn an_absent_machine_is_deleted(subject: Subject) {
    let subject = subject.with_namespace().await;
    assert_eq!(delete(&subject, None).await, Ok(()));
    assert_eq!(
        delete(&subject, Some("00000000-0000-0000-0000-000000000000")).await,
        Ok(())
    );
}

pub async fn a_machine_in_an_absent_namespace_is_deleted(subject: Subject) {
    assert_eq!(delete(&subject, None).await, Ok(()));
}

pub async fn another_machine_of_the_name_stays(subject: Subject) {
    let (subject, uid) = with_machine(subject).await;
    let refusal = delete(&subject, Some("00000000-0000-0000-0000-000000000000")).await;
    assert!(matches!(refusal, Err(ProviderError::Conflict(_))), "{refusal:?}");
    let found = subject
        .provider
        .get_vm(CLUSTER, &subject.namespace, NAME)
        .await
        .expect("the machine can be read");
    assert_eq!(found.map(|vm| vm.uid), Some(uid));
    assert!(subject.stored(NAME).await["metadata"]["deletionTimestamp"].is_null());
}

pub async fn a_deletion_can_be_asked_for_twice(subject: Subject) {
    let (subject, uid) = with_machine(subject).await;
    assert_eq!(delete(&subject, Some(&uid)).await, Ok(()));
    assert_eq!(delete(&subject, Some(&uid)).await, Ok(()));
}

pub async fn a_deleted_machine_goes(subject: Subject) {
    let (subject, uid) = with_machine(subject).await;
    assert_eq!(delete(&subject, Some(&uid)).await, Ok(()));
    let subject = &subject;
    eventually("the machine is gone", move || async move {
        matches!(
            subject.provider.get_vm(CLUSTER, &subject.namespace, NAME).await,
            Ok(None)
        )
    })
    .await;
}
