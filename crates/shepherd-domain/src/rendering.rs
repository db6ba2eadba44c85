//! The input of rendering: everything a document is made of, and nothing a document could be asked for.

use std::fmt;

use crate::catalog::{InstanceSize, TemplateSpec};
use crate::ids::{EventId, UserId, VmId};
use crate::spec::EffectiveNumbers;

/// Names and marks of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmIdentity {
    /// The row.
    pub vm_id: VmId,
    /// The event that creates the object.
    pub event_id: EventId,
    /// Machine name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// System name.
    pub system: String,
    /// Service name.
    pub service: String,
    /// Instance, at least two digits.
    pub instance: String,
    /// Number of the create ticket.
    pub ticket_number: String,
    /// Requester.
    pub created_by: UserId,
    /// Revision of the document, from 1.
    pub revision: i32,
}

/// The account a guest is first entered with, and what its password hashes to. The password itself is never here.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestPassword {
    /// Account in the guest.
    pub username: String,
    /// Its crypt(3) hash: a `$6$` string.
    pub hash: String,
}

impl fmt::Debug for GuestPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestPassword")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Where the machine goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Storage class of its disks; `None` leaves the choice to the cluster.
    pub storage_class: Option<String>,
}

/// The input of rendering; rendering is pure, total and deterministic over it.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderInput<'a> {
    /// Names and marks.
    pub identity: &'a VmIdentity,
    /// The template snapshot.
    pub template: &'a TemplateSpec,
    /// The size snapshot.
    pub size: &'a InstanceSize,
    /// The numbers that were approved.
    pub numbers: EffectiveNumbers,
    /// Where it goes.
    pub placement: &'a Placement,
    /// `Always` at creation, else what the cluster was observed to have.
    pub run_strategy: &'a str,
    /// The one-time password that the guest is given at its first boot; only the execution of a creation knows it.
    pub guest_password: Option<&'a GuestPassword>,
}

/// A rendered VirtualMachine and what belongs to it. Opaque outside of the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct VmDocument {
    /// The VirtualMachine.
    pub object: serde_json::Value,
    /// The Secret that holds its cloud-init data, when the template has any.
    pub cloud_init: Option<serde_json::Value>,
}
