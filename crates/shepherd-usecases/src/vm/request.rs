//! A member of a System asks for a virtual machine (requests.md §2).

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{ClusterId, InstanceSizeId, ServiceId, TemplateId, UserId};
use shepherd_domain::naming::VmName;
use shepherd_domain::policy::{Decision, default_decision};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem, Warning};
use shepherd_domain::spec::{CreatePayload, CreateSpec, EffectiveNumbers, NamedSize, NamedTemplate};
use shepherd_domain::ticket::{RequestType, TicketStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::namespaces::NamespaceRecord;
use shepherd_ports::sizes::SizeRecord;
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::tickets::{CreateFacts, Named, NamedSummary, NamedVersion, NewTicket, ServiceFacts, TicketContext};

use super::preview::Previewed;
use super::submission::{self, Waiting};
use super::{Submitted, SubmittedStatus, preview};
use crate::authorization::{self, Guarded};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError, instance_size, template};

/// Most characters of a reason.
pub const MAX_REASON: usize = 1024;

/// What is asked for: what, never where.
#[derive(Clone, Debug)]
pub struct RequestVm {
    /// Service the machine is for.
    pub service: ServiceId,
    /// Registered namespace.
    pub namespace: String,
    /// Active template version.
    pub template: TemplateId,
    /// Enabled size.
    pub size: InstanceSizeId,
    /// Disk in GiB; absent takes the size's.
    pub disk_gb: Option<i32>,
    /// Why, 1 to 1024 characters.
    pub reason: String,
}

/// Everything a request was checked against.
struct Checked {
    service: ServiceFacts,
    namespace: NamespaceRecord,
    template: TemplateRecord,
    size: SizeRecord,
    numbers: EffectiveNumbers,
}

/// Submits the request: event, ticket, history, audit row and notifications in one transaction.
///
/// # Errors
/// In the order of requests.md §2.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: RequestVm,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmCreate)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let Examined { checked, previewed } = examine(platform, caller, &command, None).await?;
    submit(platform, caller, &command, &checked, previewed.warnings, request).await
}

/// A request that passed every check but the guard against duplicates.
pub(super) struct Examined {
    checked: Checked,
    /// What the dry run found.
    pub(super) previewed: Previewed,
}

impl Examined {
    /// The numbers the machine would get.
    pub(super) fn numbers(&self) -> EffectiveNumbers {
        self.checked.numbers
    }
}

/// Checks 2 to 6 of requests.md §2; the dry run goes to the named cluster, else to the one that would be picked first.
pub(super) async fn examine(
    platform: &Platform,
    caller: &Caller,
    command: &RequestVm,
    cluster: Option<ClusterId>,
) -> Result<Examined, UseCaseError> {
    let facts = platform
        .read
        .create_facts(command.service, &command.namespace, command.template, command.size)
        .await?;
    let checked = check(caller, command, facts)?;
    let index = u32::try_from(checked.service.next_instance_index)
        .map_err(|_| UseCaseError::Broken("an instance index is negative"))?;
    let name = VmName::generate(
        &checked.namespace.name,
        &checked.service.system_name,
        &checked.service.name,
        index,
    )?;
    let named = match cluster {
        Some(id) => Some(named_cluster(platform, caller, &checked, id).await?),
        None => None,
    };
    let sample = preview::Sample {
        requester: caller.subject.user(),
        service: &checked.service,
        namespace: &checked.namespace.name,
        environment: checked.namespace.environment,
        template: &checked.template.spec,
        size: &checked.size.size,
        numbers: checked.numbers,
        name: &name,
    };
    let previewed = preview::run(platform, &sample, named).await?;
    Ok(Examined { checked, previewed })
}

/// A cluster by its id; one of an environment where the caller makes no machines is none.
async fn named_cluster(
    platform: &Platform,
    caller: &Caller,
    checked: &Checked,
    id: ClusterId,
) -> Result<ClusterRecord, UseCaseError> {
    let system = Some(checked.service.system_id);
    let found = platform.read.get_cluster(id).await?;
    let found = found.filter(|cluster| {
        let environment = Some(cluster.environment);
        caller.subject.holds(Permission::VmCreate, system, environment)
    });
    let cluster = found.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, id))?;
    if cluster.enabled {
        Ok(cluster)
    } else {
        Err(Problem::invalid_field("cluster_id", FieldCode::UnknownValue).into())
    }
}

/// Checks 2 to 5 of requests.md §2.
fn check(caller: &Caller, command: &RequestVm, facts: CreateFacts) -> Result<Checked, Problem> {
    let not_found = || Problem::not_found(ErrorCode::ServiceNotFound, command.service);
    let service = facts.service.ok_or_else(not_found)?;
    let object = Guarded {
        not_found: ErrorCode::ServiceNotFound,
        id: &command.service,
        read: Permission::ServiceRead,
    };
    authorization::require(
        caller,
        Permission::VmCreate,
        ResourceAction::Create,
        service.system_id,
        object,
    )?;
    check_fields(command)?;

    let namespace = facts
        .namespace
        .ok_or_else(|| Problem::new(ErrorCode::NamespaceNotRegistered).with("namespace", command.namespace.as_str()))?;
    if !namespace.enabled {
        return Err(Problem::new(ErrorCode::NamespaceDisabled).with("namespace", namespace.name));
    }
    if !caller.subject.holds(
        Permission::VmCreate,
        Some(service.system_id),
        Some(namespace.environment),
    ) {
        return Err(Problem::new(ErrorCode::NamespaceEnvForbidden)
            .with("namespace", namespace.name)
            .with("environment", namespace.environment.as_str()));
    }

    let template = facts
        .template
        .ok_or_else(|| Problem::not_found(ErrorCode::TemplateNotFound, command.template))?;
    if template.status != TemplateStatus::Active {
        return Err(Problem::new(ErrorCode::TemplateNotActive)
            .with("template_id", template.id.to_string())
            .with("version", template.version)
            .with("status", template.status.as_str()));
    }
    let size = facts
        .size
        .ok_or_else(|| Problem::not_found(ErrorCode::InstanceSizeNotFound, command.size))?;
    if !size.size.enabled {
        return Err(Problem::new(ErrorCode::InstanceSizeDisabled).with("instance_size_id", size.size.id.to_string()));
    }
    let numbers = EffectiveNumbers::of(&spec_of(command, None), &size.size);
    size.size.check_disk(numbers.disk_gb)?;
    Ok(Checked {
        service,
        namespace,
        template,
        size,
        numbers,
    })
}

fn check_fields(command: &RequestVm) -> Result<(), Problem> {
    let reason = command.reason.trim();
    if reason.is_empty() {
        return Err(Problem::invalid_field("reason", FieldCode::Required));
    }
    if reason.chars().count() > MAX_REASON {
        return Err(Problem::invalid(vec![
            FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON),
        ]));
    }
    Ok(())
}

/// The spec as it was asked for, or with all values materialised.
fn spec_of(command: &RequestVm, materialised: Option<(&EffectiveNumbers, i32)>) -> CreateSpec {
    CreateSpec {
        service_id: command.service,
        namespace: command.namespace.clone(),
        template_id: command.template,
        template_version: materialised.map(|(_, version)| version),
        instance_size_id: command.size,
        disk_gb: materialised.map(|(numbers, _)| numbers.disk_gb).or(command.disk_gb),
        cpu_cores: materialised.map(|(numbers, _)| numbers.cpu_cores),
        memory_mb: materialised.map(|(numbers, _)| numbers.memory_mb),
        cpu_request: materialised.map(|(numbers, _)| numbers.cpu_request),
        memory_request_mb: materialised.map(|(numbers, _)| numbers.memory_request_mb),
    }
}

async fn submit(
    platform: &Platform,
    caller: &Caller,
    command: &RequestVm,
    checked: &Checked,
    warnings: Vec<Warning>,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    let environment = checked.namespace.environment;
    match default_decision(RequestType::CreateVm, environment) {
        Decision::RequiresApproval => {}
        Decision::AutoApproved => return Err(UseCaseError::Broken("the matrix approves no create by itself")),
    }
    let now = platform.now();
    let requester = caller.subject.user();
    let submitted = Submitted {
        event_id: platform.ids.id(),
        ticket_id: platform.ids.id(),
        status: SubmittedStatus::PendingApproval,
        warnings,
    };
    let payload = payload(command, checked, requester);
    let payload = submission::stored_payload(&payload)?;

    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    hold(&mut *uow, command, checked).await?;
    uow.events()
        .insert(NewEvent {
            id: submitted.event_id,
            event_type: EventType::VmCreationRequested,
            aggregate_type: AggregateType::Service,
            aggregate_id: command.service.to_string(),
            payload,
            status: EventStatus::Pending,
            causation_id: None,
            environment: Some(environment),
            created_by: caller.context.actor.clone(),
            at: now,
            trace_id: caller.context.request_id.clone(),
        })
        .await?;
    let ticket = NewTicket {
        id: submitted.ticket_id,
        event_id: submitted.event_id,
        request_type: RequestType::CreateVm,
        status: TicketStatus::PendingApproval,
        environment,
        requester,
        reason: Some(command.reason.trim().to_owned()),
        system_id: Some(checked.service.system_id),
        service_id: Some(command.service),
        vm_id: None,
        template_id: Some(command.template),
        instance_size_id: Some(command.size),
        namespace: Some(checked.namespace.name.clone()),
        context: context(caller, checked, &submitted.warnings),
        at: now,
    };
    let number = match uow
        .tickets()
        .insert(&ticket, &submission::submission_steps(caller))
        .await
    {
        Ok(number) => number,
        Err(error) if error.is_unique("uq_ticket_pending_create") => {
            drop(uow);
            return Err(duplicate(platform, requester, command).await?.into());
        }
        Err(error) => return Err(error.into()),
    };
    let entry = AuditEntry::new(AuditAction::VmRequest, "approval_ticket", submitted.ticket_id)
        .named(&number)
        .ticket(submitted.ticket_id)
        .environment(environment)
        .details(json!({"service_id": command.service, "namespace": checked.namespace.name, "template": checked.template.name,
            "template_version": checked.template.version, "instance_size": checked.size.size.name, "disk_gb": checked.numbers.disk_gb}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    let message = format!(
        "{} asks for a {} in {} ({}).",
        caller.username, checked.size.size.name, checked.namespace.name, checked.service.name
    );
    let waiting = Waiting {
        ticket: submitted.ticket_id,
        number: &number,
        operation: "CREATE",
        environment,
        message: &message,
    };
    submission::tell_approvers(platform, &mut *uow, caller, waiting, now).await?;
    idempotency::store(platform, &mut *uow, request, &submitted).await?;
    uow.commit().await?;
    Ok(Answer::fresh(submitted))
}

/// The dry run may have taken long: what the request refers to must still be there, and stays until the commit.
async fn hold(uow: &mut dyn UnitOfWork, command: &RequestVm, checked: &Checked) -> Result<(), UseCaseError> {
    let name = checked.namespace.name.as_str();
    let held = uow.tickets().hold_references(command.service, name).await?;
    let namespace = held
        .namespace
        .ok_or_else(|| Problem::new(ErrorCode::NamespaceNotRegistered).with("namespace", name))?;
    if !namespace.enabled || namespace.environment != checked.namespace.environment {
        return Err(Problem::new(ErrorCode::NamespaceDisabled)
            .with("namespace", name)
            .into());
    }
    if !held.service {
        return Err(Problem::not_found(ErrorCode::ServiceNotFound, command.service).into());
    }
    template::hold(uow, &checked.template).await?;
    instance_size::hold(uow, command.size).await
}

fn payload(command: &RequestVm, checked: &Checked, requester: UserId) -> CreatePayload {
    CreatePayload {
        schema: 1,
        spec: spec_of(command, Some((&checked.numbers, checked.template.version))),
        template: NamedTemplate {
            id: checked.template.id,
            name: checked.template.name.clone(),
            version: checked.template.version,
        },
        instance_size: NamedSize {
            id: checked.size.size.id,
            name: checked.size.size.name.clone(),
        },
        requester,
        reason: command.reason.trim().to_owned(),
    }
}

fn context(caller: &Caller, checked: &Checked, warnings: &[Warning]) -> TicketContext {
    let size = &checked.size.size;
    TicketContext {
        requester: Some(submission::requester(caller)),
        system: Some(Named {
            id: checked.service.system_id.to_string(),
            name: checked.service.system_name.clone(),
        }),
        service: Some(Named {
            id: checked.service.id.to_string(),
            name: checked.service.name.clone(),
        }),
        namespace: Some(checked.namespace.name.clone()),
        environment: Some(checked.namespace.environment),
        template: Some(NamedVersion {
            id: checked.template.id,
            name: checked.template.name.clone(),
            version: checked.template.version,
        }),
        instance_size: Some(NamedSummary {
            id: size.id,
            name: size.name.clone(),
            summary: format!("{} CPU, {} MiB, {} GiB", size.cpu_cores, size.memory_mb, size.disk_gb),
        }),
        vm: None,
        current: None,
        cpu_cores: Some(checked.numbers.cpu_cores),
        memory_mb: Some(checked.numbers.memory_mb),
        cpu_request: Some(checked.numbers.cpu_request),
        memory_request_mb: Some(checked.numbers.memory_request_mb),
        disk_gb: Some(checked.numbers.disk_gb),
        min_disk_gb: Some(size.min_disk_gb),
        max_disk_gb: Some(size.max_disk_gb),
        warnings: warnings.to_vec(),
    }
}

async fn duplicate(platform: &Platform, requester: UserId, command: &RequestVm) -> Result<Problem, UseCaseError> {
    let existing = platform
        .read
        .pending_create(
            requester,
            command.service,
            command.template,
            command.size,
            &command.namespace,
        )
        .await?;
    Ok(submission::duplicate_problem(
        existing,
        "CREATE",
        &command.service.to_string(),
        &command.namespace,
    ))
}
