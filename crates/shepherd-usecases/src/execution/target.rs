//! The objects an operation deals with: the machine of its row, and what it makes beside it.

use std::collections::BTreeMap;

use shepherd_domain::ids::TicketId;
use shepherd_domain::infrastructure::Marks;
use shepherd_domain::labels;
use shepherd_domain::naming::fqdn;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::ProviderError;
use shepherd_ports::vms::VmRecord;

use super::Failure;
use super::operation::Work;
use crate::Platform;

/// The machine on its cluster.
///
/// # Errors
/// Permanent when it is not there, or is somebody else's.
pub(super) async fn machine(
    platform: &Platform,
    vm: &VmRecord,
    cluster: &ClusterRecord,
    code: ErrorCode,
) -> Result<ObservedVm, Failure> {
    let found = platform
        .provider
        .get_vm(cluster.id, &vm.namespace, &vm.name)
        .await
        .map_err(|error| Failure::of_action(code, "machines", &cluster.name, &error))?;
    match found {
        Some(found) if is_ours(vm, &found) => Ok(found),
        Some(_) => Err(conflict(vm, cluster)),
        None => Err(missing(code, cluster)),
    }
}

/// Canonical YAML of the machine as it stands on its cluster.
///
/// # Errors
/// Permanent when it is not there.
pub(super) async fn manifest(
    platform: &Platform,
    vm: &VmRecord,
    cluster: &ClusterRecord,
    code: ErrorCode,
) -> Result<String, Failure> {
    let found = platform
        .provider
        .get_manifest(cluster.id, &vm.namespace, &vm.name)
        .await
        .map_err(|error| Failure::of_action(code, "machines", &cluster.name, &error))?;
    found
        .map(|manifest| manifest.yaml)
        .ok_or_else(|| missing(code, cluster))
}

fn missing(code: ErrorCode, cluster: &ClusterRecord) -> Failure {
    let why = "the machine does not exist on its cluster";
    Failure::Permanent(failed(code, cluster, "ObjectMissing"), why.to_owned())
}

/// Whether an object of the row's name is the row's: by its annotation, or because its uid is known.
pub(super) fn is_ours(vm: &VmRecord, found: &ObservedVm) -> bool {
    found.vm_id.as_deref() == Some(vm.id.to_string().as_str()) || vm.k8s_uid.as_deref() == Some(found.uid.as_str())
}

/// CLUSTER_OBJECT_CONFLICT: the name of the machine belongs to an object of somebody else.
pub(super) fn conflict(vm: &VmRecord, cluster: &ClusterRecord) -> Failure {
    let why = "an object of this name exists and was not made by this request";
    Failure::Permanent(object_conflict(vm, cluster), why.to_owned())
}

/// The same, for whoever asks.
pub(super) fn object_conflict(vm: &VmRecord, cluster: &ClusterRecord) -> Problem {
    Problem::new(ErrorCode::ClusterObjectConflict)
        .with("cluster", cluster.name.as_str())
        .with("namespace", vm.namespace.as_str())
        .with("name", vm.name.as_str())
}

/// A failure of the operation itself, with a machine reason.
pub(super) fn failed(code: ErrorCode, cluster: &ClusterRecord, reason: &str) -> Problem {
    Problem::new(code)
        .with("reason", reason)
        .with("cluster", cluster.name.as_str())
}

/// What the cluster says about a failure of its own; nothing will come of trying again.
pub(super) fn refused(code: ErrorCode, cluster: &ClusterRecord, why: &str) -> Failure {
    Failure::Permanent(failed(code, cluster, "Failed").with("k8s_reason", why), why.to_owned())
}

/// Whether an error of a power action says that the machine is on its way already, or has moved meanwhile.
pub(super) fn is_under_way(error: &ProviderError) -> bool {
    match error {
        ProviderError::Conflict(_) | ProviderError::NotFound(_) => true,
        ProviderError::AlreadyExists(_)
        | ProviderError::Forbidden(_)
        | ProviderError::Invalid { .. }
        | ProviderError::Quota(_)
        | ProviderError::Throttled { .. }
        | ProviderError::Timeout(_)
        | ProviderError::Unreachable(_)
        | ProviderError::Unsupported(_)
        | ProviderError::Schema(_)
        | ProviderError::Unavailable(_) => false,
    }
}

/// The name of an object that a ticket makes: the same in every attempt, and a DNS label.
pub(super) fn object_name(kind: &str, ticket: TicketId) -> String {
    format!("{kind}-{ticket}")
}

/// The marks of an object that a ticket makes for a machine.
pub(super) fn object_marks(work: &Work, vm: &VmRecord) -> Marks {
    Marks {
        labels: machine_labels(vm, Some(&work.ticket.number), work),
        annotations: BTreeMap::from([
            (labels::EVENT.to_owned(), work.event.id.to_string()),
            (labels::VM.to_owned(), vm.id.to_string()),
        ]),
    }
}

/// The labels of a machine; `ticket` is the number of the ticket that created it.
pub(super) fn machine_labels(vm: &VmRecord, ticket: Option<&str>, work: &Work) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
        (labels::SYSTEM.to_owned(), vm.system_name.clone()),
        (labels::SERVICE.to_owned(), vm.service_name.clone()),
        (labels::INSTANCE.to_owned(), vm.instance.clone()),
        (labels::HOSTNAME.to_owned(), vm.name.clone()),
    ]);
    if let Some(ticket) = ticket {
        all.insert(labels::TICKET.to_owned(), ticket.to_owned());
    }
    // A component of the platform is no label value.
    if let Some(owner) = vm.created_by.as_user().or(work.ticket.requester_id.as_user()) {
        all.insert(labels::CREATED_BY.to_owned(), owner.to_string());
    }
    all
}

/// The annotations every machine has whatever made it.
pub(super) fn machine_annotations(vm: &VmRecord) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::FQDN.to_owned(), fqdn(&vm.name, &vm.namespace)),
        (labels::VM.to_owned(), vm.id.to_string()),
    ])
}
