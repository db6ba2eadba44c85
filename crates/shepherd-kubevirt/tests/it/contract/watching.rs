//! Watching machines.

use kube::api::{Patch, PatchParams};
use shepherd_domain::vm::{ObservedCondition, VmStatus};
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, VmWatchEvent};

use crate::documents::Plan;
use crate::lab::{CLUSTER, Subject, until};

const NAME: &str = "web-01";

async fn apply(subject: &Subject) -> String {
    let document = Plan::new(&subject.namespace, NAME).document();
    subject
        .provider
        .apply_vm(CLUSTER, &document, ApplyMode::Persist)
        .await
        .expect("the document can be applied")
        .uid
}

fn is_listed(event: &VmWatchEvent) -> bool {
    *event == VmWatchEvent::Listed
}

/// Whether an event tells of the machine of this case.
fn tells_of(subject: &Subject, event: &VmWatchEvent) -> bool {
    match event {
        VmWatchEvent::InList(vm) | VmWatchEvent::Changed(vm) => vm.namespace == subject.namespace,
        VmWatchEvent::Deleted { namespace, .. } => *namespace == subject.namespace,
        VmWatchEvent::Expired | VmWatchEvent::ListBegins | VmWatchEvent::Listed | VmWatchEvent::Resumed => false,
    }
}

pub async fn a_watch_lists_what_is_there(subject: Subject) {
    let subject = subject.with_namespace().await;
    let uid = apply(&subject).await;
    let mut reports = subject.watch().await;
    let seen = until(&mut reports, is_listed).await;
    assert_eq!(seen.first(), Some(&Ok(VmWatchEvent::ListBegins)));
    assert!(
        seen.iter()
            .any(|report| matches!(report, Ok(VmWatchEvent::InList(vm)) if vm.uid == uid)),
        "{seen:?}"
    );
}

pub async fn a_watch_reports_what_appears(subject: Subject) {
    let subject = subject.with_namespace().await;
    let mut reports = subject.watch().await;
    until(&mut reports, is_listed).await;
    let uid = apply(&subject).await;
    until(
        &mut reports,
        |event| matches!(event, VmWatchEvent::Changed(vm) if vm.uid == uid && vm.managed),
    )
    .await;
}

pub async fn a_watch_ignores_the_machines_of_others(subject: Subject) {
    let subject = subject.with_namespace().await;
    let mut foreign = Plan::new(&subject.namespace, "foreign").document().object;
    foreign["metadata"]["labels"] = serde_json::json!({"app": "theirs"});
    let params = PatchParams::apply("somebody-else");
    subject
        .machines()
        .patch("foreign", &params, &Patch::Apply(&foreign))
        .await
        .expect("somebody else may apply");
    let mut reports = subject.watch().await;
    let seen = until(&mut reports, is_listed).await;
    assert!(
        !seen.iter().flatten().any(|event| tells_of(&subject, event)),
        "{seen:?}"
    );
}

pub async fn a_watch_reports_what_goes(subject: Subject) {
    let subject = subject.with_namespace().await;
    let wanted = apply(&subject).await;
    let mut reports = subject.watch().await;
    until(&mut reports, is_listed).await;
    subject
        .provider
        .delete_vm(CLUSTER, &subject.namespace, NAME, Some(&wanted))
        .await
        .expect("the machine can be deleted");
    until(
        &mut reports,
        |event| matches!(event, VmWatchEvent::Deleted { uid, .. } if *uid == wanted),
    )
    .await;
}

pub async fn a_watch_tells_where_a_machine_runs(subject: Subject) {
    let subject = subject.with_namespace().await;
    let mut reports = subject.watch().await;
    until(&mut reports, is_listed).await;
    let plan = Plan::new(&subject.namespace, NAME).running();
    let uid = subject.apply(&plan).await.uid;
    until(&mut reports, |event| {
        matches!(event, VmWatchEvent::Changed(vm) if vm.uid == uid
            && vm.condition == ObservedCondition::Is(VmStatus::Running)
            && vm.node.is_some()
            && vm.vmi_uid.is_some()
            && vm.live_migratable.is_some())
    })
    .await;
}
