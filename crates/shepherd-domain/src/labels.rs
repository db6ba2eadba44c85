//! Labels and annotations the platform puts on cluster objects. Users can neither set nor change one.

/// Label key and value that mark everything the platform owns.
pub const MANAGED_BY: &str = "kubevirt-shepherd.io/managed-by";
/// Value of [`MANAGED_BY`], and the field manager of every apply.
pub const MANAGER: &str = "kubevirt-shepherd";
/// Label: System name.
pub const SYSTEM: &str = "kubevirt-shepherd.io/system";
/// Label: Service name.
pub const SERVICE: &str = "kubevirt-shepherd.io/service";
/// Label: instance, at least two digits.
pub const INSTANCE: &str = "kubevirt-shepherd.io/instance";
/// Label: number of the create ticket.
pub const TICKET: &str = "kubevirt-shepherd.io/ticket-id";
/// Label: user id of the requester.
pub const CREATED_BY: &str = "kubevirt-shepherd.io/created-by";
/// Label: machine name.
pub const HOSTNAME: &str = "kubevirt-shepherd.io/hostname";
/// Annotation: fully qualified name.
pub const FQDN: &str = "kubevirt-shepherd.io/fqdn";
/// Annotation: event that created the object; the idempotency mark of creation.
pub const EVENT: &str = "kubevirt-shepherd.io/event-id";
/// Annotation: row of the machine; the key of projection.
pub const VM: &str = "kubevirt-shepherd.io/vm-id";
/// Annotation: revision of the rendered document.
pub const REVISION: &str = "kubevirt-shepherd.io/revision";
/// Label of namespaces the platform created.
pub const ENVIRONMENT: &str = "kubevirt-shepherd.io/environment";
/// Annotation of namespaces the platform created: RFC 3339.
pub const CREATED_AT: &str = "kubevirt-shepherd.io/created-at";
