//! Snapshots and restores.

use futures::future::join_all;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use shepherd_domain::infrastructure::{Restore, Snapshot};
use shepherd_domain::labels;
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError, SnapshotProvider};

use crate::documents::{Plan, differences};
use crate::lab::{CLUSTER, Subject, eventually};
use crate::requests::{restore_of, snapshot_of};

const VM: &str = "web-01";
const NAME: &str = "before";
const EVENT: &str = "e-1";
const NOBODYS_UID: &str = "00000000-0000-0000-0000-000000000000";

async fn apply(subject: &Subject, name: &str, cores: i32) {
    let document = Plan::new(&subject.namespace, name).cores(cores).document();
    subject
        .provider
        .apply_vm(CLUSTER, &document, ApplyMode::Persist)
        .await
        .expect("the document can be applied");
}

async fn with_machine(subject: Subject) -> Subject {
    let subject = subject.with_namespace().await;
    apply(&subject, VM, 1).await;
    subject
}

async fn take(subject: &Subject, name: &str, event: &str) -> Result<Snapshot, ProviderError> {
    let request = snapshot_of(&subject.namespace, VM, name, event);
    subject.provider.create_snapshot(CLUSTER, &request).await
}

async fn get(subject: &Subject, name: &str) -> Option<Snapshot> {
    let found = subject.provider.get_snapshot(CLUSTER, &subject.namespace, name).await;
    found.expect("snapshots can be read")
}

async fn delete(subject: &Subject, uid: Option<&str>) -> Result<(), ProviderError> {
    subject
        .provider
        .delete_snapshot(CLUSTER, &subject.namespace, NAME, uid)
        .await
}

async fn back(subject: &Subject, event: &str) -> Result<Restore, ProviderError> {
    let request = restore_of(&subject.namespace, VM, NAME, "back", event);
    subject.provider.restore_from_snapshot(CLUSTER, &request).await
}

/// Takes a snapshot and waits until it can be used.
async fn ready(subject: &Subject) -> Snapshot {
    take(subject, NAME, EVENT).await.expect("a snapshot can be asked for");
    eventually("the snapshot is ready", move || async move {
        get(subject, NAME).await.is_some_and(|snapshot| snapshot.ready)
    })
    .await;
    get(subject, NAME).await.expect("the snapshot is there")
}

/// A snapshot as the cluster has it, in whatever version it serves.
async fn stored(client: &Client, namespace: &str) -> Value {
    let groups = client.list_api_groups().await.expect("groups can be listed").groups;
    let group = groups
        .into_iter()
        .find(|group| group.name == "snapshot.kubevirt.io")
        .expect("the group is served");
    let version = &group.versions[0].version;
    let kind = GroupVersionKind::gvk(&group.name, version, "VirtualMachineSnapshot");
    let kind = ApiResource::from_gvk_with_plural(&kind, "virtualmachinesnapshots");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let object = api.get(NAME).await.expect("the snapshot is stored");
    serde_json::to_value(object).expect("an object is JSON")
}

pub async fn a_snapshot_is_made_once(subject: Subject) {
    let subject = with_machine(subject).await;
    let first = take(&subject, NAME, EVENT).await.expect("a snapshot can be asked for");
    assert_eq!(
        (first.name.as_str(), first.vm.as_str(), first.event_id.as_deref()),
        (NAME, VM, Some(EVENT))
    );
    assert!(!first.uid.is_empty() && first.created_at.is_some() && first.error.is_none());
    let second = take(&subject, NAME, EVENT).await.expect("a repetition finds it");
    assert_eq!(second.uid, first.uid);
    assert_eq!(get(&subject, NAME).await.map(|found| found.uid), Some(first.uid));
}

pub async fn a_snapshot_of_another_event_is_in_the_way(subject: Subject) {
    let subject = with_machine(subject).await;
    take(&subject, NAME, EVENT).await.expect("a snapshot can be asked for");
    let refusal = take(&subject, NAME, "e-2").await;
    assert!(matches!(refusal, Err(ProviderError::AlreadyExists(_))), "{refusal:?}");
    let found = get(&subject, NAME).await.expect("the snapshot is there");
    assert_eq!(found.event_id.as_deref(), Some(EVENT));
}

pub async fn two_replicas_make_one_snapshot(subject: Subject) {
    let subject = with_machine(subject).await;
    let made = join_all((0..8).map(|_| take(&subject, NAME, EVENT))).await;
    let uids: Vec<&str> = made.iter().flatten().map(|snapshot| snapshot.uid.as_str()).collect();
    assert_eq!(uids.len(), 8, "{made:?}");
    assert!(uids.iter().all(|uid| *uid == uids[0]), "{uids:?}");
}

pub async fn two_events_cannot_share_a_snapshot(subject: Subject) {
    let subject = with_machine(subject).await;
    let (one, other) = tokio::join!(take(&subject, NAME, EVENT), take(&subject, NAME, "e-2"));
    let refused = |outcome: &Result<Snapshot, ProviderError>| matches!(outcome, Err(ProviderError::AlreadyExists(_)));
    assert!(
        (one.is_ok() && refused(&other)) || (other.is_ok() && refused(&one)),
        "{one:?} {other:?}"
    );
}

pub async fn the_snapshot_comes_back_unpruned(subject: Subject) {
    let subject = with_machine(subject).await;
    take(&subject, NAME, EVENT).await.expect("a snapshot can be asked for");
    let wanted = json!({
        "metadata": {
            "labels": {labels::MANAGED_BY: labels::MANAGER},
            "annotations": {labels::EVENT: EVENT},
        },
        "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": VM}},
    });
    let found = stored(&subject.client, &subject.namespace).await;
    assert_eq!(differences(&wanted, &found), Vec::<String>::new());
}

pub async fn absent_snapshots_and_restores_are_none(subject: Subject) {
    let subject = subject.with_namespace().await;
    assert_eq!(get(&subject, NAME).await, None);
    let restore = subject.provider.get_restore(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(restore, Ok(None));
    let list = subject.provider.list_snapshots(CLUSTER, &subject.namespace, None).await;
    assert_eq!(list, Ok(Vec::new()));
}

pub async fn snapshots_are_listed_by_machine(subject: Subject) {
    let subject = with_machine(subject).await;
    apply(&subject, "web-02", 1).await;
    for (vm, name) in [(VM, "b"), ("web-02", "c"), (VM, "a")] {
        let request = snapshot_of(&subject.namespace, vm, name, name);
        let made = subject.provider.create_snapshot(CLUSTER, &request).await;
        assert!(made.is_ok(), "{made:?}");
    }
    for (vm, expected) in [
        (None, vec!["a", "b", "c"]),
        (Some(VM), vec!["a", "b"]),
        (Some("nobody"), vec![]),
    ] {
        let found = subject.provider.list_snapshots(CLUSTER, &subject.namespace, vm).await;
        let found = found.expect("snapshots can be listed");
        let names: Vec<&str> = found.iter().map(|snapshot| snapshot.name.as_str()).collect();
        assert_eq!(names, expected, "{vm:?}");
    }
}

pub async fn a_snapshot_can_be_deleted_twice(subject: Subject) {
    let subject = with_machine(subject).await;
    let uid = take(&subject, NAME, EVENT)
        .await
        .expect("a snapshot can be asked for")
        .uid;
    assert_eq!(delete(&subject, Some(&uid)).await, Ok(()));
    let subject = &subject;
    eventually("the snapshot is gone", move || async move {
        get(subject, NAME).await.is_none()
    })
    .await;
    assert_eq!(delete(subject, Some(&uid)).await, Ok(()));
    assert_eq!(delete(subject, None).await, Ok(()));
}

pub async fn another_snapshot_of_the_name_stays(subject: Subject) {
    let subject = with_machine(subject).await;
    take(&subject, NAME, EVENT).await.expect("a snapshot can be asked for");
    let refusal = delete(&subject, Some(NOBODYS_UID)).await;
    assert!(matches!(refusal, Err(ProviderError::Conflict(_))), "{refusal:?}");
    assert!(get(&subject, NAME).await.is_some());
}

pub async fn snapshots_without_rights_are_forbidden(subject: Subject) {
    let subject = with_machine(subject).await.for_somebody_else();
    let refusal = take(&subject, NAME, EVENT).await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
    let refusal = subject.provider.list_snapshots(CLUSTER, &subject.namespace, None).await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
}

pub async fn a_snapshot_becomes_ready(subject: Subject) {
    let subject = with_machine(subject).await;
    let snapshot = ready(&subject).await;
    assert!(
        snapshot.error.is_none() && snapshot.created_at.is_some(),
        "{snapshot:?}"
    );
}

pub async fn a_restore_takes_a_machine_back(subject: Subject) {
    let subject = with_machine(subject).await;
    ready(&subject).await;
    apply(&subject, VM, 4).await;
    let asked = back(&subject, "e-2").await.expect("a restore can be asked for");
    assert_eq!((asked.vm.as_str(), asked.snapshot.as_str()), (VM, NAME));
    let again = back(&subject, "e-2").await;
    assert!(again.is_ok(), "a repetition finds it: {again:?}");
    let subject = &subject;
    eventually("the restore is done", move || async move {
        let found = subject.provider.get_restore(CLUSTER, &subject.namespace, "back").await;
        matches!(found, Ok(Some(restore)) if restore.complete && restore.error.is_none())
    })
    .await;
    let cores = subject.stored(VM).await["spec"]["template"]["spec"]["domain"]["cpu"]["cores"].take();
    assert_eq!(cores, json!(1));
}

pub async fn a_restore_of_another_event_is_in_the_way(subject: Subject) {
    let subject = with_machine(subject).await;
    ready(&subject).await;
    assert!(back(&subject, "e-2").await.is_ok());
    let refusal = back(&subject, "e-3").await;
    assert!(matches!(refusal, Err(ProviderError::AlreadyExists(_))), "{refusal:?}");
}
