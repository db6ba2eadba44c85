//! Somebody asks for another size or a larger disk of a machine (requests.md §7).

use async_trait::async_trait;
use serde_json::{Value, json};
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::{InstanceSizeId, TicketId, VmId};
use shepherd_domain::policy::PolicyFacts;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem, Warning, WarningCode};
use shepherd_domain::spec::{CreateSpec, EffectiveNumbers, ModifyPayload, ModifySpec, NamedSize};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::revisions::ShapedBy;
use shepherd_ports::tickets::{CurrentShape, NamedSummary, NamedVersion, TicketContext};
use shepherd_ports::vms::VmRecord;

use super::dry_run::DryRun;
use super::filing::{Described, Filing, Request};
use super::request::MAX_REASON;
use super::{Submitted, submission};
use crate::approval::approve::Choice;
use crate::execution::Operations;
use crate::execution::modification::{self, Modification};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError, policy};

/// What is asked for, at least one of size and disk.
#[derive(Clone, Debug)]
pub struct RequestModification {
    /// Size the machine is to have; its numbers are those of the size.
    pub size: Option<InstanceSizeId>,
    /// Disk in GiB, never less than there is; absent leaves it.
    pub disk_gb: Option<i32>,
    /// Why, 1 to 1024 characters.
    pub reason: String,
}

/// Submits the request: event, ticket, history, audit row and notifications in one transaction.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, VALIDATION_FAILED (also when nothing would change); what the state of the
/// machine, its cluster, namespace, template, the size and the disk refuse;
/// INSTANCE_SIZE_DISABLED, DRY_RUN_REJECTED, DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: VmId,
    command: RequestModification,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmModify)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let vm = super::visible(platform, caller, Permission::VmModify, ResourceAction::Operate, id).await?;
    check_fields(&command)?;
    let before = Before::read(platform, &vm).await?;
    let spec = spec_of(&vm, &command, &before)?;
    let mut checked = modification::check(platform, &vm, &spec, vm.environment).await?;
    // A size that was taken out of the offer stays with the machines that have it.
    if !checked.size.enabled && vm.instance_size_id != Some(checked.size.id) {
        return Err(Problem::new(ErrorCode::InstanceSizeDisabled)
            .with("instance_size_id", checked.size.id.to_string())
            .into());
    }
    if !before.differs(&vm, &checked) {
        return Err(nothing_changes(&command).into());
    }
    let found = preview(platform, caller, &vm, &checked).await?;
    checked.warnings.extend(found);
    let submission = Submission {
        platform,
        caller,
        vm: &vm,
        reason: command.reason.trim().to_owned(),
        checked,
    };
    let filing = Filing {
        platform,
        operation: operations.of_request(RequestType::ModifyVm)?,
        caller,
        asked: &submission,
        rule: policy::rule(platform, &submission.facts().await?).await?,
        warnings: submission.checked.warnings.clone(),
    };
    filing.place_and_submit(Some(Choice::default()), request).await
}

fn check_fields(command: &RequestModification) -> Result<(), Problem> {
    let mut errors = Vec::new();
    if command.size.is_none() && command.disk_gb.is_none() {
        errors.push(FieldError::new("instance_size_id", FieldCode::Required));
        errors.push(FieldError::new("disk_gb", FieldCode::Required));
    }
    let reason = command.reason.trim();
    if reason.is_empty() {
        errors.push(FieldError::new("reason", FieldCode::Required));
    } else if reason.chars().count() > MAX_REASON {
        errors.push(FieldError::new("reason", FieldCode::TooLong).with("max_length", MAX_REASON));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}

/// VALIDATION_FAILED on what was given: the machine has it already.
fn nothing_changes(command: &RequestModification) -> Problem {
    let given = [
        ("instance_size_id", command.size.is_some()),
        ("disk_gb", command.disk_gb.is_some()),
    ];
    let errors = given.into_iter().filter(|(_, is_given)| *is_given);
    Problem::invalid(
        errors
            .map(|(field, _)| FieldError::new(field, FieldCode::UnknownValue).with("reason", "unchanged"))
            .collect(),
    )
}

/// What the machine was given last, by its creation or a modification; nothing of a clone.
struct Before(Option<(EffectiveNumbers, InstanceSize)>);

impl Before {
    async fn read(platform: &Platform, vm: &VmRecord) -> Result<Self, UseCaseError> {
        let shaped = platform.read.shaped_by(vm.id).await?;
        Ok(Self(shaped.map(|shaped| numbers_of(&shaped)).transpose()?))
    }

    /// CPU and memory as they are: limits from the row; requests as they were approved for these limits.
    fn kept(&self, vm: &VmRecord, spec: ModifySpec) -> ModifySpec {
        let numbers = self.0.as_ref().map(|(numbers, _)| numbers);
        let cpu = numbers.filter(|numbers| vm.cpu_cores == Some(numbers.cpu_cores));
        let memory = numbers.filter(|numbers| vm.memory_mb == Some(numbers.memory_mb));
        ModifySpec {
            cpu_cores: vm.cpu_cores,
            cpu_request: cpu.map(|numbers| numbers.cpu_request),
            memory_mb: vm.memory_mb,
            memory_request_mb: memory.map(|numbers| numbers.memory_request_mb),
            ..spec
        }
    }

    /// Whether the machine would become another one. The same size counts when its columns changed since.
    fn differs(&self, vm: &VmRecord, checked: &Modification) -> bool {
        let wanted = checked.numbers;
        let of_row = [wanted.cpu_cores, wanted.memory_mb, wanted.disk_gb].map(Some);
        let is_other_size = self.0.as_ref().is_some_and(|(_, size)| *size != checked.size);
        vm.instance_size_id != Some(checked.size.id)
            || of_row != [vm.cpu_cores, vm.memory_mb, vm.disk_gb]
            || is_other_size
    }
}

fn numbers_of(shaped: &ShapedBy) -> Result<(EffectiveNumbers, InstanceSize), UseCaseError> {
    let size: InstanceSize = stored(&shaped.instance_size_snapshot, "size snapshot")?;
    let numbers = if shaped.request_type == RequestType::CreateVm {
        EffectiveNumbers::of(&stored::<CreateSpec>(&shaped.spec, "payload")?, &size)
    } else {
        EffectiveNumbers::of_modification(&stored(&shaped.spec, "payload")?, &size, None)
    };
    Ok((numbers, size))
}

fn stored<T: serde::de::DeserializeOwned>(value: &serde_json::Value, what: &'static str) -> Result<T, UseCaseError> {
    serde_json::from_value(value.clone()).map_err(|source| UseCaseError::Stored { what, source })
}

/// The spec as it is asked for: a new size brings its numbers, a larger disk alone leaves them.
fn spec_of(vm: &VmRecord, command: &RequestModification, before: &Before) -> Result<ModifySpec, Problem> {
    let size = command.size.or(vm.instance_size_id);
    let spec = ModifySpec {
        vm_id: vm.id,
        service_id: vm.service_id,
        namespace: vm.namespace.clone(),
        instance_size_id: size.ok_or_else(|| modification::without_template(vm))?,
        disk_gb: command.disk_gb,
        cpu_cores: None,
        memory_mb: None,
        cpu_request: None,
        memory_request_mb: None,
    };
    Ok(if command.size.is_some() {
        spec
    } else {
        before.kept(vm, spec)
    })
}

/// The dry run on the cluster of the machine; one that does not answer does not stop the request.
async fn preview(
    platform: &Platform,
    caller: &Caller,
    vm: &VmRecord,
    checked: &Modification,
) -> Result<Vec<Warning>, UseCaseError> {
    let requester = Some(caller.subject.user());
    let rehearsed = modification::rehearse(platform, vm, requester, checked).await?;
    match rehearsed.answer {
        DryRun::Accepted(warnings) => Ok(warnings),
        DryRun::Rejected(problem) => Err(problem.into()),
        DryRun::Unreachable => Ok(vec![
            Warning::new(WarningCode::PreviewUnavailable).with("cluster", checked.cluster.name.as_str()),
        ]),
    }
}

/// A request that passed its checks.
struct Submission<'a> {
    platform: &'a Platform,
    caller: &'a Caller,
    vm: &'a VmRecord,
    reason: String,
    checked: Modification,
}

#[async_trait]
impl Request for Submission<'_> {
    fn payload(&self) -> Result<Value, UseCaseError> {
        let (vm, numbers) = (self.vm, self.checked.numbers);
        submission::stored_payload(&ModifyPayload {
            schema: 1,
            spec: ModifySpec {
                vm_id: vm.id,
                service_id: vm.service_id,
                namespace: vm.namespace.clone(),
                instance_size_id: self.checked.size.id,
                disk_gb: Some(numbers.disk_gb),
                cpu_cores: Some(numbers.cpu_cores),
                memory_mb: Some(numbers.memory_mb),
                cpu_request: Some(numbers.cpu_request),
                memory_request_mb: Some(numbers.memory_request_mb),
            },
            vm_name: vm.name.clone(),
            instance_size: NamedSize {
                id: self.checked.size.id,
                name: self.checked.size.name.clone(),
            },
            requester: self.caller.subject.user(),
            reason: self.reason.clone(),
        })
    }

    fn aggregate(&self) -> (AggregateType, String) {
        (AggregateType::Vm, self.vm.id.to_string())
    }

    fn described(&self) -> Described {
        let vm = self.vm;
        Described {
            environment: vm.environment,
            reason: Some(self.reason.clone()),
            system_id: vm.system_id,
            service_id: vm.service_id,
            vm_id: Some(vm.id),
            template_id: Some(self.checked.template.id),
            instance_size_id: Some(self.checked.size.id),
            namespace: vm.namespace.clone(),
            context: self.context(),
        }
    }

    async fn hold(&self, uow: &mut dyn UnitOfWork) -> Result<(), UseCaseError> {
        let (vm, size, numbers) = (self.vm, self.checked.size.id, self.checked.numbers);
        modification::hold(uow, vm.id, &vm.namespace, vm.environment, size, numbers).await
    }

    fn audit(&self, number: &str, _ticket: TicketId) -> AuditEntry {
        let (size, numbers) = (&self.checked.size, self.checked.numbers);
        AuditEntry::new(AuditAction::VmModifySubmitted, "vm", self.vm.id)
            .named(&self.vm.name)
            .details(json!({
                "ticket_number": number, "instance_size": size.name, "instance_size_id": size.id,
                "cpu_cores": numbers.cpu_cores, "memory_mb": numbers.memory_mb, "disk_gb": numbers.disk_gb,
                "current": current(self.vm),
            }))
    }

    fn message(&self) -> String {
        format!(
            "{} asks for another size or disk of {}.",
            self.caller.username, self.vm.name
        )
    }

    async fn duplicate(&self) -> Result<Problem, UseCaseError> {
        submission::duplicate_operation(self.platform, self.vm, RequestType::ModifyVm).await
    }
}

impl Submission<'_> {
    /// What the policies know of it: the machine as it would be.
    async fn facts(&self) -> Result<PolicyFacts, UseCaseError> {
        let (size, numbers) = (&self.checked.size, self.checked.numbers);
        let requester = self.caller.subject.user();
        let machine = policy::facts::of_machine(self.platform, RequestType::ModifyVm, requester, self.vm).await?;
        Ok(PolicyFacts {
            size: Some(size.id),
            cpu_cores: Some(numbers.cpu_cores),
            memory_mb: Some(numbers.memory_mb),
            disk_gb: Some(numbers.disk_gb),
            special_hardware: Some(size.needs_special_hardware()),
            ..machine
        })
    }

    /// The numbers the machine would have, and those it has.
    fn context(&self) -> TicketContext {
        let Modification {
            template,
            size,
            numbers,
            warnings,
            ..
        } = &self.checked;
        TicketContext {
            template: Some(NamedVersion {
                id: template.id,
                name: template.name.clone(),
                version: template.version,
            }),
            instance_size: Some(NamedSummary {
                id: size.id,
                name: size.name.clone(),
                summary: format!("{} CPU, {} MiB, {} GiB", size.cpu_cores, size.memory_mb, size.disk_gb),
            }),
            cpu_cores: Some(numbers.cpu_cores),
            memory_mb: Some(numbers.memory_mb),
            cpu_request: Some(numbers.cpu_request),
            memory_request_mb: Some(numbers.memory_request_mb),
            disk_gb: Some(numbers.disk_gb),
            min_disk_gb: Some(size.min_disk_gb),
            max_disk_gb: Some(size.max_disk_gb),
            current: Some(current(self.vm)),
            warnings: warnings.clone(),
            ..submission::context_of(self.caller, self.vm)
        }
    }
}

fn current(vm: &VmRecord) -> CurrentShape {
    CurrentShape {
        instance_size_id: vm.instance_size_id,
        cpu_cores: vm.cpu_cores,
        memory_mb: vm.memory_mb,
        disk_gb: vm.disk_gb,
    }
}
