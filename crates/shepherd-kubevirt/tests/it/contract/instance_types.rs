//! Instance types and preferences.

use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use shepherd_domain::infrastructure::InstanceType;
use shepherd_ports::providers::InstanceTypeProvider;

use crate::lab::{CLUSTER, Subject};

const GROUP: &str = "instancetype.kubevirt.io";

/// Names in both orders, so that it shows who sorts them.
const NAMES: [&str; 2] = ["zebra", "ant"];

/// A kind of the group, in the version the cluster prefers.
async fn kind(subject: &Subject, kind: &str, plural: &str) -> ApiResource {
    let groups = subject.client.list_api_groups().await.expect("groups can be listed");
    let group = groups.groups.into_iter().find(|group| group.name == GROUP);
    let version = group
        .and_then(|group| group.preferred_version)
        .expect("the group is served")
        .version;
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, &version, kind), plural)
}

fn object(kind: &ApiResource, name: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, kind).data(json!({"spec": spec}))
}

async fn make(api: &Api<DynamicObject>, kind: &ApiResource, name: &str, spec: Value) {
    api.create(&PostParams::default(), &object(kind, name, spec))
        .await
        .expect("the object can be made");
}

fn small() -> Value {
    json!({"cpu": {"guest": 2}, "memory": {"guest": "4Gi"}})
}

fn wanted(name: &str, cluster_wide: bool) -> InstanceType {
    InstanceType {
        name: name.to_owned(),
        cpu: Some(2),
        memory: Some("4Gi".to_owned()),
        cluster_wide,
    }
}

pub async fn instance_types_of_a_namespace_are_listed(subject: Subject) {
    let subject = subject.with_namespace().await;
    let kind = kind(&subject, "VirtualMachineInstancetype", "virtualmachineinstancetypes").await;
    let api = Api::namespaced_with(subject.client.clone(), &subject.namespace, &kind);
    for name in NAMES {
        make(&api, &kind, name, small()).await;
    }
    let found = subject.provider.list_instance_types(CLUSTER, &subject.namespace).await;
    assert_eq!(found, Ok(vec![wanted("ant", false), wanted("zebra", false)]));
}

pub async fn instance_types_of_the_cluster_are_listed(subject: Subject) {
    let kind = kind(
        &subject,
        "VirtualMachineClusterInstancetype",
        "virtualmachineclusterinstancetypes",
    )
    .await;
    let api = Api::all_with(subject.client.clone(), &kind);
    // The cluster is shared: the name is that of this case, and nothing may stay.
    let name = &subject.namespace;
    make(&api, &kind, name, small()).await;
    let found = subject.provider.list_cluster_instance_types(CLUSTER).await;
    let deleted = api.delete(name, &DeleteParams::default()).await;
    let found = found.expect("instance types can be listed");
    assert!(found.contains(&wanted(name, true)), "{found:?}");
    assert!(found.iter().all(|one| one.cluster_wide));
    assert!(found.is_sorted_by_key(|one| one.name.clone()), "{found:?}");
    assert!(deleted.is_ok(), "{deleted:?}");
}

pub async fn preferences_of_a_namespace_are_listed(subject: Subject) {
    let subject = subject.with_namespace().await;
    let kind = kind(&subject, "VirtualMachinePreference", "virtualmachinepreferences").await;
    let api = Api::namespaced_with(subject.client.clone(), &subject.namespace, &kind);
    for name in NAMES {
        make(&api, &kind, name, json!({})).await;
    }
    let found = subject.provider.list_preferences(CLUSTER, &subject.namespace).await;
    let found = found.expect("preferences can be listed");
    let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.cluster_wide)).collect();
    assert_eq!(found, [("ant", false), ("zebra", false)]);
}

pub async fn preferences_of_the_cluster_are_listed(subject: Subject) {
    let kind = kind(
        &subject,
        "VirtualMachineClusterPreference",
        "virtualmachineclusterpreferences",
    )
    .await;
    let api = Api::all_with(subject.client.clone(), &kind);
    let name = &subject.namespace;
    make(&api, &kind, name, json!({})).await;
    let found = subject.provider.list_cluster_preferences(CLUSTER).await;
    let deleted = api.delete(name, &DeleteParams::default()).await;
    let found = found.expect("preferences can be listed");
    assert!(
        found.iter().any(|one| one.name == *name && one.cluster_wide),
        "{found:?}"
    );
    assert!(deleted.is_ok(), "{deleted:?}");
}

pub async fn an_absent_namespace_has_no_instance_types(subject: Subject) {
    let (provider, namespace) = (&subject.provider, subject.namespace.as_str());
    assert_eq!(provider.list_instance_types(CLUSTER, namespace).await, Ok(vec![]));
    assert_eq!(provider.list_preferences(CLUSTER, namespace).await, Ok(vec![]));
}
