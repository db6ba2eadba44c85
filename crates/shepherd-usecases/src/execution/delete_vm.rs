//! DELETE_VM: from the decision until the object is gone.

use async_trait::async_trait;
use serde_json::Value;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::event::EventType;
use shepherd_domain::infrastructure::{ClonePhase, Marks};
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::{DELETE_FAILED, ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::ProviderError;
use shepherd_ports::tickets::TicketRecord;

use super::operation::{Done, Operation, Placed, Work, required, vm_not_found};
use super::patience::Patience;
use super::steps::{self, Step};
use super::{Failure, revalidate, snapshot, target};
use crate::approval::approve::Choice;
use crate::{Platform, UseCaseError};

const CODE: ErrorCode = ErrorCode::VmDeletionFailed;

/// The operation.
pub(super) struct DeleteVm;

#[async_trait]
impl Operation for DeleteVm {
    fn request_type(&self) -> RequestType {
        RequestType::DeleteVm
    }

    fn requested(&self) -> EventType {
        EventType::VmDeletionRequested
    }

    fn facts(&self) -> (EventType, EventType) {
        (EventType::VmDeletionCompleted, EventType::VmDeletionFailed)
    }

    fn submission_audit(&self) -> AuditAction {
        AuditAction::VmDeleteSubmitted
    }

    fn audits(&self) -> (AuditAction, AuditAction) {
        (AuditAction::VmDeleteExecuted, AuditAction::VmDeleteFailed)
    }

    fn approval_audit(&self) -> Option<AuditAction> {
        Some(AuditAction::VmDeleteApproved)
    }

    /// The cluster is fixed: an empty or equal choice is accepted. A sick cluster does not refuse: the job waits.
    async fn place(
        &self,
        platform: &Platform,
        ticket: &TicketRecord,
        _payload: &Value,
        choice: &Choice,
    ) -> Result<Placed, UseCaseError> {
        let vm_id = required(ticket.vm_id, "a delete ticket has no machine")?;
        let vm = platform.read.get_vm(vm_id).await?.ok_or_else(|| vm_not_found(vm_id))?;
        if choice.cluster.is_some_and(|cluster| cluster != vm.cluster_id) {
            return Err(Problem::invalid_field("selected_cluster_id", FieldCode::UnknownValue).into());
        }
        vm.status
            .delete(vm.ticket_failed)
            .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
        Ok(Placed {
            cluster: vm.cluster_id,
            vm_id,
            storage_class: None,
            template: None,
            size: None,
            numbers: None,
            operation: None,
            warnings: Vec::new(),
        })
    }

    async fn recheck(
        &self,
        _uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        _placed: &Placed,
    ) -> Result<(), UseCaseError> {
        // The state of the machine is the only one that matters, and the effect itself is conditional on it.
        Ok(())
    }

    async fn effects(
        &self,
        uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        let vm = uow
            .vms()
            .find(placed.vm_id)
            .await?
            .ok_or_else(|| vm_not_found(placed.vm_id))?;
        let step = vm
            .status
            .delete(vm.ticket_failed)
            .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
        if uow.vms().transition(placed.vm_id, step, None, None).await? {
            return Ok(());
        }
        let now = uow
            .vms()
            .find(placed.vm_id)
            .await?
            .ok_or_else(|| vm_not_found(placed.vm_id))?;
        Err(now.status.delete(now.ticket_failed).map_or_else(
            |error| UseCaseError::invalid_transition("vm", &error),
            // It moved between two states that can both be deleted from; the approver may simply try again.
            |_| Problem::new(ErrorCode::ServiceBusy).into(),
        ))
    }

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        delete_snapshots(platform, work, &cluster).await?;
        end_clone(platform, work, &cluster).await?;
        let Some(found) = look(platform, work, &cluster).await? else {
            return Ok(Done::default());
        };
        if found.condition != ObservedCondition::Is(VmStatus::Deleting) {
            platform
                .provider
                .delete_vm(cluster.id, &work.vm.namespace, &work.vm.name, Some(&found.uid))
                .await
                .map_err(|error| Failure::of_provider(CODE, &cluster.name, &error))?;
        }
        steps::reach(platform, Step::DeletionAsked).await;
        wait_until_gone(platform, work, &cluster).await?;
        steps::reach(platform, Step::Gone).await;
        Ok(Done::default())
    }

    async fn succeed(
        &self,
        _platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        _done: &Done,
    ) -> Result<(), UseCaseError> {
        if uow.vms().delete(work.vm.id).await? {
            Ok(())
        } else {
            Err(UseCaseError::Broken("a machine went while its deletion was executing"))
        }
    }

    async fn give_up(
        &self,
        _platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        problem: &Problem,
    ) -> Result<(), UseCaseError> {
        let step = VmStatus::Deleting
            .fail_deletion()
            .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
        uow.vms()
            .transition(work.vm.id, step, Some(DELETE_FAILED), Some(problem.code.as_str()))
            .await?;
        Ok(())
    }
}

/// The snapshots of a machine go before it: once its row is gone, nobody would know them any more.
async fn delete_snapshots(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<(), Failure> {
    for snapshot in platform.read.snapshots_of(work.vm.id).await? {
        match snapshot::ask_to_delete(platform, cluster, &work.vm.namespace, &snapshot, CODE).await {
            // A cluster that serves no snapshots any more has none.
            Err(Failure::Permanent(problem, _)) if problem.code == ErrorCode::CapabilityNotSupported => {}
            outcome => outcome?,
        }
        steps::reach(platform, Step::SnapshotDeletionAsked).await;
    }
    Ok(())
}

/// A clone that nobody waits for any more would still make the machine, and nobody would know it: it goes first. What
/// it has made so far is marked before, because without the clone nothing would tell whose it is.
async fn end_clone(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<(), Failure> {
    let Some(clone) = platform.read.clone_making(work.vm.id).await? else {
        return Ok(());
    };
    let namespace = &work.vm.namespace;
    let refused = |error: &ProviderError| Failure::of_provider(CODE, &cluster.name, error);
    let patience = Patience::new();
    loop {
        match platform.clones.get_clone(cluster.id, namespace, &clone.k8s_name).await {
            Ok(Some(found)) if !is_over(found.phase) => {}
            // A cluster that serves no clones any more has none.
            Ok(_) | Err(ProviderError::Unsupported(_)) => return Ok(()),
            Err(error) => return Err(refused(&error)),
        }
        let made = platform.provider.get_vm(cluster.id, namespace, &work.vm.name).await;
        if let Some(made) = made.map_err(|error| refused(&error))?
            && !made.managed
            && made.vm_id.is_none()
        {
            let marks = Marks {
                labels: target::machine_labels(&work.vm, None, work),
                annotations: target::machine_annotations(&work.vm),
            };
            let marked = platform
                .provider
                .mark_vm(cluster.id, namespace, &work.vm.name, &made.uid, &marks)
                .await;
            marked.map_err(|error| refused(&error))?;
        }
        platform
            .clones
            .delete_clone(cluster.id, namespace, &clone.k8s_name)
            .await
            .map_err(|error| refused(&error))?;
        patience
            .pause(platform, target::failed(CODE, cluster, "StillCloning"))
            .await?;
    }
}

/// Whether the clone makes nothing any more.
fn is_over(phase: ClonePhase) -> bool {
    match phase {
        ClonePhase::Pending | ClonePhase::InProgress => false,
        ClonePhase::Succeeded | ClonePhase::Failed => true,
    }
}

/// The object of the row. An object of the same name that belongs to nobody or to another row is not ours to delete,
/// so ours counts as gone.
async fn look(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<Option<ObservedVm>, Failure> {
    let found = platform
        .provider
        .get_vm(cluster.id, &work.vm.namespace, &work.vm.name)
        .await
        .map_err(|error| Failure::of_provider(CODE, &cluster.name, &error))?;
    let Some(found) = found else { return Ok(None) };
    let ours = target::is_ours(&work.vm, &found) || is_copy(platform, work, cluster).await?;
    Ok(ours.then_some(found))
}

/// Whether the object is what the clone of this row made after nobody waited for it any more: it is ours, although it
/// does not say so.
async fn is_copy(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<bool, Failure> {
    let Some(clone) = platform.read.clone_making(work.vm.id).await? else {
        return Ok(false);
    };
    match platform
        .clones
        .get_clone(cluster.id, &work.vm.namespace, &clone.k8s_name)
        .await
    {
        Ok(found) => {
            Ok(found.is_some_and(|found| found.target == work.vm.name && found.phase == ClonePhase::Succeeded))
        }
        Err(ProviderError::Unsupported(_)) => Ok(false),
        Err(error) => Err(Failure::of_provider(CODE, &cluster.name, &error)),
    }
}

async fn wait_until_gone(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<(), Failure> {
    let patience = Patience::new();
    while look(platform, work, cluster).await?.is_some() {
        patience
            .pause(platform, target::failed(CODE, cluster, "StillTerminating"))
            .await?;
    }
    Ok(())
}
