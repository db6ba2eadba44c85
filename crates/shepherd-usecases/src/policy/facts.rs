//! What the policies know of a request about an existing machine.

use std::collections::{BTreeSet, HashMap};

use shepherd_domain::ids::{InstanceSizeId, TemplateId, UserId};
use shepherd_domain::policy::PolicyFacts;
use shepherd_domain::ticket::RequestType;
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

async fn template_name(platform: &Platform, id: Option<TemplateId>) -> Result<Option<String>, UseCaseError> {
    let Some(id) = id else { return Ok(None) };
    Ok(platform.read.get_template(id).await?.map(|template| template.name))
}

/// Nothing is known of a size that is not there any more.
async fn special_hardware(platform: &Platform, id: Option<InstanceSizeId>) -> Result<Option<bool>, UseCaseError> {
    let Some(id) = id else { return Ok(None) };
    let found = platform.read.get_size(id).await?;
    Ok(found.map(|record| record.size.needs_special_hardware()))
}
