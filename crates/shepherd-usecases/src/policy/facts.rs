//! What the policies know of a request about an existing machine, and of a spec that takes the place of another.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::ids::{InstanceSizeId, TemplateId, UserId};
use shepherd_domain::policy::PolicyFacts;
use shepherd_domain::spec::{CreateSpec, EffectiveNumbers, ModifySpec};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::VmRecord;

use crate::{Platform, UseCaseError};

/// The machine as it is now.
///
/// # Errors
/// When the store fails.
pub(crate) async fn of_machine(
    platform: &Platform,
    operation: RequestType,
    requester: UserId,
    vm: &VmRecord,
) -> Result<PolicyFacts, UseCaseError> {
    Ok(PolicyFacts {
        requester: Some(requester),
        namespace: Some(vm.namespace.clone()),
        system: Some(vm.system_id),
        service: Some(vm.service_id),
        template_name: template_name(platform, vm.template_id).await?,
        size: vm.instance_size_id,
        cpu_cores: vm.cpu_cores,
        memory_mb: vm.memory_mb,
        disk_gb: vm.disk_gb,
        special_hardware: special_hardware(platform, vm.instance_size_id).await?,
        ..PolicyFacts::new(operation, vm.environment)
    })
}

/// The machines of a batch as they are now, in their order; templates and sizes are read once for all of them.
///
/// # Errors
/// When the store fails.
pub(crate) async fn of_machines(
    platform: &Platform,
    operation: RequestType,
    requester: UserId,
    machines: &[&VmRecord],
) -> Result<Vec<PolicyFacts>, UseCaseError> {
    let templates: BTreeSet<TemplateId> = machines.iter().filter_map(|vm| vm.template_id).collect();
    let templates: Vec<TemplateId> = templates.into_iter().collect();
    let names: HashMap<TemplateId, String> = platform
        .read
        .templates_of(&templates)
        .await?
        .into_iter()
        .map(|template| (template.id, template.name))
        .collect();
    let sizes: BTreeSet<InstanceSizeId> = machines.iter().filter_map(|vm| vm.instance_size_id).collect();
    let sizes: Vec<InstanceSizeId> = sizes.into_iter().collect();
    let hardware: HashMap<InstanceSizeId, bool> = platform
        .read
        .sizes_of(&sizes)
        .await?
        .into_iter()
        .map(|record| (record.size.id, record.size.needs_special_hardware()))
        .collect();
    let facts = machines.iter().map(|vm| PolicyFacts {
        requester: Some(requester),
        namespace: Some(vm.namespace.clone()),
        system: Some(vm.system_id),
        service: Some(vm.service_id),
        template_name: vm.template_id.and_then(|id| names.get(&id).cloned()),
        size: vm.instance_size_id,
        cpu_cores: vm.cpu_cores,
        memory_mb: vm.memory_mb,
        disk_gb: vm.disk_gb,
        special_hardware: vm.instance_size_id.and_then(|id| hardware.get(&id).copied()),
        ..PolicyFacts::new(operation, vm.environment)
    });
    Ok(facts.collect())
}

/// The same request with this spec, by whoever asked; nothing when its size or its machine is gone, and so nothing can
/// come of it.
///
/// # Errors
/// When the store fails.
pub(super) async fn of_replacement(
    platform: &Platform,
    ticket: &TicketRecord,
    spec: &Value,
) -> Result<Option<PolicyFacts>, UseCaseError> {
    let requester = ticket.requester_id.as_user();
    let requester = requester.ok_or(UseCaseError::Broken("a spec was not asked for by a user"))?;
    if ticket.request_type == RequestType::CreateVm {
        let spec: CreateSpec = read(spec)?;
        let Some(size) = size(platform, spec.instance_size_id).await? else {
            return Ok(None);
        };
        // A child is judged as what it was submitted as.
        let operation = match ticket.parent_ticket_id {
            Some(_) => RequestType::BatchCreate,
            None => RequestType::CreateVm,
        };
        let facts = PolicyFacts {
            requester: Some(requester),
            namespace: Some(spec.namespace.clone()),
            system: ticket.system_id,
            service: Some(spec.service_id),
            template_name: template_name(platform, Some(spec.template_id)).await?,
            ..PolicyFacts::new(operation, ticket.environment)
        };
        return Ok(Some(sized(facts, &size, EffectiveNumbers::of(&spec, &size))));
    }
    let spec: ModifySpec = read(spec)?;
    let size = size(platform, spec.instance_size_id).await?;
    let (Some(size), Some(vm)) = (size, platform.read.get_vm(spec.vm_id).await?) else {
        return Ok(None);
    };
    let facts = of_machine(platform, ticket.request_type, requester, &vm).await?;
    let numbers = EffectiveNumbers::of_modification(&spec, &size, vm.disk_gb);
    Ok(Some(sized(facts, &size, numbers)))
}

fn sized(facts: PolicyFacts, size: &InstanceSize, numbers: EffectiveNumbers) -> PolicyFacts {
    PolicyFacts {
        size: Some(size.id),
        cpu_cores: Some(numbers.cpu_cores),
        memory_mb: Some(numbers.memory_mb),
        disk_gb: Some(numbers.disk_gb),
        special_hardware: Some(size.needs_special_hardware()),
        ..facts
    }
}

fn read<S: serde::de::DeserializeOwned>(spec: &Value) -> Result<S, UseCaseError> {
    serde_json::from_value(spec.clone()).map_err(|source| UseCaseError::Stored {
        what: "modified spec",
        source,
    })
}

async fn size(platform: &Platform, id: InstanceSizeId) -> Result<Option<InstanceSize>, UseCaseError> {
    Ok(platform.read.get_size(id).await?.map(|record| record.size))
}

async fn template_name(platform: &Platform, id: Option<TemplateId>) -> Result<Option<String>, UseCaseError> {
    let Some(id) = id else { return Ok(None) };
    Ok(platform.read.get_template(id).await?.map(|template| template.name))
}

/// Nothing is known of a size that is not there any more, and the policies take it for the worse.
async fn special_hardware(platform: &Platform, id: Option<InstanceSizeId>) -> Result<Option<bool>, UseCaseError> {
    let Some(id) = id else { return Ok(None) };
    Ok(size(platform, id).await?.map(|size| size.needs_special_hardware()))
}
