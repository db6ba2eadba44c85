//! What operations on existing machines have in common: whether they are accepted, at submission, at approval and in
//! the transaction that approves.

use serde_json::Value;
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::spec::{CloneTarget, OperationPayload, SnapshotTarget};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::snapshots::SnapshotRecord;
use shepherd_ports::vms::VmRecord;

use super::create_vm::{check_namespace, stored};
use super::operation::{Placed, required, vm_not_found};
use crate::approval::approve::Choice;
use crate::cluster::gate;
use crate::{Platform, UseCaseError};

/// Checks a decision. The cluster is fixed: an empty or equal choice is accepted.
pub(super) async fn place(
    platform: &Platform,
    request: RequestType,
    payload: &Value,
    choice: &Choice,
) -> Result<Placed, UseCaseError> {
    let wanted: OperationPayload = stored(payload, "payload")?;
    let found = platform.read.get_vm(wanted.vm_id).await?;
    let vm = found.ok_or_else(|| vm_not_found(wanted.vm_id))?;
    if choice.cluster.is_some_and(|cluster| cluster != vm.cluster_id) {
        return Err(Problem::invalid_field("selected_cluster_id", FieldCode::UnknownValue).into());
    }
    check(platform, request, &vm, wanted).await
}

/// Checks a request about a machine, with no transaction open.
///
/// # Errors
/// The first of: CAPABILITY_NOT_SUPPORTED (switched off), INVALID_STATE_TRANSITION, CLUSTER_UNHEALTHY,
/// CLUSTER_REBUILDING, CLUSTER_DEGRADED, CAPABILITY_NOT_SUPPORTED (not served), and what only one operation asks.
pub(crate) async fn check(
    platform: &Platform,
    request: RequestType,
    vm: &VmRecord,
    wanted: OperationPayload,
) -> Result<Placed, UseCaseError> {
    let found = platform.read.get_cluster(vm.cluster_id).await?;
    let cluster = found.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, vm.cluster_id))?;
    check_feature(platform, request, &cluster)?;
    admit(vm, request)?;
    // As with machines: what is to be deleted waits for its cluster.
    if request != RequestType::DeleteSnapshot {
        gate::open(&cluster)?;
        check_served(request, &cluster)?;
    }
    if request == RequestType::MigrateVm {
        check_migratable(platform, vm, &cluster).await?;
    }
    if let Some(target) = &wanted.snapshot {
        check_snapshot(platform, request, vm, target).await?;
    }
    if let Some(target) = &wanted.clone {
        check_clone(platform, vm, target).await?;
    }
    Ok(Placed {
        cluster: cluster.id,
        vm_id: wanted.clone.as_ref().map_or(vm.id, |target| target.vm_id),
        storage_class: None,
        template: None,
        size: None,
        numbers: None,
        operation: Some(wanted),
        warnings: Vec::new(),
    })
}

/// Repeats the check of the machine's state inside the transaction, holding its row.
pub(super) async fn recheck(
    uow: &mut dyn UnitOfWork,
    request: RequestType,
    placed: &Placed,
) -> Result<(), UseCaseError> {
    let wanted = asked_for(placed)?;
    let found = uow.vms().hold(wanted.vm_id).await?;
    let vm = found.ok_or_else(|| vm_not_found(wanted.vm_id))?;
    admit(&vm, request)
}

/// What is asked of the machine.
pub(super) fn asked_for(placed: &Placed) -> Result<&OperationPayload, UseCaseError> {
    required(
        placed.operation.as_ref(),
        "an operation on a machine was placed without what is asked",
    )
}

/// INVALID_STATE_TRANSITION unless the request is accepted in the state of the row.
pub(super) fn admit(vm: &VmRecord, request: RequestType) -> Result<(), UseCaseError> {
    vm.status
        .admit(request)
        .map_err(|error| UseCaseError::invalid_transition("vm", &error))
}

/// The part of the product that a request belongs to, and its name; power belongs to all.
fn feature(request: RequestType) -> Option<&'static str> {
    match request {
        RequestType::SnapshotVm | RequestType::DeleteSnapshot | RequestType::RestoreVm => Some("snapshots"),
        RequestType::CloneVm => Some("clones"),
        RequestType::MigrateVm => Some("migrations"),
        RequestType::CreateVm
        | RequestType::ModifyVm
        | RequestType::DeleteVm
        | RequestType::StartVm
        | RequestType::StopVm
        | RequestType::RestartVm
        | RequestType::VncAccess
        | RequestType::BatchCreate
        | RequestType::BatchDelete
        | RequestType::BatchPower => None,
    }
}

fn not_supported(capability: &str, cluster: &ClusterRecord) -> Problem {
    Problem::new(ErrorCode::CapabilityNotSupported)
        .with("capability", capability)
        .with("cluster", cluster.name.as_str())
}

fn check_feature(platform: &Platform, request: RequestType, cluster: &ClusterRecord) -> Result<(), Problem> {
    let features = platform.settings().features;
    let Some(name) = feature(request) else { return Ok(()) };
    let on = match name {
        "snapshots" => features.snapshots,
        "clones" => features.clones,
        _ => features.migrations,
    };
    if on { Ok(()) } else { Err(not_supported(name, cluster)) }
}

fn check_served(request: RequestType, cluster: &ClusterRecord) -> Result<(), Problem> {
    let detected = &cluster.detected_capabilities;
    match feature(request) {
        Some(name @ "snapshots") if !detected.snapshot => Err(not_supported(name, cluster)),
        Some(name @ "clones") if !detected.clone => Err(not_supported(name, cluster)),
        Some(_) | None => Ok(()),
    }
}

/// The row does not say whether a machine can move, so its cluster is asked.
async fn check_migratable(platform: &Platform, vm: &VmRecord, cluster: &ClusterRecord) -> Result<(), UseCaseError> {
    let asked = platform.provider.get_vm(cluster.id, &vm.namespace, &vm.name).await;
    match asked {
        Ok(Some(found)) if found.live_migratable != Some(true) => Err(not_supported("live-migration", cluster).into()),
        // A machine that is not there is the business of the execution, which says so.
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(vm = %vm.name, cluster = %cluster.name, %error, "the cluster does not say whether a machine can move");
            Err(Problem::new(ErrorCode::ClusterUnreachable)
                .with("cluster", cluster.name.as_str())
                .into())
        }
    }
}

async fn check_snapshot(
    platform: &Platform,
    request: RequestType,
    vm: &VmRecord,
    target: &SnapshotTarget,
) -> Result<(), UseCaseError> {
    if request == RequestType::SnapshotVm {
        let taken = platform.read.snapshots_of(vm.id).await?;
        return match taken.iter().find(|snapshot| snapshot.name == target.name) {
            Some(_) => Err(name_exists(&target.name).into()),
            None => Ok(()),
        };
    }
    let found = platform.read.get_snapshot(target.id).await?;
    let snapshot = found.filter(|snapshot| snapshot.vm_id == vm.id);
    let snapshot = snapshot.ok_or_else(|| Problem::not_found(ErrorCode::SnapshotNotFound, target.id))?;
    if request == RequestType::RestoreVm {
        check_ready(&snapshot)?;
    }
    Ok(())
}

/// SNAPSHOT_NAME_EXISTS.
pub(super) fn name_exists(name: &str) -> Problem {
    Problem::new(ErrorCode::SnapshotNameExists).with("name", name)
}

/// INVALID_STATE_TRANSITION unless the snapshot can be restored from.
pub(super) fn check_ready(snapshot: &SnapshotRecord) -> Result<(), Problem> {
    if snapshot.ready {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::InvalidStateTransition)
        .with("entity", "snapshot")
        .with("current_status", "NOT_READY")
        .with("operation", RequestType::RestoreVm.operation_type())
        .with("allowed", vec!["READY"]))
}

/// A clone is a new machine: its namespace must take new ones, and its Service must be there.
async fn check_clone(platform: &Platform, vm: &VmRecord, target: &CloneTarget) -> Result<(), UseCaseError> {
    let facts = platform.read.clone_facts(target.service_id, &vm.namespace).await?;
    check_namespace(facts.namespace, &vm.namespace)?;
    match facts.service {
        Some(_) => Ok(()),
        None => Err(Problem::not_found(ErrorCode::ServiceNotFound, target.service_id).into()),
    }
}
