//! CREATE_VM: from the decision to the object on the cluster.

mod checks;
mod fit;

use async_trait::async_trait;
use serde_json::Value;
use shepherd_domain::ActorId;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::catalog::{InstanceSize, TemplateSpec};
use shepherd_domain::event::EventType;
use shepherd_domain::ids::ServiceId;
use shepherd_domain::naming::VmName;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::rendering::{GuestPassword, Placement, RenderInput, VmDocument, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::VmStatus;
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::events::NewEvent;
use shepherd_ports::providers::{ApplyMode, EnsuredNamespace};
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::{NewRevision, NewVm};

pub(super) use checks::{check_namespace, environment_changed};
pub(super) use fit::{check_effective, check_offered, judge};

use super::findings::{Depth, Examined};
use super::operation::{Done, Operation, Placed, Work, required};
use super::steps::{self, Step};
use super::{Failure, revalidate, specs};
use crate::approval::approve::Choice;
use crate::cluster::{gate, namespaces};
use crate::{Platform, UseCaseError, credential};

/// How the machine is switched at creation.
const RUN_STRATEGY: &str = "Always";
/// How many numbers with taken names an approval skips at most.
pub(super) const MAX_SKIPPED_NUMBERS: u32 = 100;

/// The operation.
pub(super) struct CreateVm;

#[async_trait]
impl Operation for CreateVm {
    fn request_type(&self) -> RequestType {
        RequestType::CreateVm
    }

    fn requested(&self) -> EventType {
        EventType::VmCreationRequested
    }

    fn facts(&self) -> (EventType, EventType) {
        (EventType::VmCreationCompleted, EventType::VmCreationFailed)
    }

    fn submission_audit(&self) -> AuditAction {
        AuditAction::VmRequest
    }

    fn audits(&self) -> (AuditAction, AuditAction) {
        (AuditAction::VmCreate, AuditAction::VmCreateFailed)
    }

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
        let name = required(ticket.namespace.as_deref(), "a create ticket has no namespace")?;
        let namespace = check_namespace(uow.namespaces().hold(name).await?, name)?;
        if namespace.environment != ticket.environment {
            return Err(environment_changed(&namespace, ticket.environment).into());
        }
        let template = required(placed.template.as_ref(), "a creation was placed without a template")?;
        crate::template::hold(uow, template).await?;
        let cluster = uow
            .clusters()
            .hold(placed.cluster)
            .await?
            .ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, placed.cluster))?;
        let size = required(placed.size.as_ref(), "a creation was placed without a size")?;
        let candidate = cluster.candidate();
        candidate.admit(&namespace.name, namespace.environment, size)?;
        Ok(gate::open(&cluster)?)
    }

    async fn effects(
        &self,
        uow: &mut dyn UnitOfWork,
        ticket: &TicketRecord,
        placed: &Placed,
    ) -> Result<(), UseCaseError> {
        let service_id = required(ticket.service_id, "a create ticket has no service")?;
        let namespace = required(ticket.namespace.clone(), "a create ticket has no namespace")?;
        let template = required(placed.template.as_ref(), "a creation was placed without a template")?;
        let size = required(placed.size.as_ref(), "a creation was placed without a size")?;
        let numbers = required(placed.numbers, "a creation was placed without numbers")?;
        let context = &ticket.context_snapshot;
        let (system, service) = required(
            context.system.as_ref().zip(context.service.as_ref()),
            "a create ticket does not name its system and service",
        )?;
        let mut vm = NewVm {
            id: placed.vm_id,
            service_id,
            name: String::new(),
            instance_index: 0,
            instance: String::new(),
            namespace,
            cluster_id: placed.cluster,
            ticket_id: ticket.id,
            created_by: ticket.requester_id.clone(),
            template_id: template.id,
            template_version: template.version,
            instance_size_id: size.id,
            disk_gb: numbers.disk_gb,
            cpu_cores: numbers.cpu_cores,
            memory_mb: numbers.memory_mb,
            storage_class: placed.storage_class.clone(),
        };
        for _ in 0..MAX_SKIPPED_NUMBERS {
            let (index, name) = take_name(uow, service_id, &vm.namespace, &system.name, &service.name).await?;
            vm.name = name.as_str().to_owned();
            vm.instance_index = index;
            vm.instance = name.instance().to_owned();
            if uow.vms().insert(&vm).await? {
                return Ok(());
            }
        }
        Err(names_taken())
    }

    async fn execute(&self, platform: &Platform, work: &Work) -> Result<Done, Failure> {
        let cluster = revalidate::cluster(platform, work.vm.cluster_id, work.ticket.environment).await?;
        revalidate_namespace(platform, work).await?;
        let document = document(platform, work).await?;
        steps::reach(platform, Step::PasswordKept).await;
        let code = ErrorCode::VmCreationFailed;
        let found = platform
            .provider
            .get_vm(cluster.id, &work.vm.namespace, &work.vm.name)
            .await
            .map_err(|error| Failure::of_provider(code, &cluster.name, &error))?;
        if let Some(found) = &found
            && found.event_id.as_deref() != Some(work.event.id.to_string().as_str())
        {
            let problem = Problem::new(ErrorCode::ClusterObjectConflict)
                .with("cluster", cluster.name.as_str())
                .with("namespace", work.vm.namespace.as_str())
                .with("name", work.vm.name.as_str());
            return Err(Failure::Permanent(
                problem,
                "an object of this name exists and was not made by this request".to_owned(),
            ));
        }
        let mode = if found.is_none() {
            ensure_namespace(platform, work, &cluster).await?;
            steps::reach(platform, Step::NamespaceEnsured).await;
            ApplyMode::Create
        } else {
            ApplyMode::Persist
        };
        // Also when the object is there: applying the same document changes nothing on it and completes its Secret.
        let applied = platform
            .provider
            .apply_vm(cluster.id, &document, mode)
            .await
            .map_err(|error| Failure::of_provider(code, &cluster.name, &error))?;
        steps::reach(platform, Step::Applied).await;
        Ok(Done {
            uid: Some(applied.uid),
            document: Some(document),
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
        let uid = required(done.uid.as_deref(), "a creation ended without an object")?;
        uow.vms().set_uid(work.vm.id, uid).await?;
        uow.credentials().forget_hash(work.vm.id).await?;
        let document = required(done.document.as_ref(), "a creation ended without a document")?;
        add_revision(platform, uow, work, &platform.renderer.to_yaml(document)).await
    }

    async fn give_up(
        &self,
        _platform: &Platform,
        uow: &mut dyn UnitOfWork,
        work: &Work,
        problem: &Problem,
    ) -> Result<(), UseCaseError> {
        fail_creation(uow, work, problem).await
    }
}

/// Keeps what a machine is from now on.
pub(super) async fn add_revision(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    work: &Work,
    yaml: &str,
) -> Result<(), UseCaseError> {
    let snapshot =
        zstd::encode_all(yaml.as_bytes(), 0).map_err(|_| UseCaseError::Broken("compressing a revision failed"))?;
    let revision = NewRevision {
        id: platform.ids.id(),
        vm_id: work.vm.id,
        vm_name: work.vm.name.clone(),
        snapshot,
        sha256: platform.digests.sha256_hex(yaml.as_bytes()),
        reason: work.ticket.reason.clone(),
        ticket_id: Some(work.ticket.id),
        changed_by: work.ticket.requester_id.clone(),
    };
    uow.vms().add_revision(&revision).await?;
    Ok(())
}

/// Unless the cluster has reported something in the meantime, the row says why nothing came of it.
pub(super) async fn fail_creation(
    uow: &mut dyn UnitOfWork,
    work: &Work,
    problem: &Problem,
) -> Result<(), UseCaseError> {
    let step = VmStatus::Creating
        .fail_creation()
        .map_err(|error| UseCaseError::invalid_transition("vm", &error))?;
    uow.vms()
        .transition(work.vm.id, step, Some(problem.code.as_str()), None)
        .await?;
    Ok(())
}

/// The next number of a Service, and the name a machine has by it.
///
/// Service `eu-redis` of System `shop` and Service `redis` of System `shop-eu` make the same names; a number whose name
/// is taken is skipped, as numbers only grow.
pub(super) async fn take_name(
    uow: &mut dyn UnitOfWork,
    service_id: ServiceId,
    namespace: &str,
    system: &str,
    service: &str,
) -> Result<(i32, VmName), UseCaseError> {
    let index = uow.services().take_instance_index(service_id).await?;
    let index = index.ok_or_else(|| Problem::not_found(ErrorCode::ServiceNotFound, service_id))?;
    Ok((index, vm_name(namespace, system, service, index)?))
}

pub(super) fn names_taken() -> UseCaseError {
    UseCaseError::Broken("too many machine names in a row are taken")
}

fn vm_name(namespace: &str, system: &str, service: &str, index: i32) -> Result<VmName, UseCaseError> {
    let index = u32::try_from(index).map_err(|_| UseCaseError::Broken("an instance index is negative"))?;
    Ok(VmName::generate(namespace, system, service, index)?)
}

pub(super) fn stored<T: serde::de::DeserializeOwned>(value: &Value, what: &'static str) -> Result<T, UseCaseError> {
    serde_json::from_value(value.clone()).map_err(|source| UseCaseError::Stored { what, source })
}

fn render(
    platform: &Platform,
    identity: &VmIdentity,
    template: &TemplateSpec,
    size: &InstanceSize,
    numbers: EffectiveNumbers,
    storage_class: Option<String>,
    guest_password: Option<&GuestPassword>,
) -> VmDocument {
    platform.renderer.render(&RenderInput {
        identity,
        template,
        size,
        numbers,
        placement: &Placement { storage_class },
        run_strategy: RUN_STRATEGY,
        guest_password,
    })
}

/// The document of an approved ticket, from its snapshots and the password of the guest alone.
async fn document(platform: &Platform, work: &Work) -> Result<VmDocument, UseCaseError> {
    let ticket = &work.ticket;
    let spec = specs::create(ticket, &work.event.payload)?;
    let snapshot = required(
        ticket
            .template_snapshot
            .as_ref()
            .and_then(|snapshot| snapshot.get("spec")),
        "an approved ticket has no template snapshot",
    )?;
    let template: TemplateSpec = stored(snapshot, "template snapshot")?;
    let snapshot = required(
        ticket.instance_size_snapshot.as_ref(),
        "an approved ticket has no size snapshot",
    )?;
    let size: InstanceSize = stored(snapshot, "size snapshot")?;
    let identity = VmIdentity {
        vm_id: work.vm.id,
        event_id: work.event.id,
        name: work.vm.name.clone(),
        namespace: work.vm.namespace.clone(),
        system: work.vm.system_name.clone(),
        service: work.vm.service_name.clone(),
        instance: work.vm.instance.clone(),
        ticket_number: ticket.number.clone(),
        created_by: required(
            ticket.requester_id.as_user(),
            "a create ticket was not requested by a user",
        )?,
        revision: 1,
    };
    let numbers = EffectiveNumbers::of(&spec, &size);
    let guest_password = credential::guest_password(platform, &work.vm, &template).await?;
    Ok(render(
        platform,
        &identity,
        &template,
        &size,
        numbers,
        ticket.selected_storage_class.clone(),
        guest_password.as_ref(),
    ))
}

pub(super) async fn revalidate_namespace(platform: &Platform, work: &Work) -> Result<(), Failure> {
    let mut uow = platform.begin().await?;
    let found = uow.namespaces().hold(&work.vm.namespace).await?;
    drop(uow);
    let detail = || "the namespace changed since the approval".to_owned();
    let namespace =
        check_namespace(found, &work.vm.namespace).map_err(|problem| Failure::Permanent(problem, detail()))?;
    if namespace.environment == work.ticket.environment {
        return Ok(());
    }
    let problem = environment_changed(&namespace, work.ticket.environment);
    Err(Failure::Permanent(problem, detail()))
}

/// Records the fact at once: it is true whatever becomes of the machine. Every attempt at the event is told that the
/// namespace is its own, so the one after a death here records it, and those after that find it recorded.
async fn ensure_namespace(platform: &Platform, work: &Work, cluster: &ClusterRecord) -> Result<(), Failure> {
    let namespace = &work.vm.namespace;
    let ensured = platform
        .provider
        .ensure_namespace(cluster.id, namespace, work.ticket.environment, Some(work.event.id))
        .await
        .map_err(|error| Failure::of_namespace(namespace, &cluster.name, &error))?;
    if ensured == EnsuredNamespace::Existed {
        return Ok(());
    }
    steps::reach(platform, Step::NamespaceMade).await;
    let by = ActorId::system("worker");
    let fact = NewEvent {
        causation_id: Some(work.event.id),
        trace_id: work.event.trace_id.clone(),
        trace_parent: None,
        ..namespaces::created(platform, cluster, namespace, work.ticket.environment, by)
    };
    let mut uow = platform.begin().await?;
    uow.events().insert_once(fact).await?;
    Ok(uow.commit().await?)
}
