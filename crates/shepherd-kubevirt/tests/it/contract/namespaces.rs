//! Namespaces.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use shepherd_domain::ids::EventId;
use shepherd_domain::{Environment, labels};
use shepherd_ports::providers::{EnsuredNamespace, InfrastructureProvider, ProviderError};

use crate::lab::{CLUSTER, NEW_YEAR, Subject};

const EVENT: EventId = EventId::from_bits(1);
const ANOTHER_EVENT: EventId = EventId::from_bits(2);

async fn ensure(subject: &Subject, event: Option<EventId>) -> EnsuredNamespace {
    subject
        .provider
        .ensure_namespace(CLUSTER, &subject.namespace, Environment::Prod, event)
        .await
        .expect("the namespace can be made")
}

pub async fn a_namespace_is_made_once(subject: Subject) {
    assert_eq!(ensure(&subject, None).await, EnsuredNamespace::Created);
    assert_eq!(ensure(&subject, None).await, EnsuredNamespace::Existed);
    assert_eq!(ensure(&subject, Some(EVENT)).await, EnsuredNamespace::Existed);
    assert_eq!(
        subject.provider.namespace_exists(CLUSTER, &subject.namespace).await,
        Ok(true)
    );
}

pub async fn the_event_that_made_a_namespace_is_known_again(subject: Subject) {
    for _ in 0..2 {
        assert_eq!(ensure(&subject, Some(EVENT)).await, EnsuredNamespace::Created);
        assert_eq!(ensure(&subject, Some(ANOTHER_EVENT)).await, EnsuredNamespace::Existed);
        assert_eq!(ensure(&subject, None).await, EnsuredNamespace::Existed);
    }
}

pub async fn a_made_namespace_is_labelled(subject: Subject) {
    ensure(&subject, Some(EVENT)).await;
    let api: Api<Namespace> = Api::all(subject.client.clone());
    let metadata = api
        .get(&subject.namespace)
        .await
        .expect("the namespace is stored")
        .metadata;
    let found = metadata.labels.unwrap_or_default();
    assert_eq!(found.get(labels::MANAGED_BY).map(String::as_str), Some(labels::MANAGER));
    assert_eq!(found.get(labels::ENVIRONMENT).map(String::as_str), Some("prod"));
    let noted = metadata.annotations.unwrap_or_default();
    assert_eq!(noted.get(labels::CREATED_AT).map(String::as_str), Some(NEW_YEAR));
    assert_eq!(noted.get(labels::EVENT), Some(&EVENT.to_string()));
}

pub async fn an_absent_namespace_does_not_exist(subject: Subject) {
    assert_eq!(
        subject.provider.namespace_exists(CLUSTER, &subject.namespace).await,
        Ok(false)
    );
}

pub async fn two_replicas_make_one_namespace(subject: Subject) {
    let (one, other) = tokio::join!(ensure(&subject, Some(EVENT)), ensure(&subject, Some(ANOTHER_EVENT)));
    assert!([one, other].contains(&EnsuredNamespace::Created));
    assert_ne!((one, other), (EnsuredNamespace::Created, EnsuredNamespace::Created));
}

pub async fn a_name_the_cluster_refuses_is_invalid(subject: Subject) {
    let refusal = subject
        .provider
        .ensure_namespace(CLUSTER, "Not_A_Name", Environment::Test, None)
        .await;
    assert!(matches!(refusal, Err(ProviderError::Invalid { .. })), "{refusal:?}");
}
