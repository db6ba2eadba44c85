//! Labels and annotations of everything the platform makes (domain.md §6).

use serde_json::{Value, json};
use shepherd_domain::labels;
use shepherd_domain::naming::fqdn;
use shepherd_domain::rendering::VmIdentity;

/// The labels of the machine, its instance, its data volumes and its Secret.
pub(super) fn labels(identity: &VmIdentity) -> Value {
    json!({
        labels::MANAGED_BY: labels::MANAGER,
        labels::SYSTEM: identity.system,
        labels::SERVICE: identity.service,
        labels::INSTANCE: identity.instance,
        labels::TICKET: identity.ticket_number,
        labels::CREATED_BY: identity.created_by.to_string(),
        labels::HOSTNAME: identity.name,
    })
}

/// The marks of the machine itself.
pub(super) fn annotations(identity: &VmIdentity) -> Value {
    json!({
        labels::FQDN: fqdn(&identity.name, &identity.namespace),
        labels::EVENT: identity.event_id.to_string(),
        labels::VM: identity.vm_id.to_string(),
        labels::REVISION: identity.revision.to_string(),
    })
}
