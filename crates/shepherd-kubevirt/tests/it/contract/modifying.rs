//! Machines that become others, with the disks they have.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ModifiedVm, ProviderError};

use crate::documents::Plan;
use crate::lab::{CLUSTER, Subject, eventually};

const NAME: &str = "web-01";
const NOBODYS_UID: &str = "00000000-0000-0000-0000-000000000000";

async fn with_machine(subject: Subject) -> (Subject, ObservedVm) {
    let subject = subject.with_namespace().await;
    let applied = subject.apply(&Plan::new(&subject.namespace, NAME).cloud_init()).await;
    (subject, applied)
}

async fn modify(subject: &Subject, uid: &str, mode: ApplyMode) -> Result<ModifiedVm, ProviderError> {
    let plan = Plan::new(&subject.namespace, NAME).cloud_init().cores(2);
    subject.provider.modify_vm(CLUSTER, &plan.document(), uid, mode).await
}

fn cores(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]["domain"]["cpu"]["cores"]
}

pub async fn a_modification_changes_the_machine(subject: Subject) {
    let (subject, made) = with_machine(subject).await;
    let modified = modify(&subject, &made.uid, ApplyMode::Persist).await;
    let modified = modified.expect("the machine can be modified");
    assert_eq!(modified.vm.uid, made.uid);
    assert!(modified.document.cloud_init.is_none());
    assert_eq!(cores(&modified.document.object), 2);
    let stored = subject.stored(NAME).await;
    assert_eq!(cores(&stored), 2);
    assert_eq!(stored["metadata"]["uid"], made.uid.as_str());
    let again = modify(&subject, &made.uid, ApplyMode::Persist).await;
    let again = again.expect("the machine can be modified twice");
    assert_eq!(again.document, modified.document);
    assert_eq!(subject.stored(NAME).await["spec"], stored["spec"]);
}

pub async fn a_dry_run_of_a_modification_stores_nothing(subject: Subject) {
    let (subject, made) = with_machine(subject).await;
    let modified = modify(&subject, &made.uid, ApplyMode::DryRun).await;
    assert!(modified.is_ok(), "{modified:?}");
    assert_eq!(cores(&subject.stored(NAME).await), 1);
}

pub async fn another_machine_of_the_name_is_not_modified(subject: Subject) {
    let (subject, _) = with_machine(subject).await;
    for mode in [ApplyMode::DryRun, ApplyMode::Persist] {
        let refusal = modify(&subject, NOBODYS_UID, mode).await;
        assert!(matches!(refusal, Err(ProviderError::Conflict(_))), "{refusal:?}");
    }
    assert_eq!(cores(&subject.stored(NAME).await), 1);
}

pub async fn a_missing_machine_is_not_made_by_a_modification(subject: Subject) {
    let subject = subject.with_namespace().await;
    let refusal = modify(&subject, NOBODYS_UID, ApplyMode::Persist).await;
    assert!(matches!(refusal, Err(ProviderError::NotFound(_))), "{refusal:?}");
    let found = subject.provider.get_vm(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(found, Ok(None));
}

/// As after a restore: the disk is on another data volume, the guest's data in another Secret.
pub async fn a_modification_keeps_the_volumes_of_the_machine(subject: Subject) {
    let (subject, made) = with_machine(subject).await;
    let mut spec = subject.stored(NAME).await["spec"].clone();
    spec["dataVolumeTemplates"][0]["metadata"]["name"] = json!("restored-data");
    let volumes = spec["template"]["spec"]["volumes"]
        .as_array_mut()
        .expect("it has volumes");
    for volume in volumes.iter_mut() {
        if volume["dataVolume"].is_object() {
            volume["dataVolume"]["name"] = json!("restored-data");
        }
        if volume["cloudInitNoCloud"].is_object() {
            volume["cloudInitNoCloud"]["secretRef"]["name"] = json!("of-another");
        }
    }
    let wanted = spec["template"]["spec"]["volumes"].clone();
    subject
        .machines()
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&json!({"spec": spec})))
        .await
        .expect("a restore may rename disks");
    let modified = modify(&subject, &made.uid, ApplyMode::Persist).await;
    let modified = modified.expect("the machine can be modified");
    let stored = subject.stored(NAME).await;
    assert_eq!(cores(&stored), 2);
    for object in [&stored, &modified.document.object] {
        assert_eq!(object["spec"]["template"]["spec"]["volumes"], wanted);
        let templates = &object["spec"]["dataVolumeTemplates"];
        assert_eq!(templates[0]["metadata"]["name"], "restored-data");
        assert!(templates[1].is_null());
    }
}

async fn grow(subject: &Subject, uid: &str, size_gb: i32, mode: ApplyMode) -> Result<(), ProviderError> {
    subject
        .provider
        .grow_disk(CLUSTER, &subject.namespace, NAME, uid, size_gb, mode)
        .await
}

fn claims(subject: &Subject) -> Api<PersistentVolumeClaim> {
    Api::namespaced(subject.client.clone(), &subject.namespace)
}

/// What the claim of the machine's disk asks for.
async fn requested(subject: &Subject) -> String {
    let claim = claims(subject)
        .get(&format!("{NAME}-data"))
        .await
        .expect("it has a claim");
    let claim = serde_json::to_value(claim).expect("an object is JSON");
    let requests = &claim["spec"]["resources"]["requests"];
    requests["storage"].as_str().unwrap_or_default().to_owned()
}

pub async fn a_disk_grows_and_never_shrinks(subject: Subject) {
    let subject = subject.with_namespace().await;
    let made = subject.apply(&Plan::new(&subject.namespace, NAME).running()).await;
    let waiting = &subject;
    eventually("the disk is bound", move || async move {
        let claim = claims(waiting).get_opt(&format!("{NAME}-data")).await;
        let phase = claim.ok().flatten().and_then(|claim| claim.status?.phase);
        phase.as_deref() == Some("Bound")
    })
    .await;
    let before = requested(&subject).await;
    assert_eq!(grow(&subject, &made.uid, 3, ApplyMode::DryRun).await, Ok(()));
    assert_eq!(requested(&subject).await, before);
    let refusal = grow(&subject, NOBODYS_UID, 3, ApplyMode::Persist).await;
    assert!(matches!(refusal, Err(ProviderError::Conflict(_))), "{refusal:?}");
    for size_gb in [3, 3, 2] {
        assert_eq!(grow(&subject, &made.uid, size_gb, ApplyMode::Persist).await, Ok(()));
        assert_eq!(requested(&subject).await, "3Gi");
    }
}

pub async fn a_missing_machine_has_no_disk_to_grow(subject: Subject) {
    let subject = subject.with_namespace().await;
    let refusal = grow(&subject, NOBODYS_UID, 3, ApplyMode::Persist).await;
    assert!(matches!(refusal, Err(ProviderError::NotFound(_))), "{refusal:?}");
}
