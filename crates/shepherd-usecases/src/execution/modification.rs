//! What a modification is checked against and the document it makes: the same at submission, at approval and, from
//! the snapshots of its ticket, at execution.

use std::time::Instant;

use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::catalog::{InstanceSize, TemplateSpec};
use shepherd_domain::ids::{InstanceSizeId, UserId, VmId};
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_domain::rendering::{Placement, RenderInput, VmDocument, VmIdentity};
use shepherd_domain::spec::{EffectiveNumbers, ModifySpec, check_growth};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::UnitOfWork;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::{ApplyMode, ProviderError};
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::vms::VmRecord;

use super::create_vm::{check_effective, check_namespace, environment_changed};
use super::operation::{required, vm_not_found};
use super::{existing, target};
use crate::cluster::gate;
use crate::vm::dry_run::{self, DryRun};
use crate::{Platform, UseCaseError};

/// A modification with everything it was checked against.
pub(crate) struct Modification {
    /// The cluster of the machine.
    pub(crate) cluster: ClusterRecord,
    /// The template version it was made from. No modification changes it.
    pub(crate) template: TemplateRecord,
    /// The size it is to have.
    pub(crate) size: InstanceSize,
    /// The numbers it is to have.
    pub(crate) numbers: EffectiveNumbers,
    /// Findings that did not stop the request.
    pub(crate) warnings: Vec<Warning>,
}

/// What a machine is rendered from anew.
pub(super) struct Shape<'a> {
    /// The template.
    pub(super) template: &'a TemplateSpec,
    /// The size.
    pub(super) size: &'a InstanceSize,
    /// The numbers.
    pub(super) numbers: EffectiveNumbers,
    /// The storage class that its disks were made in.
    pub(super) storage_class: Option<String>,
}

/// Checks a modification with no transaction open.
///
/// # Errors
/// The first of: INVALID_STATE_TRANSITION, CLUSTER_UNHEALTHY, CLUSTER_REBUILDING, CLUSTER_DEGRADED,
/// NAMESPACE_NOT_REGISTERED, NAMESPACE_DISABLED, NAMESPACE_CLUSTER_ENV_MISMATCH, TEMPLATE_NOT_FOUND,
/// INSTANCE_SIZE_NOT_FOUND, DISK_SHRINK_NOT_ALLOWED, DISK_SIZE_OUT_OF_RANGE, OVERCOMMIT_INVALID,
/// DEDICATED_CPU_OVERCOMMIT_CONFLICT, CAPABILITY_MISSING.
pub(crate) async fn check(
    platform: &Platform,
    vm: &VmRecord,
    spec: &ModifySpec,
    environment: Environment,
) -> Result<Modification, UseCaseError> {
    existing::admit(vm, RequestType::ModifyVm)?;
    let found = platform.read.get_cluster(vm.cluster_id).await?;
    let cluster = found.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, vm.cluster_id))?;
    gate::open(&cluster)?;
    check_namespace_now(platform, &vm.namespace, environment).await?;
    let template = template_of(platform, vm).await?;
    let found = platform.read.get_size(spec.instance_size_id).await?;
    let size = found.ok_or_else(|| size_not_found(spec.instance_size_id))?.size;
    let mut warnings = Vec::new();
    let numbers = EffectiveNumbers::of_modification(spec, &size, vm.disk_gb);
    check_growth(vm.disk_gb, numbers.disk_gb)?;
    check_effective(numbers, &size, environment, &mut warnings)?;
    check_capabilities(&cluster, &size)?;
    Ok(Modification {
        cluster,
        template,
        size,
        numbers,
        warnings,
    })
}

/// Repeats in the transaction what can have changed since, and keeps it so until the transaction ends.
///
/// # Errors
/// The first of: NAMESPACE_NOT_REGISTERED, NAMESPACE_DISABLED, NAMESPACE_CLUSTER_ENV_MISMATCH,
/// INSTANCE_SIZE_NOT_FOUND, VM_NOT_FOUND, INVALID_STATE_TRANSITION, DISK_SHRINK_NOT_ALLOWED.
pub(crate) async fn hold(
    uow: &mut dyn UnitOfWork,
    vm: VmId,
    namespace: &str,
    environment: Environment,
    size: InstanceSizeId,
    numbers: EffectiveNumbers,
) -> Result<(), UseCaseError> {
    hold_namespace(uow, namespace, environment).await?;
    if uow.sizes().hold(size).await?.is_none() {
        return Err(size_not_found(size).into());
    }
    let found = uow.vms().hold(vm).await?;
    let vm = found.ok_or_else(|| vm_not_found(vm))?;
    existing::admit(&vm, RequestType::ModifyVm)?;
    Ok(check_growth(vm.disk_gb, numbers.disk_gb)?)
}

async fn hold_namespace(uow: &mut dyn UnitOfWork, name: &str, environment: Environment) -> Result<(), UseCaseError> {
    let namespace = check_namespace(uow.namespaces().hold(name).await?, name)?;
    if namespace.environment == environment {
        Ok(())
    } else {
        Err(environment_changed(&namespace, environment).into())
    }
}

/// The same before the transaction: the namespace takes changes, and is still of the environment of the request.
pub(super) async fn check_namespace_now(
    platform: &Platform,
    name: &str,
    environment: Environment,
) -> Result<(), UseCaseError> {
    let mut uow = platform.begin().await?;
    hold_namespace(&mut *uow, name, environment).await
}

pub(super) fn size_not_found(id: InstanceSizeId) -> Problem {
    Problem::not_found(ErrorCode::InstanceSizeNotFound, id)
}

/// The template version of a machine, whatever its status by now. An adopted machine has none and cannot be rendered.
pub(super) async fn template_of(platform: &Platform, vm: &VmRecord) -> Result<TemplateRecord, UseCaseError> {
    let found = match vm.template_id {
        Some(id) => platform.read.get_template(id).await?,
        None => None,
    };
    found.ok_or_else(|| without_template(vm).into())
}

/// TEMPLATE_NOT_FOUND about a machine that nothing can be rendered for.
pub(crate) fn without_template(vm: &VmRecord) -> Problem {
    let problem = Problem::new(ErrorCode::TemplateNotFound).with("vm_id", vm.id.to_string());
    match vm.template_id {
        Some(id) => problem.with("id", id.to_string()),
        None => problem,
    }
}

/// CAPABILITY_MISSING unless the cluster has what the size needs.
pub(super) fn check_capabilities(cluster: &ClusterRecord, size: &InstanceSize) -> Result<(), Problem> {
    let missing = cluster.detected_capabilities.missing(&size.capabilities);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::CapabilityMissing)
        .with("missing", json!(missing))
        .with("cluster", cluster.name.as_str()))
}

/// What a cluster said to a modification.
pub(crate) struct Rehearsed {
    /// Its answer.
    pub(crate) answer: DryRun,
    /// What it was shown; nothing when it did not even say how the machine is.
    pub(crate) document: Option<VmDocument>,
}

impl Rehearsed {
    fn refused(cluster: &ClusterRecord, error: &ProviderError, document: Option<VmDocument>) -> Self {
        Self {
            answer: dry_run::refused(cluster, error),
            document,
        }
    }
}

/// Asks the cluster of the machine whether it would take the modification, its disk included.
///
/// # Errors
/// VM_NOT_FOUND when the cluster has no such machine, CLUSTER_OBJECT_CONFLICT when it is somebody else's.
pub(crate) async fn rehearse(
    platform: &Platform,
    vm: &VmRecord,
    requester: Option<UserId>,
    modification: &Modification,
) -> Result<Rehearsed, UseCaseError> {
    let cluster = &modification.cluster;
    let started = Instant::now();
    let seen = match platform.provider.get_vm(cluster.id, &vm.namespace, &vm.name).await {
        Ok(Some(seen)) if target::is_ours(vm, &seen) => seen,
        Ok(Some(_)) => return Err(target::object_conflict(vm, cluster).into()),
        Ok(None) => return Err(vm_not_found(vm.id).into()),
        Err(error) => return Ok(Rehearsed::refused(cluster, &error, None)),
    };
    let shape = Shape {
        template: &modification.template.spec,
        size: &modification.size,
        numbers: modification.numbers,
        storage_class: vm.storage_class.clone(),
    };
    let document = document(platform, vm, requester, &shape, run_strategy(&seen)).await?;
    if grows(vm, modification.numbers) {
        let disk_gb = modification.numbers.disk_gb;
        let answer = platform
            .provider
            .grow_disk(
                cluster.id,
                &vm.namespace,
                &vm.name,
                &seen.uid,
                disk_gb,
                ApplyMode::DryRun,
            )
            .await;
        if let Err(error) = answer {
            return Ok(Rehearsed::refused(cluster, &error, Some(document)));
        }
    }
    let answer = platform
        .provider
        .modify_vm(cluster.id, &document, &seen.uid, ApplyMode::DryRun)
        .await;
    Ok(match answer {
        Ok(_) => Rehearsed {
            answer: DryRun::Accepted(dry_run::slow(platform, cluster, started)),
            document: Some(document),
        },
        Err(error) => Rehearsed::refused(cluster, &error, Some(document)),
    })
}

/// Whether the disk is to be larger than it is.
pub(super) fn grows(vm: &VmRecord, numbers: EffectiveNumbers) -> bool {
    vm.disk_gb.is_none_or(|current| numbers.disk_gb > current)
}

/// The document of a machine that exists. It is the same at every attempt: names and marks are those of the creation,
/// and the number of the next revision stays until that one is written.
pub(super) async fn document(
    platform: &Platform,
    vm: &VmRecord,
    requester: Option<UserId>,
    shape: &Shape<'_>,
    run_strategy: &str,
) -> Result<VmDocument, UseCaseError> {
    let created_by = match vm.ticket_id {
        Some(id) => platform.read.get_ticket(id).await?,
        None => None,
    };
    let ticket = required(created_by, "a machine with a template was made by no ticket")?;
    let newest = platform.read.newest_revision(vm.id).await?;
    let identity = VmIdentity {
        vm_id: vm.id,
        // It tells who made the object, and a creation that is repeated looks for it.
        event_id: ticket.event_id,
        name: vm.name.clone(),
        namespace: vm.namespace.clone(),
        system: vm.system_name.clone(),
        service: vm.service_name.clone(),
        instance: vm.instance.clone(),
        ticket_number: ticket.number,
        created_by: required(
            vm.created_by.as_user().or(requester),
            "a machine with a template belongs to nobody",
        )?,
        revision: newest.saturating_add(1),
    };
    let rendered = platform.renderer.render(&RenderInput {
        identity: &identity,
        template: shape.template,
        size: shape.size,
        numbers: shape.numbers,
        placement: &Placement {
            storage_class: shape.storage_class.clone(),
        },
        run_strategy,
        guest_password: None,
    });
    // The guest was initialised at its first boot; its Secret is left alone.
    Ok(VmDocument {
        cloud_init: None,
        ..rendered
    })
}

/// The run strategy of the machine now, which a modification keeps.
pub(super) fn run_strategy(seen: &ObservedVm) -> &str {
    let is_off = seen.condition == ObservedCondition::Is(VmStatus::Stopped);
    let described = if is_off { "Halted" } else { "Always" };
    seen.run_strategy.as_deref().unwrap_or(described)
}
