//! MODIFY_VM: another size, a larger disk, or both.
//!
//! The disk grows before the document is applied: a storage class that cannot expand leaves the machine as it was, and
//! a disk that is larger than its row says harms nobody. Both steps can be repeated at will.

mod checks;

use async_trait::async_trait;
use serde_json::Value;
use shepherd_domain::catalog::{InstanceSize, TemplateSpec};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::ApplyMode;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::VmShape;

use super::create_vm::{add_revision, revalidate_namespace, stored};
use super::findings::{Depth, Examined};
use super::modification::{self, Shape};
use super::operation::{Done, Operation, Placed, Work, named, required, vm_not_found};
use super::power::not_allowed;
use super::steps::{self, Step};
use super::{Failure, revalidate, specs, target};
use crate::approval::approve::Choice;
use crate::cluster::gate;
use crate::{Platform, UseCaseError};

const CODE: ErrorCode = ErrorCode::VmModifyFailed;
/// What a cluster lacks whose claims cannot be changed.
const CAPABILITY: &str = "disk_expansion";

/// The operation.
pub(super) struct ModifyVm;

#[async_trait]
impl Operation for ModifyVm {
    named!(ModifyVm: VmModifyRequested, VmModifyCompleted, VmModifyFailed; VmModifySubmitted, VmModify, VmModifyFailed);

    async fn place(
        &self,
        platform: &Platform,
        ticket: &TicketRecord,
        payload: &Value,
        choice: &Choice,
    ) -> Result<Placed, UseCaseError> {
        let examined = checks::examine(platform, ticket, payload, choice, Depth::Decide).await?;
        examined.decided()
    }

    async fn examine(
        &self,
        platform: &Platform,
        ticket: &TicketRecord,
        payload: &Value,
        choice: &Choice,
    ) -> Result<Examined, UseCaseError> {
        checks::examine(platform, ticket, payload, choice, Depth::Show).await
    }

    async fn recheck(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        let namespace = required(ticket.namespace.as_deref(), "a modify ticket has no namespace")?;
        let size = required(placed.size.as_ref(), "a modification was placed without a size")?;
        let numbers = required(placed.numbers, "a modification was placed without numbers")?;
        modification::hold(uow, placed.vm_id, namespace, ticket.environment, size.id, numbers).await?;
        let found = uow.clusters().hold(placed.cluster).await?;
        let cluster = found.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, placed.cluster))?;
        gate::open(&cluster)?;
        Ok(modification::check_capabilities(&cluster, size)?)
    }

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        revalidate_namespace(platform, work).await?;
        let approved = Approved::of(work)?;
        let seen = machine(platform, work, &cluster).await?;
        grow_disk(platform, work, &cluster, &seen, approved.numbers).await?;
        let shape = Shape {
            template: &approved.template,
            size: &approved.size,
            numbers: approved.numbers,
            storage_class: work.ticket.selected_storage_class.clone(),
        };
        let requester = work.ticket.requester_id.as_user();
        let strategy = modification::run_strategy(&seen);
        let document = modification::document(platform, &work.vm, requester, &shape, strategy).await?;
        let modified = platform
            .provider
            .modify_vm(cluster.id, &document, &seen.uid, ApplyMode::Persist)
            .await
            .map_err(|error| Failure::of_provider(CODE, &cluster.name, &error))?;
        steps::reach(platform, Step::Modified).await;
        Ok(Done {
            uid: Some(modified.vm.uid),
            document: Some(modified.document),
            manifest: None,
        })
    }

    async fn succeed(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        done: &Done,
    ) -> Result<(), UseCaseError> {
        let Approved { size, numbers, .. } = Approved::of(work)?;
        let shape = VmShape {
            instance_size_id: size.id,
            disk_gb: numbers.disk_gb,
            cpu_cores: numbers.cpu_cores,
            memory_mb: numbers.memory_mb,
        };
        uow.vms().reshape(work.vm.id, &shape).await?;
        let document = required(done.document.as_ref(), "a modification ended without a document")?;
        add_revision(platform, uow, work, &platform.renderer.to_yaml(document)).await
    }
}

/// What was approved, from the ticket alone.
struct Approved {
    template: TemplateSpec,
    size: InstanceSize,
    numbers: EffectiveNumbers,
}

impl Approved {
    fn of(work: &Work) -> Result<Self, UseCaseError> {
        let ticket = &work.ticket;
        let spec = specs::modify(ticket, &work.event.payload)?;
        let snapshot = ticket.template_snapshot.as_ref();
        let snapshot = required(
            snapshot.and_then(|snapshot| snapshot.get("spec")),
            "an approved ticket has no template snapshot",
        )?;
        let template = stored(snapshot, "template snapshot")?;
        let snapshot = required(
            ticket.instance_size_snapshot.as_ref(),
            "an approved ticket has no size snapshot",
        )?;
        let size: InstanceSize = stored(snapshot, "size snapshot")?;
        let numbers = EffectiveNumbers::of_modification(&spec, &size, work.vm.disk_gb);
        Ok(Self {
            template,
            size,
            numbers,
        })
    }
}

/// The machine on its cluster, in a state that can be modified or leads to one.
async fn machine(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<ObservedVm, Failure> {
    let vm = &work.vm;
    let found = platform
        .provider
        .get_vm(cluster.id, &vm.namespace, &vm.name)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    let Some(seen) = found else {
        let why = "the machine does not exist on its cluster";
        return Err(Failure::Permanent(vm_not_found(vm.id), why.to_owned()));
    };
    if !target::is_ours(vm, &seen) {
        return Err(target::conflict(vm, cluster));
    }
    let is_out_of_reach = match seen.condition {
        ObservedCondition::Is(VmStatus::Deleting | VmStatus::Failed | VmStatus::Unknown) => true,
        // What was told to start, stop or move meanwhile gets there all the same.
        ObservedCondition::Waiting
        | ObservedCondition::Is(
            VmStatus::Creating
            | VmStatus::Pending
            | VmStatus::Running
            | VmStatus::Stopping
            | VmStatus::Stopped
            | VmStatus::Paused
            | VmStatus::Migrating,
        ) => false,
    };
    if is_out_of_reach {
        return Err(not_allowed(&seen, RequestType::ModifyVm).into());
    }
    Ok(seen)
}

async fn grow_disk(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    seen: &ObservedVm,
    numbers: EffectiveNumbers,
) -> Result<(), Failure> {
    let vm = &work.vm;
    if !modification::grows(vm, numbers) {
        return Ok(());
    }
    platform
        .provider
        .grow_disk(
            cluster.id,
            &vm.namespace,
            &vm.name,
            &seen.uid,
            numbers.disk_gb,
            ApplyMode::Persist,
        )
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    steps::reach(platform, Step::DiskGrown).await;
    Ok(())
}
