//! What a retry brings back beside ticket and event: the undoing of what the failure of the operation wrote.

use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::VmStatus;
use shepherd_ports::UnitOfWork;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::VmRecord;

use crate::UseCaseError;

/// Brings the machine, and what belongs to the ticket, back to where the approval had put it.
///
/// # Errors
/// VM_NOT_FOUND; INVALID_STATE_TRANSITION when the machine has gone on since.
pub(super) async fn restore(uow: &mut dyn UnitOfWork, ticket: &TicketRecord) -> Result<(), UseCaseError> {
    let vm = required_vm(uow, ticket).await?;
    match ticket.request_type {
        RequestType::CreateVm | RequestType::CloneVm => create_again(uow, &vm).await?,
        RequestType::DeleteVm => delete_again(uow, &vm).await?,
        // These changed no status; whether the machine can still be asked for it is looked at when the job runs.
        RequestType::ModifyVm
        | RequestType::StartVm
        | RequestType::StopVm
        | RequestType::RestartVm
        | RequestType::SnapshotVm
        | RequestType::DeleteSnapshot
        | RequestType::RestoreVm
        | RequestType::MigrateVm => {}
        RequestType::VncAccess | RequestType::BatchCreate | RequestType::BatchDelete | RequestType::BatchPower => {
            return Err(UseCaseError::Broken("this kind of request has no job"));
        }
    }
    Ok(uow.dead_letters().reopen(ticket.id).await?)
}

/// Whether [`restore`] would bring it back now. The machine is held, so it stays true until the transaction ends.
///
/// # Errors
/// When the store fails.
pub(crate) async fn is_restorable(uow: &mut dyn UnitOfWork, ticket: &TicketRecord) -> Result<bool, UseCaseError> {
    let Some(id) = ticket.vm_id else { return Ok(false) };
    let Some(vm) = uow.vms().hold(id).await? else {
        return Ok(false);
    };
    Ok(match ticket.request_type {
        RequestType::CreateVm | RequestType::CloneVm => vm.status != VmStatus::Deleting,
        RequestType::DeleteVm => vm.status == VmStatus::Deleting || vm.status.delete(vm.ticket_failed).is_ok(),
        RequestType::ModifyVm
        | RequestType::StartVm
        | RequestType::StopVm
        | RequestType::RestartVm
        | RequestType::SnapshotVm
        | RequestType::DeleteSnapshot
        | RequestType::RestoreVm
        | RequestType::MigrateVm => true,
        RequestType::VncAccess | RequestType::BatchCreate | RequestType::BatchDelete | RequestType::BatchPower => false,
    })
}

/// The machine of a ticket, held until the transaction ends.
///
/// # Errors
/// VM_NOT_FOUND.
pub(super) async fn required_vm(uow: &mut dyn UnitOfWork, ticket: &TicketRecord) -> Result<VmRecord, UseCaseError> {
    let id = ticket
        .vm_id
        .ok_or(UseCaseError::Broken("an approved ticket has no machine"))?;
    let vm = uow.vms().hold(id).await?;
    Ok(vm.ok_or_else(|| Problem::not_found(ErrorCode::VmNotFound, id))?)
}

/// The row and its number stay. A machine that the cluster has reported since keeps its status: the creation finds its
/// object there.
async fn create_again(uow: &mut dyn UnitOfWork, vm: &VmRecord) -> Result<(), UseCaseError> {
    match vm.status.retry_creation() {
        Ok(step) => moved(uow.vms().transition(vm.id, step, None, None).await?),
        Err(error) if vm.status == VmStatus::Deleting => Err(UseCaseError::invalid_transition("vm", &error)),
        Err(_) => Ok(()),
    }
}

/// The failure may not have reached the row, or the projection may have moved it on since.
async fn delete_again(uow: &mut dyn UnitOfWork, vm: &VmRecord) -> Result<(), UseCaseError> {
    if vm.status == VmStatus::Deleting {
        return Ok(());
    }
    let step = vm
        .status
        .delete(vm.ticket_failed)
        .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
    moved(uow.vms().transition(vm.id, step, None, None).await?)
}

fn moved(moved: bool) -> Result<(), UseCaseError> {
    if moved {
        Ok(())
    } else {
        Err(UseCaseError::Broken("a machine moved while its row was held"))
    }
}
