//! Namespaces.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use shepherd_domain::{Environment, labels};
use shepherd_ports::providers::{EnsuredNamespace, InfrastructureProvider, ProviderError};

use crate::lab::{CLUSTER, NEW_YEAR, Subject};

async fn ensure(subject: &Subject) -> EnsuredNamespace {
    subject
        .provider
        .ensure_namespace(CLUSTER, &subject.namespace, Environment::Prod)
        .await
        .expect("the namespace can be made")
}

pub async fn a_namespace_is_made_once(subject: Subject) {
    assert_eq!(ensure(&subject).await, EnsuredNamespace::Created);
    assert_eq!(ensure(&subject).await, EnsuredNamespace::Existed);
    assert_eq!(
        subject.provider.namespace_exists(CLUSTER, &subject.namespace).await,
        Ok(true)
    );
}

pub async fn a_made_namespace_is_labelled(subject: Subject) {
    ensure(&subject).await;
    let api: Api<Namespace> = Api::all(subject.client.clone());
    let metadata = api
        .get(&subject.namespace)
        .await
        .expect("the namespace is stored")
        .metadata;
    let found = metadata.labels.unwrap_or_default();
    assert_eq!(found.get(labels::MANAGED_BY).map(String::as_str), Some(labels::MANAGER));
    assert_eq!(found.get(labels::ENVIRONMENT).map(String::as_str), Some("prod"));
    assert_eq!(
        metadata
            .annotations
            .unwrap_or_default()
            .get(labels::CREATED_AT)
            .map(String::as_str),
        Some(NEW_YEAR)
    );
}

pub async fn an_absent_namespace_does_not_exist(subject: Subject) {
    assert_eq!(
        subject.provider.namespace_exists(CLUSTER, &subject.namespace).await,
        Ok(false)
    );
}

pub async fn two_replicas_make_one_namespace(subject: Subject) {
    let (one, other) = tokio::join!(ensure(&subject), ensure(&subject));
    assert!([one, other].contains(&EnsuredNamespace::Created));
    assert_ne!((one, other), (EnsuredNamespace::Created, EnsuredNamespace::Created));
}

pub async fn a_name_the_cluster_refuses_is_invalid(subject: Subject) {
    let refusal = subject
        .provider
        .ensure_namespace(CLUSTER, "Not_A_Name", Environment::Test)
        .await;
    assert!(matches!(refusal, Err(ProviderError::Invalid { .. })), "{refusal:?}");
}
