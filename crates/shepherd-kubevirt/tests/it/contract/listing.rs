//! Listing machines.

use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use shepherd_domain::infrastructure::VmPage;
use shepherd_domain::labels;
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ListOptions, ProviderError};

use crate::documents::Plan;
use crate::lab::{CLUSTER, Subject};

const NAMES: [&str; 5] = ["web-01", "web-02", "web-03", "web-04", "web-05"];

async fn apply(subject: &Subject, name: &str) {
    let document = Plan::new(&subject.namespace, name).document();
    subject
        .provider
        .apply_vm(CLUSTER, &document, ApplyMode::Persist)
        .await
        .expect("the document can be applied");
}

async fn with_five(subject: Subject) -> Subject {
    let subject = subject.with_namespace().await;
    join_all(NAMES.map(|name| apply(&subject, name))).await;
    subject
}

fn here(subject: &Subject) -> ListOptions {
    ListOptions {
        namespace: Some(subject.namespace.clone()),
        ..ListOptions::default()
    }
}

async fn list(subject: &Subject, options: &ListOptions) -> VmPage {
    let page = subject.provider.list_vms(CLUSTER, options).await;
    page.expect("machines can be listed")
}

fn names(page: &VmPage) -> Vec<&str> {
    page.items.iter().map(|item| item.vm.name.as_str()).collect()
}

pub async fn pages_hold_every_machine_once(subject: Subject) {
    let subject = with_five(subject).await;
    let mut options = here(&subject);
    options.limit = Some(2);
    let mut found = Vec::new();
    let mut versions = Vec::new();
    loop {
        let page = list(&subject, &options).await;
        assert!((1..=2).contains(&page.items.len()), "{page:?}");
        found.extend(names(&page).into_iter().map(str::to_owned));
        versions.push(page.resource_version);
        options.continue_token = page.continue_token;
        if options.continue_token.is_none() {
            break;
        }
    }
    assert_eq!(found, NAMES);
    assert_eq!(versions.len(), 3);
    assert!(
        versions
            .iter()
            .all(|version| version.is_some() && *version == versions[0]),
        "all pages are of one state: {versions:?}"
    );
}

pub async fn a_continue_token_can_be_used_twice(subject: Subject) {
    let subject = with_five(subject).await;
    let mut options = here(&subject);
    options.limit = Some(2);
    options.continue_token = list(&subject, &options).await.continue_token;
    let (first, second) = (list(&subject, &options).await, list(&subject, &options).await);
    assert_eq!(names(&first), ["web-03", "web-04"]);
    assert_eq!(names(&second), names(&first));
}

pub async fn later_pages_do_not_see_later_changes(subject: Subject) {
    let subject = with_five(subject).await;
    let mut options = here(&subject);
    options.limit = Some(4);
    options.continue_token = list(&subject, &options).await.continue_token;
    apply(&subject, "web-06").await;
    assert_eq!(names(&list(&subject, &options).await), ["web-05"]);
    assert_eq!(list(&subject, &here(&subject)).await.items.len(), 6);
}

pub async fn selectors_narrow_a_list(subject: Subject) {
    let subject = with_five(subject).await;
    let mut foreign = Plan::new(&subject.namespace, "foreign").document().object;
    foreign["metadata"]["labels"] = json!({"app": "theirs"});
    subject
        .machines()
        .patch("foreign", &PatchParams::apply("somebody-else"), &Patch::Apply(&foreign))
        .await
        .expect("somebody else may apply");
    assert_eq!(list(&subject, &here(&subject)).await.items.len(), 6);

    let mut ours = here(&subject);
    ours.label_selector = Some(format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    assert_eq!(names(&list(&subject, &ours).await), NAMES);

    let mut theirs = here(&subject);
    theirs.label_selector = Some(format!("!{}", labels::MANAGED_BY));
    let found = list(&subject, &theirs).await;
    assert_eq!(names(&found), ["foreign"]);
    assert_eq!(found.items[0].labels.get("app").map(String::as_str), Some("theirs"));
    assert!(!found.items[0].vm.managed);

    let mut one = here(&subject);
    one.field_selector = Some("metadata.name=web-03".to_owned());
    assert_eq!(names(&list(&subject, &one).await), ["web-03"]);
}

pub async fn a_list_of_the_cluster_spans_namespaces(subject: Subject) {
    let subject = subject.with_namespace().await;
    apply(&subject, NAMES[0]).await;
    let everywhere = ListOptions {
        label_selector: Some(format!("{}={}", labels::MANAGED_BY, labels::MANAGER)),
        ..ListOptions::default()
    };
    let found = list(&subject, &everywhere).await;
    assert!(
        found.items.iter().any(|item| item.vm.namespace == subject.namespace),
        "{found:?}"
    );
}

pub async fn a_namespace_without_machines_lists_none(subject: Subject) {
    let page = list(&subject, &here(&subject)).await;
    assert!(page.items.is_empty() && page.continue_token.is_none(), "{page:?}");
}

pub async fn a_token_that_is_none_is_invalid(subject: Subject) {
    let mut options = here(&subject);
    options.limit = Some(2);
    options.continue_token = Some("nonsense".to_owned());
    let refusal = subject.provider.list_vms(CLUSTER, &options).await;
    assert!(matches!(refusal, Err(ProviderError::Invalid { .. })), "{refusal:?}");
}

pub async fn a_list_without_rights_is_forbidden(subject: Subject) {
    let subject = subject.for_somebody_else();
    let refusal = subject.provider.list_vms(CLUSTER, &here(&subject)).await;
    assert!(matches!(refusal, Err(ProviderError::Forbidden(_))), "{refusal:?}");
}
