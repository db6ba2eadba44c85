//! Power: start, stop, restart, pause, unpause.

use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError};

use crate::documents::Plan;
use crate::lab::{CLUSTER, Subject, eventually};

const NAME: &str = "web-01";

async fn with(subject: Subject, plan: impl FnOnce(Plan) -> Plan) -> Subject {
    let subject = subject.with_namespace().await;
    let document = plan(Plan::new(&subject.namespace, NAME)).document();
    subject
        .provider
        .apply_vm(CLUSTER, &document, ApplyMode::Persist)
        .await
        .expect("the document can be applied");
    subject
}

async fn running(subject: Subject) -> Subject {
    let subject = with(subject, Plan::running).await;
    becomes(&subject, VmStatus::Running).await;
    subject
}

async fn seen(subject: &Subject) -> ObservedVm {
    let found = subject.provider.get_vm(CLUSTER, &subject.namespace, NAME).await;
    found.expect("the machine can be read").expect("the machine is there")
}

async fn becomes(subject: &Subject, status: VmStatus) {
    eventually(status.as_str(), move || async move {
        seen(subject).await.condition == ObservedCondition::Is(status)
    })
    .await;
}

fn is_conflict(outcome: &Result<(), ProviderError>) -> bool {
    matches!(outcome, Err(ProviderError::Conflict(_)))
}

pub async fn a_stopped_machine_starts(subject: Subject) {
    let subject = with(subject, |plan| plan).await;
    becomes(&subject, VmStatus::Stopped).await;
    let started = subject.provider.start_vm(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(started, Ok(()));
    becomes(&subject, VmStatus::Running).await;
}

pub async fn a_running_machine_stops(subject: Subject) {
    let subject = running(subject).await;
    let stopped = subject.provider.stop_vm(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(stopped, Ok(()));
    becomes(&subject, VmStatus::Stopped).await;
    assert_eq!(seen(&subject).await.run_strategy.as_deref(), Some("Halted"));
}

pub async fn a_restart_makes_a_new_instance(subject: Subject) {
    let subject = running(subject).await;
    let before = seen(&subject).await.vmi_uid;
    let restarted = subject.provider.restart_vm(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(restarted, Ok(()));
    let (subject, before) = (&subject, &before);
    eventually("another instance runs", move || async move {
        let now = seen(subject).await;
        now.condition == ObservedCondition::Is(VmStatus::Running) && now.vmi_uid.is_some() && now.vmi_uid != *before
    })
    .await;
}

pub async fn a_paused_machine_goes_on(subject: Subject) {
    let subject = running(subject).await;
    let before = seen(&subject).await.vmi_uid;
    let paused = subject.provider.pause_vm(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(paused, Ok(()));
    becomes(&subject, VmStatus::Paused).await;
    let unpaused = subject.provider.unpause_vm(CLUSTER, &subject.namespace, NAME).await;
    assert_eq!(unpaused, Ok(()));
    becomes(&subject, VmStatus::Running).await;
    assert_eq!(seen(&subject).await.vmi_uid, before, "it is still the same instance");
}

pub async fn an_action_that_does_not_fit_is_a_conflict(subject: Subject) {
    let subject = running(subject).await;
    let (provider, namespace) = (&subject.provider, subject.namespace.as_str());
    let outcome = provider.start_vm(CLUSTER, namespace, NAME).await;
    assert!(is_conflict(&outcome), "it runs already: {outcome:?}");
    let outcome = provider.unpause_vm(CLUSTER, namespace, NAME).await;
    assert!(is_conflict(&outcome), "it is not paused: {outcome:?}");
    assert_eq!(provider.stop_vm(CLUSTER, namespace, NAME).await, Ok(()));
    becomes(&subject, VmStatus::Stopped).await;
    let outcome = provider.stop_vm(CLUSTER, namespace, NAME).await;
    assert!(is_conflict(&outcome), "it is off already: {outcome:?}");
    let outcome = provider.restart_vm(CLUSTER, namespace, NAME).await;
    assert!(is_conflict(&outcome), "it is off: {outcome:?}");
}

pub async fn what_is_not_there_cannot_be_switched(subject: Subject) {
    let subject = with(subject, |plan| plan).await;
    let (provider, namespace) = (&subject.provider, subject.namespace.as_str());
    let outcome = provider.start_vm(CLUSTER, namespace, "nobody").await;
    assert!(matches!(outcome, Err(ProviderError::NotFound(_))), "{outcome:?}");
    let outcome = provider.pause_vm(CLUSTER, namespace, NAME).await;
    assert!(
        matches!(outcome, Err(ProviderError::NotFound(_))),
        "a stopped machine has no instance: {outcome:?}"
    );
}

pub async fn power_without_rights_is_forbidden(subject: Subject) {
    let subject = with(subject, |plan| plan).await.for_somebody_else();
    let (provider, namespace) = (&subject.provider, subject.namespace.as_str());
    for outcome in [
        provider.start_vm(CLUSTER, namespace, NAME).await,
        provider.pause_vm(CLUSTER, namespace, NAME).await,
    ] {
        assert!(matches!(outcome, Err(ProviderError::Forbidden(_))), "{outcome:?}");
    }
}
