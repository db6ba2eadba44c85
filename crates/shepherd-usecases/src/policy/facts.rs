//! What the policies know of a request about an existing machine.

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
