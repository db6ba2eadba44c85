//! What a request asks for, and the effective spec that is carried out.

pub mod replacement;

use serde::{Deserialize, Serialize};

use crate::catalog::InstanceSize;
use crate::ids::{CloneId, InstanceSizeId, MigrationId, ServiceId, SnapshotId, TemplateId, UserId, VmId};
use crate::problem::{ErrorCode, Problem};

/// The spec of a CREATE_VM request; required fields first, the rest falls back to the size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateSpec {
    /// Service the machine belongs to.
    pub service_id: ServiceId,
    /// Registered namespace.
    pub namespace: String,
    /// Template version the requester saw.
    pub template_id: TemplateId,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version: Option<i32>,
    /// Instance size.
    pub instance_size_id: InstanceSizeId,
    /// Disk in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<i32>,
    /// CPU limit in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<i32>,
    /// Memory limit in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<i32>,
    /// CPU request in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<i32>,
    /// Memory request in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request_mb: Option<i32>,
}

/// The immutable payload of a VM_CREATION_REQUESTED event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePayload {
    /// Version of this shape, 1.
    pub schema: u32,
    /// What was asked for, all values materialised.
    pub spec: CreateSpec,
    /// The template at submission.
    pub template: NamedTemplate,
    /// The size at submission.
    pub instance_size: NamedSize,
    /// Who asked.
    pub requester: UserId,
    /// Why.
    pub reason: String,
}

/// The spec of a MODIFY_VM request; required fields first, the rest falls back to the size, the disk to what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModifySpec {
    /// The machine.
    pub vm_id: VmId,
    /// Its Service.
    pub service_id: ServiceId,
    /// Its namespace.
    pub namespace: String,
    /// Instance size it is to have.
    pub instance_size_id: InstanceSizeId,
    /// Disk in GiB; never less than it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<i32>,
    /// CPU limit in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<i32>,
    /// Memory limit in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<i32>,
    /// CPU request in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<i32>,
    /// Memory request in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request_mb: Option<i32>,
}

/// The immutable payload of a VM_MODIFY_REQUESTED event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyPayload {
    /// Version of this shape, 1.
    pub schema: u32,
    /// What was asked for, all values materialised.
    pub spec: ModifySpec,
    /// Name of the machine.
    pub vm_name: String,
    /// The size at submission.
    pub instance_size: NamedSize,
    /// Who asked.
    pub requester: UserId,
    /// Why.
    pub reason: String,
}

/// Refuses a disk that would be smaller than it is; what is not known to be there cannot shrink.
///
/// # Errors
/// DISK_SHRINK_NOT_ALLOWED.
pub fn check_growth(current_disk_gb: Option<i32>, requested_disk_gb: i32) -> Result<(), Problem> {
    match current_disk_gb {
        Some(current) if requested_disk_gb < current => Err(Problem::new(ErrorCode::DiskShrinkNotAllowed)
            .with("current_disk_gb", current)
            .with("requested_disk_gb", requested_disk_gb)),
        Some(_) | None => Ok(()),
    }
}

/// The immutable payload of a VM_DELETION_REQUESTED event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletePayload {
    /// Version of this shape, 1.
    pub schema: u32,
    /// The machine.
    pub vm_id: VmId,
    /// Its name.
    pub vm_name: String,
    /// Its namespace.
    pub namespace: String,
    /// Who asked.
    pub requester: UserId,
    /// Why, when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The immutable payload of a work event about an existing machine: power, snapshots, restores, clones, migrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationPayload {
    /// Version of this shape, 1.
    pub schema: u32,
    /// The machine; of a clone its source.
    pub vm_id: VmId,
    /// Its name.
    pub vm_name: String,
    /// Its namespace.
    pub namespace: String,
    /// Who asked.
    pub requester: UserId,
    /// Why, when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The snapshot that is to be taken, deleted or restored from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotTarget>,
    /// The clone that is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<CloneTarget>,
    /// The migration that is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationTarget>,
}

/// A snapshot in a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTarget {
    /// The row; of a snapshot that is to be taken the id it will have.
    pub id: SnapshotId,
    /// Its name.
    pub name: String,
}

/// A clone in a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneTarget {
    /// The id the record of the clone will have.
    pub id: CloneId,
    /// The id the new machine will have.
    pub vm_id: VmId,
    /// Service of the new machine.
    pub service_id: ServiceId,
    /// Whether the new machine is started once it is there.
    pub start: bool,
}

/// A live migration in a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationTarget {
    /// The id the record of the migration will have.
    pub id: MigrationId,
}

/// A template as history names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct NamedTemplate {
    pub id: TemplateId,
    pub name: String,
    pub version: i32,
}

/// A size as history names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct NamedSize {
    pub id: InstanceSizeId,
    pub name: String,
}

/// The spec that is carried out: the approver's replacement when there is one, else what was asked for.
///
/// The replacement is whole: nothing of the original shines through (ADR-0009 of the specification).
pub fn effective_spec<'a, S>(original: &'a S, modified: Option<&'a S>) -> &'a S {
    modified.unwrap_or(original)
}

/// The numbers a machine gets: explicit numbers win over the size, absent ones fall back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveNumbers {
    /// CPU limit in cores.
    pub cpu_cores: i32,
    /// CPU request in cores, at most the limit.
    pub cpu_request: i32,
    /// Memory limit in MiB.
    pub memory_mb: i32,
    /// Memory request in MiB, at most the limit.
    pub memory_request_mb: i32,
    /// Disk in GiB.
    pub disk_gb: i32,
}

impl EffectiveNumbers {
    /// The numbers of a spec on a size. A request that is absent from both equals its limit; the request of the
    /// size applies only while the limit is the size's own or larger.
    pub fn of(spec: &CreateSpec, size: &InstanceSize) -> Self {
        Self {
            disk_gb: spec.disk_gb.unwrap_or(size.disk_gb),
            ..Self::of_size(
                size,
                (spec.cpu_cores, spec.cpu_request),
                (spec.memory_mb, spec.memory_request_mb),
            )
        }
    }

    /// The numbers of a modification on a size: as for a creation, but a disk nobody asks for stays as it is, because
    /// no disk shrinks.
    pub fn of_modification(spec: &ModifySpec, size: &InstanceSize, current_disk_gb: Option<i32>) -> Self {
        Self {
            disk_gb: spec.disk_gb.or(current_disk_gb).unwrap_or(size.disk_gb),
            ..Self::of_size(
                size,
                (spec.cpu_cores, spec.cpu_request),
                (spec.memory_mb, spec.memory_request_mb),
            )
        }
    }

    /// Limits and requests that may be asked for, on a size, with its disk.
    fn of_size(size: &InstanceSize, cpu: (Option<i32>, Option<i32>), memory: (Option<i32>, Option<i32>)) -> Self {
        let cpu_cores = cpu.0.unwrap_or(size.cpu_cores);
        let memory_mb = memory.0.unwrap_or(size.memory_mb);
        let request = |asked: Option<i32>, of_size: Option<i32>, limit: i32| {
            asked.unwrap_or_else(|| of_size.map_or(limit, |request| request.min(limit)))
        };
        Self {
            cpu_cores,
            cpu_request: request(cpu.1, size.cpu_request, cpu_cores),
            memory_mb,
            memory_request_mb: request(memory.1, size.memory_request_mb, memory_mb),
            disk_gb: size.disk_gb,
        }
    }

    /// Whether CPU or memory is promised more than once.
    pub fn is_overcommitted(&self) -> bool {
        self.cpu_request < self.cpu_cores || self.memory_request_mb < self.memory_mb
    }
}
