//! DELETE_VM: from the decision until the object is gone.

use std::time::Instant;

use async_trait::async_trait;
use serde_json::Value;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::event::EventType;
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::{DELETE_FAILED, ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::tickets::TicketRecord;

use super::operation::{Done, Operation, Placed, Work, required, vm_not_found};
use super::steps::{self, Step};
use super::{Failure, revalidate};
use crate::approval::approve::Choice;
use crate::{Platform, UseCaseError};

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
        let Some(found) = look(platform, work, &cluster).await? else {
            return Ok(Done::default());
        };
        if found.condition != ObservedCondition::Is(VmStatus::Deleting) {
            platform
                .provider
                .delete_vm(cluster.id, &work.vm.namespace, &work.vm.name, Some(&found.uid))
                .await
                .map_err(|error| Failure::of_provider(ErrorCode::VmDeletionFailed, &cluster.name, &error))?;
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

    async fn give_up(&self, uow: &mut dyn UnitOfWork, work: &Work, problem: &Problem) -> Result<(), UseCaseError> {
        let step = VmStatus::Deleting
            .fail_deletion()
            .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
        uow.vms()
            .transition(work.vm.id, step, Some(DELETE_FAILED), Some(problem.code.as_str()))
            .await?;
        Ok(())
    }
}

/// The object of the row. An object of the same name that belongs to nobody or to another row is not ours to delete,
/// so ours counts as gone.
async fn look(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<Option<ObservedVm>, Failure> {
    let found = platform
        .provider
        .get_vm(cluster.id, &work.vm.namespace, &work.vm.name)
        .await
        .map_err(|error| Failure::of_provider(ErrorCode::VmDeletionFailed, &cluster.name, &error))?;
    let vm_id = work.vm.id.to_string();
    Ok(found.filter(|found| {
        found.vm_id.as_deref() == Some(vm_id.as_str()) || work.vm.k8s_uid.as_deref() == Some(found.uid.as_str())
    }))
}

async fn wait_until_gone(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<(), Failure> {
    let settings = &platform.settings.execution;
    let started = Instant::now();
    while look(platform, work, cluster).await?.is_some() {
        if started.elapsed() >= settings.in_job_wait {
            let problem = Problem::new(ErrorCode::VmDeletionFailed)
                .with("reason", "StillTerminating")
                .with("cluster", cluster.name.as_str());
            return Err(Failure::InProgress(problem, settings.poll_interval * 10));
        }
        tokio::time::sleep(settings.poll_interval).await;
    }
    Ok(())
}
