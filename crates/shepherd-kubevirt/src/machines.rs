//! The two kinds a machine consists of on a cluster, and reading one machine.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::providers::ProviderError;

use crate::errors::{is_absent, provider_error};
use crate::mapping;

/// `apiVersion` of machines and their instances.
pub(crate) const API_VERSION: &str = "kubevirt.io/v1";
/// Kind of a machine.
pub(crate) const KIND: &str = "VirtualMachine";

/// The machine: what is wanted.
pub(crate) fn machine_kind() -> ApiResource {
    kind("kubevirt.io", "v1", KIND, "virtualmachines")
}

/// Its instance: what runs, under the same name.
pub(crate) fn instance_kind() -> ApiResource {
    kind("kubevirt.io", "v1", "VirtualMachineInstance", "virtualmachineinstances")
}

/// A kind by its names; plurals are never guessed.
pub(crate) fn kind(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Machines of one namespace.
pub(crate) fn machines(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &machine_kind())
}

/// The machine merged with its instance; `None` when the API server says that there is none.
pub(crate) async fn get_vm(client: &Client, namespace: &str, name: &str) -> Result<Option<ObservedVm>, ProviderError> {
    let Some(vm) = get(&machines(client, namespace), name).await? else {
        return Ok(None);
    };
    let instances = Api::namespaced_with(client.clone(), namespace, &instance_kind());
    let vmi = get(&instances, name).await?;
    mapping::observe(&vm, vmi.as_ref()).map(Some)
}

async fn get(api: &Api<DynamicObject>, name: &str) -> Result<Option<DynamicObject>, ProviderError> {
    match api.get(name).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(provider_error(&error)),
    }
}
