//! Credentials, connections and what a probe finds.

use shepherd_domain::ids::ClusterId;
use shepherd_ports::providers::{ConsoleProvider, InfrastructureProvider, ProviderError};

use crate::lab::{CLUSTER, Subject, dead, expired};

async fn ask(subject: &Subject) -> Result<bool, ProviderError> {
    subject.provider.namespace_exists(CLUSTER, "kube-system").await
}

fn replace(subject: &Subject, kubeconfig: &str, version: &str) {
    subject.credentials.set(CLUSTER, kubeconfig, version);
    subject.provider.invalidate(CLUSTER);
}

pub async fn credentials_without_rights_are_forbidden(subject: Subject) {
    let restricted = subject.restricted.clone().expect("a user who may do nothing");
    replace(&subject, &restricted, "restricted");
    let refusal = subject.provider.get_vm(CLUSTER, "default", "web-01").await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
}

pub async fn consoles_need_rights(subject: Subject) {
    let subject = subject.for_somebody_else();
    for outcome in [
        subject.provider.get_vnc_connection(CLUSTER, "default", "web-01").await,
        subject.provider.get_serial_console(CLUSTER, "default", "web-01").await,
    ] {
        let refusal = outcome.err();
        assert!(matches!(refusal, Some(ProviderError::Forbidden(_))), "{refusal:?}");
    }
}

pub async fn expired_credentials_are_forbidden(subject: Subject) {
    replace(&subject, &expired(&subject.kubeconfig), "expired");
    let refusal = ask(&subject).await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
    let refusal = subject.provider.get_vm(CLUSTER, "default", "web-01").await;
    assert!(
        matches!(refusal, Err(ProviderError::Forbidden(_))),
        "nothing is known of the machine: {refusal:?}"
    );
    replace(&subject, &subject.kubeconfig, "renewed");
    assert!(ask(&subject).await.is_ok());
}

pub async fn a_server_that_is_not_there_is_unreachable(subject: Subject) {
    replace(&subject, &dead(&subject.kubeconfig), "dead");
    let refusal = ask(&subject).await;
    assert!(matches!(refusal, Err(ProviderError::Unreachable(_))), "{refusal:?}");
    let refusal = subject.provider.probe(CLUSTER).await;
    assert!(matches!(refusal, Err(ProviderError::Unreachable(_))), "{refusal:?}");
}

pub async fn an_unknown_cluster_is_unavailable(subject: Subject) {
    let refusal = subject
        .provider
        .namespace_exists(ClusterId::from_bits(99), "default")
        .await;
    assert!(matches!(refusal, Err(ProviderError::Unavailable(_))), "{refusal:?}");
}

pub async fn rotated_credentials_are_used_at_once(subject: Subject) {
    replace(&subject, &dead(&subject.kubeconfig), "2");
    assert!(ask(&subject).await.is_err());
    // Without a word the old ones stay in use for a while.
    subject.credentials.set(CLUSTER, &subject.kubeconfig, "3");
    assert!(ask(&subject).await.is_err());
    subject.provider.invalidate(CLUSTER);
    assert!(ask(&subject).await.is_ok());
}

pub async fn a_removed_cluster_is_unavailable(subject: Subject) {
    assert!(ask(&subject).await.is_ok());
    subject.credentials.remove(CLUSTER);
    subject.provider.invalidate(CLUSTER);
    let refusal = ask(&subject).await;
    assert!(matches!(refusal, Err(ProviderError::Unavailable(_))), "{refusal:?}");
}

pub async fn a_probe_tells_the_version(subject: Subject) {
    let facts = subject.provider.probe(CLUSTER).await.expect("the cluster answers");
    assert!(!facts.kubernetes_version.is_empty());
    assert_eq!(facts.kubevirt_deployed, facts.reason.is_none());
    assert!(
        facts.capabilities.is_some(),
        "nodes, networks, groups and KubeVirt can be read"
    );
    assert!(facts.storage_classes.is_some(), "storage classes can be read");
}

pub async fn a_probe_finds_kubevirt(subject: Subject) {
    let facts = subject.provider.probe(CLUSTER).await.expect("the cluster answers");
    assert!(facts.kubevirt_deployed);
    let version = facts.kubevirt_version.expect("a deployed KubeVirt has a version");
    assert!(!version.starts_with('v'));
    assert!(facts.features.contains(&"LiveMigration".to_owned()));
}
