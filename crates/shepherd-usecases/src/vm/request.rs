//! A member of a System asks for a virtual machine (requests.md §2).

use async_trait::async_trait;
use serde_json::{Value, json};
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::{ClusterId, InstanceSizeId, ServiceId, TemplateId, TicketId, UserId};
use shepherd_domain::naming::VmName;
use shepherd_domain::policy::{Decision, PolicyFacts};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem, Warning};
use shepherd_domain::spec::{CreatePayload, CreateSpec, EffectiveNumbers, NamedSize, NamedTemplate};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::namespaces::NamespaceRecord;
use shepherd_ports::sizes::SizeRecord;
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::tickets::{CreateFacts, Named, NamedSummary, NamedVersion, ServiceFacts, TicketContext};

use super::filing::{Described, Filing, Request};
use super::preview::Previewed;
use super::{Submitted, preview, submission};
use crate::approval::approve::Choice;
use crate::approval::suggest::{self, Wanted};
use crate::authorization::{self, Guarded};
use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError, instance_size, policy, template};

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
pub(crate) struct Checked {
    pub(crate) service: ServiceFacts,
    pub(crate) namespace: NamespaceRecord,
    pub(crate) template: TemplateRecord,
    pub(crate) size: SizeRecord,
    pub(crate) numbers: EffectiveNumbers,
}

/// Submits the request: event, ticket, history, audit row and notifications in one transaction. What a policy approves
/// goes to the best cluster there is; without one it waits.
///
/// # Errors
/// In the order of requests.md §2.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    command: RequestVm,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmCreate)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let Examined { checked, previewed } = examine(platform, caller, &command, None).await?;
    let rule = policy::rule(platform, &facts(caller, &command, &checked)).await?;
    let choice = match rule.decision {
        Decision::AutoApproved => best(platform, &checked).await?,
        Decision::RequiresApproval => None,
    };
    let submission = Submission {
        platform,
        caller,
        command: &command,
        checked: &checked,
        warnings: &previewed.warnings,
    };
    let filing = Filing {
        platform,
        operation: operations.of_request(RequestType::CreateVm)?,
        caller,
        asked: &submission,
        rule,
        warnings: previewed.warnings.clone(),
    };
    filing.place_and_submit(choice, request).await
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
pub(crate) fn check(caller: &Caller, command: &RequestVm, facts: CreateFacts) -> Result<Checked, Problem> {
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

/// What the policies know of it.
pub(crate) fn facts(caller: &Caller, command: &RequestVm, checked: &Checked) -> PolicyFacts {
    PolicyFacts {
        requester: Some(caller.subject.user()),
        namespace: Some(checked.namespace.name.clone()),
        system: Some(checked.service.system_id),
        service: Some(command.service),
        template_name: Some(checked.template.name.clone()),
        size: Some(command.size),
        cpu_cores: Some(checked.numbers.cpu_cores),
        memory_mb: Some(checked.numbers.memory_mb),
        disk_gb: Some(checked.numbers.disk_gb),
        special_hardware: Some(checked.size.size.needs_special_hardware()),
        ..PolicyFacts::new(RequestType::CreateVm, checked.namespace.environment)
    }
}

/// The cluster that a request goes to when nobody chooses one.
async fn best(platform: &Platform, checked: &Checked) -> Result<Option<Choice>, UseCaseError> {
    let wanted = Wanted {
        namespace: &checked.namespace.name,
        environment: checked.namespace.environment,
        size: &checked.size.size,
    };
    let best = suggest::best(platform, wanted).await?;
    Ok(best.map(|cluster| Choice {
        cluster: Some(cluster),
        ..Choice::default()
    }))
}

/// A request that passed its checks.
struct Submission<'a> {
    platform: &'a Platform,
    caller: &'a Caller,
    command: &'a RequestVm,
    checked: &'a Checked,
    warnings: &'a [Warning],
}

#[async_trait]
impl Request for Submission<'_> {
    fn payload(&self) -> Result<Value, UseCaseError> {
        let payload = payload(self.command, self.checked, self.caller.subject.user());
        submission::stored_payload(&payload)
    }

    fn aggregate(&self) -> (AggregateType, String) {
        (AggregateType::Service, self.command.service.to_string())
    }

    fn described(&self) -> Described {
        let (command, checked) = (self.command, self.checked);
        Described {
            environment: checked.namespace.environment,
            reason: Some(command.reason.trim().to_owned()),
            system_id: checked.service.system_id,
            service_id: command.service,
            vm_id: None,
            template_id: Some(command.template),
            instance_size_id: Some(command.size),
            namespace: checked.namespace.name.clone(),
            context: context(self.caller, checked, self.warnings),
        }
    }

    async fn hold(&self, uow: &mut dyn UnitOfWork) -> Result<(), UseCaseError> {
        hold(uow, self.command, self.checked).await
    }

    fn audit(&self, number: &str, ticket: TicketId) -> AuditEntry {
        let checked = self.checked;
        AuditEntry::new(AuditAction::VmRequest, "approval_ticket", ticket)
            .named(number)
            .details(json!({"service_id": self.command.service, "namespace": checked.namespace.name, "template": checked.template.name,
                "template_version": checked.template.version, "instance_size": checked.size.size.name, "disk_gb": checked.numbers.disk_gb}))
    }

    fn message(&self) -> String {
        let checked = self.checked;
        format!(
            "{} asks for a {} in {} ({}).",
            self.caller.username, checked.size.size.name, checked.namespace.name, checked.service.name
        )
    }

    fn guard(&self) -> &'static str {
        "uq_ticket_pending_create"
    }

    async fn duplicate(&self) -> Result<Problem, UseCaseError> {
        duplicate(self.platform, self.caller.subject.user(), self.command).await
    }
}

/// The dry run may have taken long: what the request refers to must still be there, and stays until the commit.
pub(crate) async fn hold(uow: &mut dyn UnitOfWork, command: &RequestVm, checked: &Checked) -> Result<(), UseCaseError> {
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

pub(crate) fn payload(command: &RequestVm, checked: &Checked, requester: UserId) -> CreatePayload {
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

pub(crate) fn context(caller: &Caller, checked: &Checked, warnings: &[Warning]) -> TicketContext {
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
        batch: None,
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
