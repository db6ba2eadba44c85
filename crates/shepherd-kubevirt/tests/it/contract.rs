//! What a provider promises on any cluster: one table of named cases.

mod applying;
mod connecting;
mod deleting;
mod namespaces;
mod watching;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::lab::{Lab, Subject};

/// Longest time of a case.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

/// What a case needs of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// An API server with the resource definitions.
    Api,
    /// Controllers that act on objects: KubeVirt's and the garbage collector.
    Controllers,
    /// A user who may do nothing.
    Restricted,
    /// A server that refuses unknown fields when asked to; older ones do not know the request.
    StrictFields,
}

struct Case {
    name: &'static str,
    need: Need,
    run: fn(Subject) -> BoxFuture<'static, ()>,
}

macro_rules! cases {
    ($($need:ident $module:ident::$name:ident),+ $(,)?) => {
        &[$(Case { name: stringify!($name), need: Need::$need, run: |subject| Box::pin($module::$name(subject)) }),+]
    };
}

const CASES: &[Case] = cases![
    Api applying::an_apply_creates_the_machine,
    Api applying::a_created_machine_can_be_read,
    Api applying::an_absent_machine_is_none,
    Api applying::a_second_apply_changes_nothing,
    Api applying::a_changed_document_changes_the_machine,
    Api applying::an_apply_takes_back_what_others_changed,
    Api applying::a_label_that_is_no_longer_sent_goes,
    Api applying::a_dry_run_stores_nothing,
    Api applying::a_dry_run_leaves_a_machine_as_it_is,
    StrictFields applying::a_dry_run_refuses_like_an_apply,
    Api applying::a_missing_namespace_is_not_found,
    StrictFields applying::an_unknown_field_is_invalid,
    Api applying::a_missing_field_is_invalid_and_named,
    Api applying::a_document_without_a_name_goes_nowhere,
    Api applying::the_document_comes_back_unpruned,
    Api applying::labels_are_on_everything,
    Api applying::the_secret_belongs_to_the_machine,
    Api applying::concurrent_applies_make_one_machine,
    Api deleting::an_absent_machine_is_deleted,
    Api deleting::a_machine_in_an_absent_namespace_is_deleted,
    Api deleting::another_machine_of_the_name_stays,
    Api deleting::a_deletion_can_be_asked_for_twice,
    Controllers deleting::a_deleted_machine_goes,
    Api namespaces::a_namespace_is_made_once,
    Api namespaces::a_made_namespace_is_labelled,
    Api namespaces::an_absent_namespace_does_not_exist,
    Api namespaces::two_replicas_make_one_namespace,
    Api namespaces::a_name_the_cluster_refuses_is_invalid,
    Restricted connecting::credentials_without_rights_are_forbidden,
    Api connecting::a_server_that_is_not_there_is_unreachable,
    Api connecting::an_unknown_cluster_is_unavailable,
    Api connecting::rotated_credentials_are_used_at_once,
    Api connecting::a_removed_cluster_is_unavailable,
    Api connecting::a_probe_tells_the_version,
    Controllers connecting::a_probe_finds_kubevirt,
    Api watching::a_watch_lists_what_is_there,
    Api watching::a_watch_reports_what_appears,
    Api watching::a_watch_ignores_the_machines_of_others,
    Controllers watching::a_watch_reports_what_goes,
];

/// Runs every case the cluster is fit for, and fails with the names of those that failed.
pub async fn run(lab: &Lab) {
    let mut failed = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        if let Some(reason) = unfit(lab, case.need) {
            eprintln!("skipped {}: {reason}", case.name);
            continue;
        }
        let namespace = format!("contract-{index}-{}", std::process::id());
        let work = tokio::time::timeout(CASE_TIMEOUT, (case.run)(lab.subject(&namespace)));
        if !matches!(AssertUnwindSafe(work).catch_unwind().await, Ok(Ok(()))) {
            failed.push(case.name);
        }
        lab.clean(&namespace).await;
    }
    assert!(failed.is_empty(), "cases that failed: {failed:?}");
}

fn unfit(lab: &Lab, need: Need) -> Option<&'static str> {
    match need {
        Need::Api => None,
        Need::Controllers => (!lab.deployed).then_some("no KubeVirt is deployed, so nothing acts on objects"),
        Need::StrictFields => {
            (!lab.strict_fields).then_some("the server is older than 1.25 and ignores strict validation")
        }
        Need::Restricted => (!lab.has_restricted_user()).then_some("there is no user who may do nothing"),
    }
}
