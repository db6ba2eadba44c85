//! CLONE_VM: a new machine with a number, a row and marks of its own, made from another one.
//!
//! The machine of the ticket is the source until the approval and the copy from then on.

use async_trait::async_trait;
use shepherd_domain::infrastructure::{ClonePhase, Marks};
use shepherd_domain::labels;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::spec::{CloneTarget, OperationPayload};
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clones::{NewClone, NewCopy};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::CloneRequest;
use shepherd_ports::tickets::TicketRecord;

use super::create_vm::{self, MAX_SKIPPED_NUMBERS, names_taken, take_name};
use super::operation::{Done, Operation, Placed, Work, named, required, vm_not_found};
use super::patience::Patience;
use super::snapshot::{payload_of, reason_of};
use super::steps::{self, Step};
use super::{Failure, existing, power, revalidate, target};
use crate::{Platform, UseCaseError};

const CODE: ErrorCode = ErrorCode::VmCloneFailed;
/// What a cluster lacks that does not serve it.
const CAPABILITY: &str = "clones";
/// The first revision of every machine.
const REVISION: &str = "1";
/// The run strategy that starts a machine by itself.
const ALWAYS: &str = "Always";

/// The operation.
pub(super) struct CloneVm;

#[async_trait]
impl Operation for CloneVm {
    named!(CloneVm: VmCloneRequested, VmCloneCompleted, VmCloneFailed; VmCloneSubmitted, VmClone, VmCloneFailed);

    async fn recheck(
        &self,
        uow: &mut dyn UnitOfWork,
        _ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        existing::recheck(uow, self.request_type(), placed).await?;
        let wanted = existing::asked_for(placed)?;
        let service = target_of(wanted)?.service_id;
        let held = uow.tickets().hold_references(service, &wanted.namespace).await?;
        create_vm::check_namespace(held.namespace, &wanted.namespace)?;
        if held.service {
            Ok(())
        } else {
            Err(Problem::not_found(ErrorCode::ServiceNotFound, service).into())
        }
    }

    async fn effects(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        let wanted = existing::asked_for(placed)?;
        let target = target_of(wanted)?;
        insert_copy(uow, ticket, wanted, target).await?;
        let clone = NewClone {
            id: target.id,
            source_vm_id: wanted.vm_id,
            target_vm_id: target.vm_id,
            k8s_name: target::object_name("clone", ticket.id),
            start_after_clone: target.start,
            ticket_id: ticket.id,
            created_by: ticket.requester_id.clone(),
        };
        Ok(uow.clones().insert(&clone).await?)
    }

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        create_vm::revalidate_namespace(platform, work).await?;
        let payload = payload_of(work)?;
        let wanted = target_of(&payload)?;
        let copy = copy(platform, work, &cluster, &payload).await?;
        let marked = mark(platform, work, &cluster, &copy).await?;
        steps::reach(platform, Step::CloneMarked).await;
        if wanted.start {
            start(platform, work, &cluster, &marked).await?;
            steps::reach(platform, Step::CloneStarted).await;
        }
        Ok(Done {
            uid: Some(copy.uid),
            document: None,
            manifest: Some(target::manifest(platform, &work.vm, &cluster, CODE).await?),
        })
    }

    async fn succeed(
        &self,
        platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        done: &Done,
    ) -> Result<(), UseCaseError> {
        let uid = required(done.uid.as_deref(), "a clone ended without a machine")?;
        uow.vms().set_uid(work.vm.id, uid).await?;
        let yaml = required(done.manifest.as_deref(), "a clone ended without a manifest")?;
        create_vm::add_revision(platform, uow, work, yaml).await?;
        let payload = payload_of(work)?;
        uow.clones()
            .note_phase(target_of(&payload)?.id, ClonePhase::Succeeded, None)
            .await?;
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
        uow.clones()
            .note_phase(target_of(&payload)?.id, ClonePhase::Failed, Some(&reason_of(problem)))
            .await?;
        create_vm::fail_creation(uow, work, problem).await
    }
}

fn target_of(payload: &OperationPayload) -> Result<&CloneTarget, UseCaseError> {
    required(payload.clone.as_ref(), "a request for a clone does not say which")
}

async fn insert_copy(
    uow: &mut dyn UnitOfWork,
    ticket: &TicketRecord,
    wanted: &OperationPayload,
    target: &CloneTarget,
) -> Result<(), UseCaseError> {
    let context = &ticket.context_snapshot;
    let (system, service) = required(
        context.system.as_ref().zip(context.service.as_ref()),
        "a clone ticket does not name its system and service",
    )?;
    for _ in 0..MAX_SKIPPED_NUMBERS {
        let (index, name) = take_name(uow, target.service_id, &wanted.namespace, &system.name, &service.name).await?;
        let copy = NewCopy {
            id: target.vm_id,
            source: wanted.vm_id,
            service_id: target.service_id,
            name: name.as_str().to_owned(),
            instance_index: index,
            instance: name.instance().to_owned(),
            ticket_id: ticket.id,
            created_by: ticket.requester_id.clone(),
        };
        if uow.clones().insert_copy(&copy).await? {
            return Ok(());
        }
    }
    Err(names_taken())
}

/// The new machine, made unless it is there. Its uid is noted before anything else is done with it, so that it can be
/// found again without the platform's marks.
async fn copy(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    payload: &OperationPayload,
) -> Result<ObservedVm, Failure> {
    if let Some(found) = look(platform, work, cluster).await?
        && target::is_ours(&work.vm, &found)
    {
        return Ok(found);
    }
    wait_for_clone(platform, work, cluster, payload).await?;
    let Some(found) = look(platform, work, cluster).await? else {
        let why = "the clone has succeeded and its machine is not there";
        let problem = target::failed(CODE, cluster, "ObjectMissing");
        return Err(Failure::Permanent(problem, why.to_owned()));
    };
    let mut uow = platform.begin().await?;
    uow.vms().set_uid(work.vm.id, &found.uid).await?;
    uow.commit().await?;
    steps::reach(platform, Step::CloneNoted).await;
    Ok(found)
}

async fn look(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<Option<ObservedVm>, Failure> {
    platform
        .provider
        .get_vm(cluster.id, &work.vm.namespace, &work.vm.name)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))
}

async fn wait_for_clone(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    payload: &OperationPayload,
) -> Result<(), Failure> {
    let wanted = target_of(payload)?;
    let name = target::object_name("clone", work.ticket.id);
    let noted = platform.read.get_clone(wanted.id).await?;
    let mut asked = noted.is_some_and(|noted| noted.phase != ClonePhase::Pending);
    let patience = Patience::new();
    loop {
        let seen = platform
            .clones
            .get_clone(cluster.id, &work.vm.namespace, &name)
            .await
            .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
        match seen {
            Some(seen) => match seen.phase {
                ClonePhase::Succeeded => return Ok(()),
                ClonePhase::Failed => {
                    return Err(target::refused(
                        CODE,
                        cluster,
                        seen.error.as_deref().unwrap_or("Failed"),
                    ));
                }
                ClonePhase::InProgress => note_progress(platform, wanted).await?,
                ClonePhase::Pending => {}
            },
            None if asked => {
                let problem = target::failed(CODE, cluster, "ObjectMissing");
                return Err(Failure::Permanent(
                    problem,
                    "somebody else deleted the clone".to_owned(),
                ));
            }
            None => {
                ask(platform, work, cluster, payload, name.clone()).await?;
                asked = true;
                steps::reach(platform, Step::CloneAsked).await;
            }
        }
        patience
            .pause(platform, target::failed(CODE, cluster, "NotSucceeded"))
            .await?;
    }
}

async fn note_progress(platform: &Platform, wanted: &CloneTarget) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    let moved = uow.clones().note_phase(wanted.id, ClonePhase::InProgress, None).await?;
    if moved {
        uow.commit().await?;
    }
    Ok(())
}

/// Asks for the clone, unless its name belongs to somebody else or its source is gone.
async fn ask(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    payload: &OperationPayload,
    name: String,
) -> Result<(), Failure> {
    if look(platform, work, cluster).await?.is_some() {
        return Err(target::conflict(&work.vm, cluster));
    }
    let Some(source) = platform.read.get_vm(payload.vm_id).await? else {
        let problem = vm_not_found(payload.vm_id);
        return Err(Failure::Permanent(problem, "the source is gone".to_owned()));
    };
    target::machine(platform, &source, cluster, CODE).await?;
    let request = CloneRequest {
        namespace: work.vm.namespace.clone(),
        name,
        target: work.vm.name.clone(),
        marks: target::object_marks(work, &work.vm),
    };
    platform
        .clones
        .clone_vm(cluster.id, &source.name, &request)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))?;
    Ok(())
}

/// The new machine becomes the object of its row.
async fn mark(
    platform: &Platform,
    work: &Work,
    cluster: &ClusterRecord,
    copy: &ObservedVm,
) -> Result<ObservedVm, Failure> {
    let mut annotations = target::machine_annotations(&work.vm);
    annotations.insert(labels::EVENT.to_owned(), work.event.id.to_string());
    annotations.insert(labels::REVISION.to_owned(), REVISION.to_owned());
    let marks = Marks {
        labels: target::machine_labels(&work.vm, Some(&work.ticket.number), work),
        annotations,
    };
    platform
        .provider
        .mark_vm(cluster.id, &work.vm.namespace, &work.vm.name, &copy.uid, &marks)
        .await
        .map_err(|error| Failure::of_action(CODE, CAPABILITY, &cluster.name, &error))
}

/// Clones come into being stopped; whether this one runs is observed.
async fn start(platform: &Platform, work: &Work, cluster: &ClusterRecord, seen: &ObservedVm) -> Result<(), Failure> {
    let runs = seen.condition == ObservedCondition::Is(VmStatus::Running);
    if runs || seen.run_strategy.as_deref() == Some(ALWAYS) {
        return Ok(());
    }
    let told = platform
        .provider
        .start_vm(cluster.id, &work.vm.namespace, &work.vm.name)
        .await;
    power::tolerate(told, CODE, cluster)
}
