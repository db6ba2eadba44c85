//! Applying and reading machines.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use shepherd_domain::labels;
use shepherd_domain::rendering::VmDocument;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError};

use crate::documents::{Plan, differences};
use crate::lab::{CLUSTER, Subject};

const NAME: &str = "web-01";

async fn apply(subject: &Subject, document: &VmDocument) -> ObservedVm {
    subject
        .provider
        .apply_vm(CLUSTER, document, ApplyMode::Persist)
        .await
        .expect("the document can be applied")
}

async fn read(subject: &Subject) -> Option<ObservedVm> {
    subject
        .provider
        .get_vm(CLUSTER, &subject.namespace, NAME)
        .await
        .expect("the machine can be read")
}

fn plan(subject: &Subject) -> Plan {
    Plan::new(&subject.namespace, NAME)
}

pub async fn an_apply_creates_the_machine(subject: Subject) {
    let subject = subject.with_namespace().await;
    let applied = apply(&subject, &plan(&subject).document()).await;
    assert_eq!(
        (applied.name.as_str(), applied.namespace.as_str()),
        (NAME, subject.namespace.as_str())
    );
    assert!(!applied.uid.is_empty() && applied.resource_version > 0 && applied.managed);
    assert_eq!(applied.run_strategy.as_deref(), Some("Halted"));
}

pub async fn a_created_machine_can_be_read(subject: Subject) {
    let subject = subject.with_namespace().await;
    let applied = apply(&subject, &plan(&subject).document()).await;
    let found = read(&subject).await.expect("it is there");
    assert_eq!(found.uid, applied.uid);
    assert!(found.resource_version >= applied.resource_version);
    assert!(found.event_id.is_some() && found.vm_id.is_some() && found.created_at.is_some());
}

pub async fn an_absent_machine_is_none(subject: Subject) {
    assert_eq!(read(&subject).await, None, "nor in a namespace that does not exist");
    let subject = subject.with_namespace().await;
    assert_eq!(read(&subject).await, None);
}

pub async fn a_second_apply_changes_nothing(subject: Subject) {
    let subject = subject.with_namespace().await;
    let document = plan(&subject).document();
    let first = apply(&subject, &document).await;
    let before = subject.stored(NAME).await;
    let second = apply(&subject, &document).await;
    let after = subject.stored(NAME).await;
    assert_eq!(first.uid, second.uid);
    // Controllers write the status in the meantime, so that only what apply writes can be compared.
    assert_eq!(before["metadata"]["generation"], after["metadata"]["generation"]);
    assert_eq!(before["spec"], after["spec"]);
    assert_eq!(managed(&before), managed(&after));
}

/// What the platform's field manager owns, and since when.
fn managed(object: &Value) -> Vec<&Value> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    entries
        .iter()
        .filter(|entry| entry["manager"] == labels::MANAGER)
        .collect()
}

pub async fn a_changed_document_changes_the_machine(subject: Subject) {
    let subject = subject.with_namespace().await;
    let first = apply(&subject, &plan(&subject).document()).await;
    let second = apply(&subject, &plan(&subject).cores(2).document()).await;
    assert_eq!(first.uid, second.uid);
    assert!(second.resource_version > first.resource_version);
    assert_eq!(
        subject.stored(NAME).await["spec"]["template"]["spec"]["domain"]["cpu"]["cores"],
        2
    );
}

pub async fn an_apply_takes_back_what_others_changed(subject: Subject) {
    let subject = subject.with_namespace().await;
    let document = plan(&subject).document();
    apply(&subject, &document).await;
    let change = json!({"metadata": {"labels": {labels::SERVICE: "theirs"}}});
    subject
        .machines()
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&change))
        .await
        .expect("somebody else may patch");
    apply(&subject, &document).await;
    assert_eq!(subject.stored(NAME).await["metadata"]["labels"][labels::SERVICE], "web");
}

pub async fn a_label_that_is_no_longer_sent_goes(subject: Subject) {
    let subject = subject.with_namespace().await;
    let document = plan(&subject).document();
    let mut labelled = document.clone();
    labelled.object["metadata"]["labels"]["example.com/extra"] = json!("yes");
    apply(&subject, &labelled).await;
    assert_eq!(
        subject.stored(NAME).await["metadata"]["labels"]["example.com/extra"],
        "yes"
    );
    apply(&subject, &document).await;
    assert!(subject.stored(NAME).await["metadata"]["labels"]["example.com/extra"].is_null());
}

pub async fn a_dry_run_stores_nothing(subject: Subject) {
    let subject = subject.with_namespace().await;
    let document = plan(&subject).cloud_init().document();
    let answer = subject
        .provider
        .apply_vm(CLUSTER, &document, ApplyMode::DryRun)
        .await
        .expect("the dry run passes");
    assert_eq!(answer.name, NAME);
    assert_eq!(read(&subject).await, None);
    let secrets: Api<Secret> = Api::namespaced(subject.client.clone(), &subject.namespace);
    assert!(
        secrets
            .get_opt("web-01-cloudinit")
            .await
            .expect("secrets can be read")
            .is_none()
    );
}

pub async fn a_dry_run_leaves_a_machine_as_it_is(subject: Subject) {
    let subject = subject.with_namespace().await;
    apply(&subject, &plan(&subject).document()).await;
    let before = subject.stored(NAME).await;
    subject
        .provider
        .apply_vm(CLUSTER, &plan(&subject).cores(2).document(), ApplyMode::DryRun)
        .await
        .expect("the dry run passes");
    assert_eq!(subject.stored(NAME).await["spec"], before["spec"]);
}

pub async fn a_dry_run_refuses_like_an_apply(subject: Subject) {
    let subject = subject.with_namespace().await;
    let mut document = plan(&subject).document();
    document.object["spec"]["surprise"] = json!(true);
    let refusal = subject.provider.apply_vm(CLUSTER, &document, ApplyMode::DryRun).await;
    assert!(matches!(refusal, Err(ProviderError::Invalid { .. })), "{refusal:?}");
}

pub async fn a_missing_namespace_is_not_found(subject: Subject) {
    let refusal = subject
        .provider
        .apply_vm(CLUSTER, &plan(&subject).document(), ApplyMode::Persist)
        .await;
    assert!(matches!(refusal, Err(ProviderError::NotFound(_))), "{refusal:?}");
}

pub async fn an_unknown_field_is_invalid(subject: Subject) {
    let subject = subject.with_namespace().await;
    let mut document = plan(&subject).document();
    document.object["spec"]["surprise"] = json!(true);
    let refusal = subject.provider.apply_vm(CLUSTER, &document, ApplyMode::Persist).await;
    assert!(
        matches!(&refusal, Err(ProviderError::Invalid { message, .. }) if message.contains("surprise")),
        "{refusal:?}"
    );
    assert_eq!(read(&subject).await, None);
}

pub async fn a_missing_field_is_invalid_and_named(subject: Subject) {
    let subject = subject.with_namespace().await;
    let mut document = plan(&subject).document();
    document.object["spec"]["template"]["spec"]["domain"]
        .as_object_mut()
        .expect("a domain")
        .remove("devices");
    let refusal = subject.provider.apply_vm(CLUSTER, &document, ApplyMode::Persist).await;
    let Err(ProviderError::Invalid { causes, .. }) = &refusal else {
        panic!("{refusal:?}")
    };
    assert!(
        causes.iter().any(|(field, _)| field.ends_with("domain.devices")),
        "{causes:?}"
    );
}

pub async fn a_document_without_a_name_goes_nowhere(subject: Subject) {
    let document = VmDocument {
        object: json!({"kind": "VirtualMachine"}),
        cloud_init: None,
    };
    let refusal = subject.provider.apply_vm(CLUSTER, &document, ApplyMode::Persist).await;
    assert!(matches!(refusal, Err(ProviderError::Schema(_))), "{refusal:?}");
}

pub async fn the_document_comes_back_unpruned(subject: Subject) {
    let subject = subject.with_namespace().await;
    let document = plan(&subject).with_everything().document();
    apply(&subject, &document).await;
    assert_eq!(
        differences(&document.object, &subject.stored(NAME).await),
        Vec::<String>::new()
    );
}

pub async fn labels_are_on_everything(subject: Subject) {
    let subject = subject.with_namespace().await;
    apply(&subject, &plan(&subject).document()).await;
    let stored = subject.stored(NAME).await;
    let places = [
        &stored["metadata"],
        &stored["spec"]["template"]["metadata"],
        &stored["spec"]["dataVolumeTemplates"][0]["metadata"],
    ];
    let keys = [
        labels::MANAGED_BY,
        labels::SYSTEM,
        labels::SERVICE,
        labels::INSTANCE,
        labels::TICKET,
        labels::CREATED_BY,
        labels::HOSTNAME,
    ];
    for place in places {
        for key in keys {
            assert!(place["labels"][key].is_string(), "{key} in {place}");
        }
    }
    for key in [labels::EVENT, labels::VM, labels::REVISION] {
        assert!(stored["metadata"]["annotations"][key].is_string(), "{key}");
    }
}

pub async fn the_secret_belongs_to_the_machine(subject: Subject) {
    let subject = subject.with_namespace().await;
    let document = plan(&subject).cloud_init().document();
    let applied = apply(&subject, &document).await;
    apply(&subject, &document).await;
    let secrets: Api<Secret> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let secret = secrets.get("web-01-cloudinit").await.expect("the Secret is stored");
    let owners = secret.metadata.owner_references.unwrap_or_default();
    assert_eq!(
        owners.iter().map(|owner| owner.uid.as_str()).collect::<Vec<_>>(),
        [applied.uid.as_str()]
    );
    let data = secret.data.unwrap_or_default();
    assert_eq!(
        data.get("userdata").map(|data| data.0.as_slice()),
        Some(b"#cloud-config\nusers: []\n".as_slice())
    );
}

pub async fn concurrent_applies_make_one_machine(subject: Subject) {
    let subject = subject.with_namespace().await;
    let document = plan(&subject).document();
    let applied = join_all((0..8).map(|_| apply(&subject, &document))).await;
    assert!(applied.iter().all(|one| one.uid == applied[0].uid));
}
