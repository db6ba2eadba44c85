//! Machines with what is wanted of them.

use serde_json::Value;
use shepherd_domain::infrastructure::VmManifest;
use shepherd_domain::rendering::VmDocument;
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError};

use crate::documents::{Plan, differences};
use crate::lab::{CLUSTER, Subject};

const NAME: &str = "web-01";

async fn with(subject: Subject, plan: impl FnOnce(Plan) -> Plan) -> (Subject, VmDocument) {
    let subject = subject.with_namespace().await;
    let document = plan(Plan::new(&subject.namespace, NAME)).document();
    apply(&subject, &document).await;
    (subject, document)
}

async fn apply(subject: &Subject, document: &VmDocument) {
    subject
        .provider
        .apply_vm(CLUSTER, document, ApplyMode::Persist)
        .await
        .expect("the document can be applied");
}

async fn read(subject: &Subject) -> VmManifest {
    let found = subject.provider.get_manifest(CLUSTER, &subject.namespace, NAME).await;
    found.expect("the machine can be read").expect("the machine is there")
}

fn object(manifest: &VmManifest) -> Value {
    serde_saphyr::from_str(&manifest.yaml).expect("a manifest is YAML")
}

fn spec(manifest: &VmManifest) -> Value {
    object(manifest)["spec"].take()
}

pub async fn a_manifest_holds_what_was_applied(subject: Subject) {
    let (subject, document) = with(subject, Plan::with_everything).await;
    let manifest = read(&subject).await;
    let object = object(&manifest);
    assert_eq!(differences(&document.object, &object), Vec::<String>::new());
    assert!(object["status"].is_null());
    for field in [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
    ] {
        assert!(object["metadata"][field].is_null(), "{field}");
    }
    assert!(manifest.vm.managed && manifest.labels.len() >= 7, "{manifest:?}");
}

pub async fn a_manifest_tells_the_numbers(subject: Subject) {
    let (subject, _) = with(subject, |plan| plan.cores(3).memory_mb(1_536)).await;
    let manifest = read(&subject).await;
    assert_eq!((manifest.cpu_cores, manifest.memory_mb), (Some(3), Some(1_536)));
    assert_eq!((manifest.disk_gb, manifest.storage_class), (Some(1), None));
}

pub async fn a_manifest_changes_with_the_machine_only(subject: Subject) {
    let (subject, document) = with(subject, |plan| plan).await;
    let first = spec(&read(&subject).await);
    apply(&subject, &document).await;
    assert_eq!(spec(&read(&subject).await), first);
    apply(&subject, &Plan::new(&subject.namespace, NAME).cores(2).document()).await;
    let changed = read(&subject).await;
    assert_ne!(spec(&changed), first);
    assert_eq!(changed.cpu_cores, Some(2));
}

pub async fn an_absent_machine_has_no_manifest(subject: Subject) {
    let found = subject.provider.get_manifest(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(found, Ok(None), "nor in a namespace that does not exist");
    let subject = subject.with_namespace().await;
    let found = subject.provider.get_manifest(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(found, Ok(None));
}

pub async fn a_manifest_without_rights_is_forbidden(subject: Subject) {
    let subject = subject.for_somebody_else();
    let refusal = subject.provider.get_manifest(CLUSTER, "default", NAME).await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
}
