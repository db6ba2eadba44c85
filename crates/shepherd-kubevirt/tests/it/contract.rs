//! What a provider promises on any cluster: one table of named cases.

mod applying;
mod cloning;
mod connecting;
mod consoles;
mod deleting;
mod documents;
mod instance_types;
mod listing;
mod manifests;
mod marking;
mod migrations;
mod modifying;
mod namespaces;
mod powering;
mod schemas;
mod snapshotting;
mod watching;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::lab::{Lab, Subject};

/// Longest time of a case. A real cluster may have to fetch the guest's image first.
const CASE_TIMEOUT: Duration = Duration::from_secs(300);
/// Fewest cases of the whole contract.
const FEWEST_CASES: usize = 60;

/// What a case needs of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// An API server with the resource definitions.
    Api,
    /// Controllers that act on objects: KubeVirt's and the garbage collector.
    Controllers,
    /// Power actions and consoles.
    Subresources,
    /// The snapshot group.
    Snapshots,
    /// The clone group.
    Clones,
    /// Migrations.
    Migrations,
    /// The group of instance types and preferences.
    InstanceTypes,
    /// Two nodes that can run machines.
    TwoNodes,
    /// A user who may do nothing.
    Restricted,
    /// A server that refuses unknown fields when asked to; older ones do not know the request.
    StrictFields,
}

struct Case {
    name: &'static str,
    needs: &'static [Need],
    run: fn(Subject) -> BoxFuture<'static, ()>,
}

macro_rules! cases {
    ($($($need:ident)|+ $module:ident::$name:ident),+ $(,)?) => {
        &[$(Case {
            name: stringify!($name),
            needs: &[$(Need::$need),+],
            run: |subject| Box::pin($module::$name(subject)),
        }),+]
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
    Api documents::golden_documents_come_back_unpruned,
    StrictFields documents::a_checksum_is_kept_or_refused,
    Api deleting::an_absent_machine_is_deleted,
    Api deleting::a_machine_in_an_absent_namespace_is_deleted,
    Api deleting::another_machine_of_the_name_stays,
    Api deleting::a_deletion_can_be_asked_for_twice,
    Controllers deleting::a_deleted_machine_goes,
    Api namespaces::a_namespace_is_made_once,
    Api namespaces::the_event_that_made_a_namespace_is_known_again,
    Api namespaces::a_made_namespace_is_labelled,
    Api namespaces::an_absent_namespace_does_not_exist,
    Api namespaces::two_replicas_make_one_namespace,
    Api namespaces::a_name_the_cluster_refuses_is_invalid,
    Restricted connecting::credentials_without_rights_are_forbidden,
    Api schemas::a_cluster_tells_what_machines_are_made_of,
    Api schemas::a_cluster_knows_what_the_product_knows,
    Api schemas::rendered_documents_follow_the_schema,
    Restricted schemas::the_schema_without_rights_is_forbidden,
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
    Controllers watching::a_watch_tells_where_a_machine_runs,
    Api connecting::expired_credentials_are_forbidden,
    Subresources|Restricted connecting::consoles_need_rights,
    InstanceTypes instance_types::instance_types_of_a_namespace_are_listed,
    InstanceTypes instance_types::instance_types_of_the_cluster_are_listed,
    InstanceTypes instance_types::preferences_of_a_namespace_are_listed,
    InstanceTypes instance_types::preferences_of_the_cluster_are_listed,
    InstanceTypes instance_types::an_absent_namespace_has_no_instance_types,
    Migrations migrations::an_absent_migration_is_none,
    Migrations migrations::a_migration_can_be_read,
    Migrations migrations::a_migration_is_made_once_per_event,
    Migrations migrations::a_migration_of_another_event_is_not_ours,
    Migrations migrations::migrations_of_one_machine_are_listed,
    Migrations migrations::a_migration_can_be_called_off_twice,
    Migrations|Controllers migrations::a_machine_that_does_not_run_is_not_moved,
    Migrations|Controllers|TwoNodes migrations::a_moved_machine_runs_elsewhere,
    Controllers|Subresources consoles::a_screen_greets,
    Controllers|Subresources consoles::a_serial_line_can_be_opened,
    Controllers|Subresources consoles::a_second_viewer_is_let_in,
    Controllers|Subresources consoles::a_dropped_screen_can_be_opened_again,
    Controllers|Subresources consoles::a_stopped_machine_has_no_consoles,
    Controllers|Subresources consoles::an_unknown_machine_has_no_consoles,
    Controllers|Subresources consoles::a_console_ends_with_its_machine,
    Controllers|Subresources powering::a_stopped_machine_starts,
    Controllers|Subresources powering::a_running_machine_stops,
    Controllers|Subresources powering::a_restart_makes_a_new_instance,
    Controllers|Subresources powering::a_paused_machine_goes_on,
    Controllers|Subresources powering::an_action_that_does_not_fit_is_a_conflict,
    Subresources powering::what_is_not_there_cannot_be_switched,
    Subresources|Restricted powering::power_without_rights_is_forbidden,
    Api listing::pages_hold_every_machine_once,
    Api listing::a_continue_token_can_be_used_twice,
    Api listing::later_pages_do_not_see_later_changes,
    Api listing::selectors_narrow_a_list,
    Api listing::a_list_of_the_cluster_spans_namespaces,
    Api listing::a_namespace_without_machines_lists_none,
    Api listing::a_token_that_is_none_is_invalid,
    Restricted listing::a_list_without_rights_is_forbidden,
    Api manifests::a_manifest_holds_what_was_applied,
    Api manifests::a_manifest_tells_the_numbers,
    Api manifests::a_manifest_changes_with_the_machine_only,
    Api manifests::an_absent_machine_has_no_manifest,
    Restricted manifests::a_manifest_without_rights_is_forbidden,
    Api marking::a_mark_replaces_foreign_labels,
    Api marking::a_mark_changes_nothing_else,
    Api marking::a_mark_can_be_repeated,
    Api marking::another_machine_of_the_name_is_not_marked,
    Api marking::a_missing_machine_cannot_be_marked,
    Restricted marking::a_mark_without_rights_is_forbidden,
    Api modifying::a_modification_changes_the_machine,
    Api modifying::a_dry_run_of_a_modification_stores_nothing,
    Api modifying::another_machine_of_the_name_is_not_modified,
    Api modifying::a_missing_machine_is_not_made_by_a_modification,
    Api modifying::a_modification_keeps_the_volumes_of_the_machine,
    Controllers modifying::a_disk_grows_and_never_shrinks,
    Api modifying::a_missing_machine_has_no_disk_to_grow,
    Snapshots snapshotting::a_snapshot_is_made_once,
    Snapshots snapshotting::a_snapshot_of_another_event_is_in_the_way,
    Snapshots snapshotting::two_replicas_make_one_snapshot,
    Snapshots snapshotting::two_events_cannot_share_a_snapshot,
    Snapshots snapshotting::the_snapshot_comes_back_unpruned,
    Snapshots snapshotting::absent_snapshots_and_restores_are_none,
    Snapshots snapshotting::snapshots_are_listed_by_machine,
    Snapshots snapshotting::a_snapshot_can_be_deleted_twice,
    Snapshots snapshotting::another_snapshot_of_the_name_stays,
    Snapshots|Restricted snapshotting::snapshots_without_rights_are_forbidden,
    Snapshots|Controllers snapshotting::a_snapshot_becomes_ready,
    Snapshots|Controllers snapshotting::a_restore_takes_a_machine_back,
    Snapshots|Controllers snapshotting::a_restore_of_another_event_is_in_the_way,
    Clones cloning::a_clone_is_made_once,
    Clones cloning::a_clone_of_another_event_is_in_the_way,
    Clones cloning::the_clone_comes_back_unpruned,
    Clones cloning::an_absent_clone_is_none,
    Clones cloning::clones_are_listed_by_source,
    Clones|Restricted cloning::clones_without_rights_are_forbidden,
    Clones|Controllers cloning::a_machine_cannot_be_its_own_clone,
    Clones|Controllers cloning::a_copy_is_off_and_belongs_to_nobody,
    Snapshots|Clones|Controllers cloning::a_snapshot_can_be_cloned,
];

/// What became of the cases.
#[derive(Debug, Default)]
struct Summary {
    passed: Vec<&'static str>,
    /// By reason.
    skipped: BTreeMap<&'static str, Vec<&'static str>>,
    failed: Vec<&'static str>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped: usize = self.skipped.values().map(Vec::len).sum();
        write!(f, "{} passed, {skipped} skipped", self.passed.len())?;
        let reasons: Vec<String> = self
            .skipped
            .iter()
            .map(|(reason, names)| format!("{reason}: {}", names.join(", ")))
            .collect();
        if !reasons.is_empty() {
            write!(f, " ({})", reasons.join("; "))?;
        }
        if !self.failed.is_empty() {
            write!(f, ", {} failed", self.failed.len())?;
        }
        Ok(())
    }
}

/// Runs every case the cluster is fit for, and fails with the names of those that failed.
pub async fn run(lab: &Lab) {
    let first_failure_ends = std::env::var_os("SHEPHERD_CONFORMANCE_FIRST_FAILURE").is_some();
    let mut summary = Summary::default();
    for (index, case) in CASES.iter().enumerate() {
        if let Some(reason) = case.needs.iter().find_map(|need| unfit(lab, *need)) {
            eprintln!("skipped {}: {reason}", case.name);
            summary.skipped.entry(reason).or_default().push(case.name);
            continue;
        }
        let namespace = format!("contract-{index}-{}", std::process::id());
        let work = tokio::time::timeout(CASE_TIMEOUT, (case.run)(lab.subject(&namespace)));
        if matches!(AssertUnwindSafe(work).catch_unwind().await, Ok(Ok(()))) {
            summary.passed.push(case.name);
        } else {
            summary.failed.push(case.name);
        }
        lab.clean(&namespace).await;
        if first_failure_ends && !summary.failed.is_empty() {
            break;
        }
    }
    eprintln!("contract: {summary}");
    assert!(summary.failed.is_empty(), "cases that failed: {:?}", summary.failed);
}

fn unfit(lab: &Lab, need: Need) -> Option<&'static str> {
    let offer = &lab.offer;
    let (met, reason) = match need {
        Need::Api => return None,
        Need::Controllers => (offer.controllers, "no KubeVirt is deployed, so nothing acts on objects"),
        Need::Subresources => (
            offer.subresources,
            "the server has no subresources.kubevirt.io, so no power actions and no consoles",
        ),
        Need::Snapshots => (offer.snapshots, "snapshot.kubevirt.io is not served"),
        Need::Clones => (offer.clones, "clone.kubevirt.io is not served"),
        Need::Migrations => (offer.migrations, "virtualmachineinstancemigrations are not served"),
        Need::InstanceTypes => (offer.instance_types, "instancetype.kubevirt.io is not served"),
        Need::TwoNodes => (offer.two_nodes, "there are no two nodes that can run machines"),
        Need::StrictFields => (
            offer.strict_fields,
            "the server is older than 1.25 and ignores strict validation",
        ),
        Need::Restricted => (lab.has_restricted_user(), "there is no user who may do nothing"),
    };
    (!met).then_some(reason)
}

#[test]
fn the_contract_has_enough_cases_with_names_of_their_own() {
    assert!(CASES.len() >= FEWEST_CASES, "{} cases", CASES.len());
    let names: HashSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), CASES.len(), "reports name cases without their modules");
}

#[test]
fn the_summary_groups_what_was_skipped_by_reason() {
    let mut summary = Summary::default();
    assert_eq!(summary.to_string(), "0 passed, 0 skipped");
    summary.passed.push("one");
    summary.skipped.entry("no clones").or_default().extend(["two", "three"]);
    summary.skipped.entry("too old").or_default().push("four");
    assert_eq!(
        summary.to_string(),
        "1 passed, 3 skipped (no clones: two, three; too old: four)"
    );
    summary.failed.push("five");
    assert!(summary.to_string().ends_with(", 1 failed"));
}
