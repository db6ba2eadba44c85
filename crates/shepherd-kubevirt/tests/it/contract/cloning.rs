//! Clones of machines and of snapshots.

use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use shepherd_domain::infrastructure::{Clone as MachineClone, ClonePhase, CloneSource};
use shepherd_domain::labels;
use shepherd_domain::vm::{ObservedCondition, VmStatus};
use shepherd_ports::providers::{ApplyMode, CloneProvider, InfrastructureProvider, ProviderError, SnapshotProvider};

use crate::documents::{Plan, differences};
use crate::lab::{CLUSTER, Subject, eventually};
use crate::requests::{clone_to, snapshot_of};

const SOURCE: &str = "web-01";
const TARGET: &str = "web-02";
const NAME: &str = "copy";
const EVENT: &str = "e-1";

async fn with_machine(subject: Subject) -> Subject {
    let subject = subject.with_namespace().await;
    let document = Plan::new(&subject.namespace, SOURCE).document();
    subject
        .provider
        .apply_vm(CLUSTER, &document, ApplyMode::Persist)
        .await
        .expect("the document can be applied");
    subject
}

async fn ask(subject: &Subject, event: &str) -> Result<MachineClone, ProviderError> {
    let request = clone_to(&subject.namespace, TARGET, NAME, event);
    subject.provider.clone_vm(CLUSTER, SOURCE, &request).await
}

async fn get(subject: &Subject, name: &str) -> Option<MachineClone> {
    let found = subject.provider.get_clone(CLUSTER, &subject.namespace, name).await;
    found.expect("clones can be read")
}

async fn succeeds(subject: &Subject) {
    eventually("the clone is made", move || async move {
        get(subject, NAME)
            .await
            .is_some_and(|clone| clone.phase == ClonePhase::Succeeded)
    })
    .await;
}

/// A clone as the cluster has it, in whatever version it serves.
async fn stored(client: &Client, namespace: &str) -> Value {
    let groups = client.list_api_groups().await.expect("groups can be listed").groups;
    let group = groups
        .into_iter()
        .find(|group| group.name == "clone.kubevirt.io")
        .expect("the group is served");
    let version = &group.versions[0].version;
    let kind = GroupVersionKind::gvk(&group.name, version, "VirtualMachineClone");
    let kind = ApiResource::from_gvk_with_plural(&kind, "virtualmachineclones");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let object = api.get(NAME).await.expect("the clone is stored");
    serde_json::to_value(object).expect("an object is JSON")
}

pub async fn a_clone_is_made_once(subject: Subject) {
    let subject = with_machine(subject).await;
    let first = ask(&subject, EVENT).await.expect("a clone can be asked for");
    assert_eq!(
        (first.name.as_str(), first.target.as_str(), first.event_id.as_deref()),
        (NAME, TARGET, Some(EVENT))
    );
    assert_eq!(first.source, CloneSource::Vm(SOURCE.to_owned()));
    let repeated = join_all((0..4).map(|_| ask(&subject, EVENT))).await;
    assert!(repeated.iter().all(Result::is_ok), "{repeated:?}");
    let all = subject.provider.list_clones(CLUSTER, &subject.namespace, None).await;
    assert_eq!(all.map(|all| all.len()), Ok(1));
    for time in ["deleted", "absent"] {
        let deleted = subject.provider.delete_clone(CLUSTER, &subject.namespace, NAME).await;
        assert_eq!(deleted, Ok(()), "{time}");
    }
    assert_eq!(get(&subject, NAME).await, None);
}

pub async fn a_clone_of_another_event_is_in_the_way(subject: Subject) {
    let subject = with_machine(subject).await;
    ask(&subject, EVENT).await.expect("a clone can be asked for");
    let refusal = ask(&subject, "e-2").await;
    assert!(matches!(refusal, Err(ProviderError::AlreadyExists(_))), "{refusal:?}");
}

pub async fn the_clone_comes_back_unpruned(subject: Subject) {
    let subject = with_machine(subject).await;
    ask(&subject, EVENT).await.expect("a clone can be asked for");
    let wanted = json!({
        "metadata": {
            "labels": {labels::MANAGED_BY: labels::MANAGER},
            "annotations": {labels::EVENT: EVENT},
        },
        "spec": {
            "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": SOURCE},
            "target": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": TARGET},
            "labelFilters": ["!*"],
            "template": {"labelFilters": ["!*"], "annotationFilters": ["!*"]},
        },
    });
    let found = stored(&subject.client, &subject.namespace).await;
    assert_eq!(differences(&wanted, &found), Vec::<String>::new());
}

pub async fn an_absent_clone_is_none(subject: Subject) {
    let subject = subject.with_namespace().await;
    assert_eq!(get(&subject, NAME).await, None);
    let list = subject.provider.list_clones(CLUSTER, &subject.namespace, None).await;
    assert_eq!(list, Ok(Vec::new()));
}

pub async fn clones_are_listed_by_source(subject: Subject) {
    let subject = with_machine(subject).await;
    ask(&subject, EVENT).await.expect("a clone can be asked for");
    for (source, count) in [
        (CloneSource::Vm(SOURCE.to_owned()), 1),
        (CloneSource::Vm("nobody".to_owned()), 0),
        (CloneSource::Snapshot(SOURCE.to_owned()), 0),
    ] {
        let found = subject
            .provider
            .list_clones(CLUSTER, &subject.namespace, Some(&source))
            .await;
        assert_eq!(found.map(|found| found.len()), Ok(count), "{source:?}");
    }
}

pub async fn clones_without_rights_are_forbidden(subject: Subject) {
    let subject = with_machine(subject).await.for_somebody_else();
    let refusal = ask(&subject, EVENT).await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
}

pub async fn a_machine_cannot_be_its_own_clone(subject: Subject) {
    let subject = with_machine(subject).await;
    let request = clone_to(&subject.namespace, SOURCE, NAME, EVENT);
    let refusal = subject.provider.clone_vm(CLUSTER, SOURCE, &request).await;
    assert!(matches!(refusal, Err(ProviderError::Invalid { .. })), "{refusal:?}");
}

pub async fn a_copy_is_off_and_belongs_to_nobody(subject: Subject) {
    let subject = with_machine(subject).await;
    let foreign = json!({
        "metadata": {"labels": {"app": "theirs"}, "annotations": {"example.com/note": "theirs"}},
        "spec": {"template": {"metadata": {"labels": {"tier": "front"}}}},
    });
    subject
        .machines()
        .patch(SOURCE, &PatchParams::default(), &Patch::Merge(&foreign))
        .await
        .expect("somebody else may change it");
    ask(&subject, EVENT).await.expect("a clone can be asked for");
    succeeds(&subject).await;

    let (source, copy) = (subject.stored(SOURCE).await, subject.stored(TARGET).await);
    assert_ne!(copy["metadata"]["uid"], source["metadata"]["uid"]);
    for place in [&copy["metadata"], &copy["spec"]["template"]["metadata"]] {
        assert!(is_empty(&place["labels"]), "{place}");
    }
    for key in ["example.com/note", labels::VM, labels::EVENT, labels::REVISION] {
        assert!(copy["metadata"]["annotations"][key].is_null(), "{key}");
    }
    let subject = &subject;
    eventually("the copy is off", move || async move {
        let found = subject.provider.get_vm(CLUSTER, &subject.namespace, TARGET).await;
        matches!(found, Ok(Some(vm)) if !vm.managed && vm.condition == ObservedCondition::Is(VmStatus::Stopped))
    })
    .await;
}

fn is_empty(labels: &Value) -> bool {
    labels.as_object().is_none_or(serde_json::Map::is_empty)
}

pub async fn a_snapshot_can_be_cloned(subject: Subject) {
    let subject = with_machine(subject).await;
    let snapshot = snapshot_of(&subject.namespace, SOURCE, "before", EVENT);
    let taken = subject.provider.create_snapshot(CLUSTER, &snapshot).await;
    assert!(taken.is_ok(), "{taken:?}");
    let of = &subject;
    eventually("the snapshot is ready", move || async move {
        let found = of.provider.get_snapshot(CLUSTER, &of.namespace, "before").await;
        matches!(found, Ok(Some(snapshot)) if snapshot.ready)
    })
    .await;
    let request = clone_to(&subject.namespace, TARGET, NAME, "e-2");
    let asked = subject.provider.clone_from_snapshot(CLUSTER, "before", &request).await;
    let source = CloneSource::Snapshot("before".to_owned());
    assert_eq!(asked.map(|clone| clone.source), Ok(source.clone()));
    succeeds(&subject).await;
    let listed = subject
        .provider
        .list_clones(CLUSTER, &subject.namespace, Some(&source))
        .await;
    assert_eq!(listed.map(|found| found.len()), Ok(1));
    let copy = subject.provider.get_vm(CLUSTER, &subject.namespace, TARGET).await;
    assert!(matches!(copy, Ok(Some(_))), "{copy:?}");
}
