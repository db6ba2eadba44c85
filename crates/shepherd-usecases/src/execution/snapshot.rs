//! SNAPSHOT_VM and DELETE_SNAPSHOT.

use async_trait::async_trait;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_domain::spec::{OperationPayload, SnapshotTarget};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::VmStatus;
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::SnapshotRequest;
use shepherd_ports::snapshots::{NewSnapshot, SnapshotRecord};
use shepherd_ports::tickets::TicketRecord;

use super::create_vm::stored;
use super::operation::{Done, Operation, Placed, Work, named, required};
use super::patience::Patience;
use super::steps::{self, Step};
use super::{Failure, existing, revalidate, target};
use crate::{Platform, UseCaseError};

const CODE: ErrorCode = ErrorCode::VmSnapshotFailed;
/// What a cluster lacks that does not serve it.
const CAPABILITY: &str = "snapshots";

/// A snapshot is taken. Its row is there from the approval on, so that its name is.
pub(super) struct SnapshotVm;

#[async_trait]
impl Operation for SnapshotVm {
    named!(SnapshotVm: VmSnapshotRequested, VmSnapshotCompleted, VmSnapshotFailed; VmSnapshotSubmitted, VmSnapshot, VmSnapshotFailed);

    async fn effects(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        let target = target_of(existing::asked_for(placed)?)?;
        let snapshot = NewSnapshot {
            id: target.id,
            vm_id: placed.vm_id,
            name: target.name.clone(),
            k8s_name: target::object_name("snapshot", ticket.id),
            ticket_id: ticket.id,
            created_by: ticket.requester_id.clone(),
        };
        match uow.snapshots().insert(&snapshot).await {
            Err(error) if error.is_unique("uq_vm_snapshots_name") => Err(existing::name_exists(&target.name).into()),
            outcome => Ok(outcome?),
        }
    }

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        let Some(snapshot) = find(platform, work).await? else {
            return Err(Failure::TargetGone);
        };
        ask(platform, work, &cluster, &snapshot).await?;
        let patience = Patience::new();
        loop {
            let seen = platform
                .snapshots
                .get_snapshot(cluster.id, &work.vm.namespace, &snapshot.k8s_name)
                .await
                .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
            match seen {
                Some(seen) if seen.ready => return Ok(Done::default()),
                Some(seen) => {
                    if let Some(why) = seen.error {
                        return Err(target::refused(CODE, &cluster, &why));
                    }
                }
                None => return Err(gone(&cluster)),
            }
            patience
                .pause(platform, target::failed(CODE, &cluster, "NotReady"))
                .await?;
        }
    }

    async fn succeed(
        &self,
        _platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        _done: &Done,
    ) -> Result<(), UseCaseError> {
        let payload = payload_of(work)?;
        uow.snapshots().settle(target_of(&payload)?.id, true, None).await?;
        Ok(())
    }

    async fn give_up(
        &self,
        _platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        problem: &Problem,
    ) -> Result<(), UseCaseError> {
        let payload = payload_of(work)?;
        let why = reason_of(problem);
        uow.snapshots()
            .settle(target_of(&payload)?.id, false, Some(&why))
            .await?;
        Ok(())
    }
}

/// A snapshot is deleted, from the cluster first.
pub(super) struct DeleteSnapshot;

#[async_trait]
impl Operation for DeleteSnapshot {
    named!(DeleteSnapshot: VmSnapshotDeleteRequested, VmSnapshotDeleteCompleted, VmSnapshotDeleteFailed; VmSnapshotDeleteSubmitted, VmSnapshotDelete, VmSnapshotDeleteFailed);

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        let Some(snapshot) = find(platform, work).await? else {
            return Ok(Done::default());
        };
        ask_to_delete(platform, &cluster, &work.vm.namespace, &snapshot, CODE).await?;
        steps::reach(platform, Step::SnapshotDeletionAsked).await;
        let patience = Patience::new();
        loop {
            let seen = platform
                .snapshots
                .get_snapshot(cluster.id, &work.vm.namespace, &snapshot.k8s_name)
                .await
                .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
            if seen.is_none() {
                return Ok(Done::default());
            }
            patience
                .pause(platform, target::failed(CODE, &cluster, "StillTerminating"))
                .await?;
        }
    }

    async fn succeed(
        &self,
        _platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        _done: &Done,
    ) -> Result<(), UseCaseError> {
        let payload = payload_of(work)?;
        uow.snapshots().delete(target_of(&payload)?.id).await?;
        Ok(())
    }
}

/// Asks for a snapshot unless it was asked for; what was asked for and is gone is not taken again, because the machine
/// has gone on since.
async fn ask(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    snapshot: &SnapshotRecord,
) -> Result<(), Failure> {
    if snapshot.k8s_uid.is_some() {
        return Ok(());
    }
    if work.vm.status == VmStatus::Deleting {
        let refused = work.vm.status.admit(RequestType::SnapshotVm);
        return refused.map_err(|error| UseCaseError::invalid_transition("vm", &error).into());
    }
    target::machine(platform, &work.vm, cluster, CODE).await?;
    let request = SnapshotRequest {
        namespace: work.vm.namespace.clone(),
        name: snapshot.k8s_name.clone(),
        vm: work.vm.name.clone(),
        marks: target::object_marks(work, &work.vm),
    };
    let asked = platform
        .snapshots
        .create_snapshot(cluster.id, &request)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    steps::reach(platform, Step::SnapshotAsked).await;
    let mut uow = platform.begin().await?;
    uow.snapshots().note_object(snapshot.id, &asked.uid).await?;
    uow.commit().await?;
    steps::reach(platform, Step::SnapshotNoted).await;
    Ok(())
}

/// Deletes the object of a snapshot. Absence is success.
pub(super) async fn ask_to_delete(
    platform: &Platform,
    cluster: &ClusterRecord,
    namespace: &str,
    snapshot: &SnapshotRecord,
    code: ErrorCode,
) -> Result<(), Failure> {
    platform
        .snapshots
        .delete_snapshot(cluster.id, namespace, &snapshot.k8s_name, snapshot.k8s_uid.as_deref())
        .await
        .map_err(|error| Failure::of_action(code, CAPABILITY, &cluster.name, &error))
}

fn gone(cluster: &ClusterRecord) -> Failure {
    let why = "somebody else deleted the snapshot";
    Failure::Permanent(target::failed(CODE, cluster, "ObjectMissing"), why.to_owned())
}

/// What a row tells about a failure.
pub(super) fn reason_of(problem: &Problem) -> String {
    redact_and_truncate(&problem.to_string(), 512)
}

/// What was asked for.
pub(super) fn payload_of(work: &Work) -> Result<OperationPayload, UseCaseError> {
    stored(&work.event.payload, "payload")
}

/// The snapshot it is about.
pub(super) fn target_of(payload: &OperationPayload) -> Result<&SnapshotTarget, UseCaseError> {
    required(payload.snapshot.as_ref(), "a request about a snapshot does not name it")
}

/// Its row.
pub(super) async fn find(platform: &Platform, work: &Work) -> Result<Option<SnapshotRecord>, UseCaseError> {
    let payload = payload_of(work)?;
    Ok(platform.read.get_snapshot(target_of(&payload)?.id).await?)
}
