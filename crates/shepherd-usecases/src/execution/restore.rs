//! RESTORE_VM: a stopped machine becomes what one of its snapshots holds.

use async_trait::async_trait;
use shepherd_domain::infrastructure::Marks;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::{ObservedCondition, VmStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::RestoreRequest;

use super::operation::{Done, Operation, Work, named, required};
use super::patience::Patience;
use super::power::not_allowed;
use super::steps::{self, Step};
use super::{Failure, create_vm, existing, revalidate, snapshot, target};
use crate::{Platform, UseCaseError};

const CODE: ErrorCode = ErrorCode::VmRestoreFailed;
/// What a cluster lacks that does not serve it.
const CAPABILITY: &str = "snapshots";

/// The operation.
pub(super) struct RestoreVm;

#[async_trait]
impl Operation for RestoreVm {
    named!(RestoreVm: VmRestoreRequested, VmRestoreCompleted, VmRestoreFailed; VmRestoreSubmitted, VmRestore, VmRestoreFailed);

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        let name = target::object_name("restore", work.ticket.id);
        let namespace = &work.vm.namespace;
        let patience = Patience::new();
        loop {
            let seen = platform
                .snapshots
                .get_restore(cluster.id, namespace, &name)
                .await
                .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
            match seen {
                Some(seen) if seen.complete => break,
                Some(seen) => {
                    if let Some(why) = seen.error {
                        return Err(target::refused(CODE, &cluster, &why));
                    }
                }
                None => ask(platform, work, &cluster, &name).await?,
            }
            patience
                .pause(platform, target::failed(CODE, &cluster, "NotComplete"))
                .await?;
        }
        steps::reach(platform, Step::Restored).await;
        mark(platform, work, &cluster).await
    }

    /// A restored machine is another one than it was: what it is now is kept as a revision.
    async fn succeed(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        done: &Done,
    ) -> Result<(), UseCaseError> {
        let yaml = required(done.manifest.as_deref(), "a restore ended without a machine")?;
        create_vm::add_revision(platform, uow, work, yaml).await
    }
}

/// Asks for the restore; the machine must be off, on the cluster and not only by its row.
async fn ask(platform: &Platform, work: &Work, cluster: &ClusterRecord, name: &str) -> Result<(), Failure> {
    let found = snapshot::find(platform, work).await?;
    let snapshot = found.ok_or_else(|| not_found(work))?;
    existing::check_ready(&snapshot).map_err(UseCaseError::from)?;
    let seen = target::machine(platform, &work.vm, cluster, CODE).await?;
    if seen.condition != ObservedCondition::Is(VmStatus::Stopped) {
        return Err(not_allowed(&seen, RequestType::RestoreVm).into());
    }
    let request = RestoreRequest {
        namespace: work.vm.namespace.clone(),
        name: name.to_owned(),
        vm: work.vm.name.clone(),
        snapshot: snapshot.k8s_name,
        marks: target::object_marks(work, &work.vm),
    };
    platform
        .snapshots
        .restore_from_snapshot(cluster.id, &request)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    steps::reach(platform, Step::RestoreAsked).await;
    Ok(())
}

fn not_found(work: &Work) -> Failure {
    let id = work.event.payload.pointer("/snapshot/id").and_then(|id| id.as_str());
    let problem = Problem::not_found(ErrorCode::SnapshotNotFound, id.unwrap_or_default());
    Failure::Permanent(problem, "the snapshot is gone".to_owned())
}

/// A snapshot brings the labels of its time along; the platform's are laid over them and all others go.
async fn mark(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<Done, Failure> {
    let seen = target::machine(platform, &work.vm, cluster, CODE).await?;
    let created_by = match work.vm.ticket_id {
        Some(ticket) => platform.read.get_ticket(ticket).await?,
        None => None,
    };
    let number = created_by.as_ref().map(|ticket| ticket.number.as_str());
    let marks = Marks {
        labels: target::machine_labels(&work.vm, number, work),
        annotations: target::machine_annotations(&work.vm),
    };
    platform
        .provider
        .mark_vm(cluster.id, &work.vm.namespace, &work.vm.name, &seen.uid, &marks)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    Ok(Done {
        uid: Some(seen.uid),
        document: None,
        manifest: Some(target::manifest(platform, &work.vm, cluster, CODE).await?),
    })
}
