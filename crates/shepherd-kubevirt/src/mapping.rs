//! The anti-corruption layer: what a cluster says about a machine, in the words of the domain.
//!
//! Objects are read into small views first, so that a watch need not keep whole objects. Name, namespace, uid and
//! resource version are mandatory; everything else may be missing or odd.

use chrono::{DateTime, Utc};
use kube::core::DynamicObject;
use serde_json::Value;
use shepherd_domain::labels;
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::providers::ProviderError;

use crate::errors::{MAX_TEXT, lacks};
use crate::plain::{plain, text};

mod unmapped;

/// Conditions that explain what is wrong, most severe first, with the value that makes them a complaint.
const COMPLAINTS: [(&str, bool); 4] = [
    ("Failure", true),
    ("Ready", false),
    ("DataVolumesReady", false),
    ("PodScheduled", false),
];

/// Conditions that say something else than a complaint.
const FACTS: [&str; 3] = ["RestartRequired", "Paused", "LiveMigratable"];

/// What matters of a VirtualMachine.
#[derive(Clone, Debug)]
pub(crate) struct MachineView {
    /// Object name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Object uid.
    pub uid: String,
    resource_version: u64,
    /// Whether its deletion has begun.
    pub deleting: bool,
    printable: Option<String>,
    /// The cluster's controller has not written a status yet.
    untouched: bool,
    run_strategy: Option<String>,
    conditions: Box<[Condition]>,
    event_id: Option<String>,
    vm_id: Option<String>,
    managed: bool,
    created_at: Option<DateTime<Utc>>,
}

/// What matters of a VirtualMachineInstance.
#[derive(Clone, Debug)]
pub(crate) struct InstanceView {
    /// Object name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Object uid.
    pub uid: Option<String>,
    /// Version of the instance; 0 when it has none that can be ordered.
    pub resource_version: u64,
    owners: Vec<String>,
    phase: Option<String>,
    conditions: Box<[Condition]>,
    node: Option<String>,
    ip: Option<String>,
}

/// A condition that is known here; its message is kept when it is a complaint, and cut like everything a server says.
#[derive(Clone, Debug)]
struct Condition {
    kind: &'static str,
    holds: Option<bool>,
    complaint: Option<Box<str>>,
}

impl MachineView {
    /// Reads a VirtualMachine.
    ///
    /// # Errors
    /// Schema when a mandatory field is missing or the resource version is no number.
    pub(crate) fn read(object: &DynamicObject) -> Result<Self, ProviderError> {
        let metadata = &object.metadata;
        let mandatory = |value: &Option<String>, field: &str| {
            value
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(plain)
                .ok_or_else(|| lacks(field))
        };
        let annotation = |key: &str| {
            metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(key))
                .map(|value| plain(value))
        };
        let status = &object.data["status"];
        Ok(Self {
            name: mandatory(&metadata.name, "metadata.name")?,
            namespace: mandatory(&metadata.namespace, "metadata.namespace")?,
            uid: mandatory(&metadata.uid, "metadata.uid")?,
            resource_version: version(object).ok_or_else(|| lacks("metadata.resourceVersion"))?,
            deleting: metadata.deletion_timestamp.is_some(),
            printable: text(&status["printableStatus"]),
            untouched: status.as_object().is_none_or(serde_json::Map::is_empty),
            run_strategy: run_strategy(&object.data["spec"]),
            conditions: conditions(status),
            event_id: annotation(labels::EVENT),
            vm_id: annotation(labels::VM),
            managed: metadata
                .labels
                .as_ref()
                .and_then(|all| all.get(labels::MANAGED_BY))
                .is_some_and(|manager| manager == labels::MANAGER),
            created_at: metadata
                .creation_timestamp
                .as_ref()
                .and_then(|time| DateTime::from_timestamp(time.0.as_second(), 0)),
        })
    }
}

impl InstanceView {
    /// Reads a VirtualMachineInstance; `None` when it has no name to find its machine by.
    pub(crate) fn read(object: &DynamicObject) -> Option<Self> {
        let metadata = &object.metadata;
        let status = &object.data["status"];
        Some(Self {
            name: metadata.name.as_deref().filter(|name| !name.is_empty()).map(plain)?,
            namespace: metadata
                .namespace
                .as_deref()
                .filter(|namespace| !namespace.is_empty())
                .map(plain)?,
            uid: metadata.uid.as_deref().map(plain),
            resource_version: version(object).unwrap_or(0),
            owners: metadata
                .owner_references
                .iter()
                .flatten()
                .map(|owner| owner.uid.clone())
                .collect(),
            phase: text(&status["phase"]),
            conditions: conditions(status),
            node: text(&status["nodeName"]),
            ip: status["interfaces"].as_array().into_iter().flatten().find_map(address),
        })
    }

    /// Whether it runs this machine and not an earlier one of the same name.
    fn runs(&self, vm: &MachineView) -> bool {
        self.owners.is_empty() || self.owners.contains(&vm.uid)
    }
}

/// The machine merged with its instance.
///
/// # Errors
/// Schema when the machine lacks a mandatory field.
pub(crate) fn observe(vm: &DynamicObject, vmi: Option<&DynamicObject>) -> Result<ObservedVm, ProviderError> {
    let instance = vmi.and_then(InstanceView::read);
    MachineView::read(vm).map(|machine| merge(&machine, instance.as_ref()))
}

/// The machine as a dry run answers it: an object that was never stored has no version, and need not have a uid.
///
/// # Errors
/// Schema when the answer lacks name or namespace.
pub(crate) fn observe_dry_run(mut vm: DynamicObject) -> Result<ObservedVm, ProviderError> {
    let unset = |value: &Option<String>| value.as_deref().is_none_or(str::is_empty);
    if unset(&vm.metadata.resource_version) {
        vm.metadata.resource_version = Some("0".to_owned());
    }
    if unset(&vm.metadata.uid) {
        vm.metadata.uid = Some("dry-run".to_owned());
    }
    observe(&vm, None)
}

/// The machine merged with its instance, from views.
pub(crate) fn merge(vm: &MachineView, vmi: Option<&InstanceView>) -> ObservedVm {
    let vmi = vmi.filter(|instance| instance.runs(vm));
    let condition = condition(vm, vmi);
    let raw = vm
        .printable
        .as_deref()
        .or_else(|| vmi.and_then(|instance| instance.phase.as_deref()));
    ObservedVm {
        name: vm.name.clone(),
        namespace: vm.namespace.clone(),
        uid: vm.uid.clone(),
        resource_version: vmi.map_or(vm.resource_version, |instance| {
            vm.resource_version.max(instance.resource_version)
        }),
        condition,
        reason: raw
            .filter(|raw| plain_counterpart(condition) != Some(*raw))
            .map(|raw| redact_and_truncate(raw, MAX_TEXT)),
        message: message(vm, vmi),
        run_strategy: vm.run_strategy.clone(),
        vmi_uid: vmi.and_then(|instance| instance.uid.clone()),
        node: vmi.and_then(|instance| instance.node.clone()),
        ip: vmi.and_then(|instance| instance.ip.clone()),
        restart_required: holds(&vm.conditions, "RestartRequired"),
        live_migratable: vmi.and_then(|instance| said(&instance.conditions, "LiveMigratable")),
        event_id: vm.event_id.clone(),
        vm_id: vm.vm_id.clone(),
        managed: vm.managed,
        created_at: vm.created_at,
    }
}

fn condition(vm: &MachineView, vmi: Option<&InstanceView>) -> ObservedCondition {
    if vm.deleting {
        return ObservedCondition::Is(VmStatus::Deleting);
    }
    let condition = match vm.printable.as_deref() {
        Some(printable) => of_printable_status(printable),
        None => of_phase(vm, vmi),
    };
    let paused = holds(&vm.conditions, "Paused") || vmi.is_some_and(|instance| holds(&instance.conditions, "Paused"));
    if paused && condition == ObservedCondition::Is(VmStatus::Running) {
        ObservedCondition::Is(VmStatus::Paused)
    } else {
        condition
    }
}

fn of_printable_status(printable: &str) -> ObservedCondition {
    let status = match printable {
        "Running" => VmStatus::Running,
        "Stopped" => VmStatus::Stopped,
        "Stopping" => VmStatus::Stopping,
        "Paused" => VmStatus::Paused,
        "Migrating" => VmStatus::Migrating,
        "Terminating" => VmStatus::Deleting,
        "Provisioning" | "Starting" | "WaitingForVolumeBinding" | "WaitingForReceiver" => {
            return ObservedCondition::Waiting;
        }
        "CrashLoopBackOff" | "ErrorUnschedulable" | "ErrImagePull" | "ImagePullBackOff" | "ErrorPvcNotFound"
        | "DataVolumeError" => VmStatus::Failed,
        "Unknown" => VmStatus::Unknown,
        unmapped => {
            unmapped::report(unmapped);
            VmStatus::Unknown
        }
    };
    ObservedCondition::Is(status)
}

fn of_phase(vm: &MachineView, vmi: Option<&InstanceView>) -> ObservedCondition {
    let status = match (vmi, vmi.and_then(|instance| instance.phase.as_deref())) {
        (Some(_), Some("Running")) => VmStatus::Running,
        (Some(_), Some("Pending" | "Scheduling" | "Scheduled" | "WaitingForSync")) => {
            return ObservedCondition::Waiting;
        }
        (Some(_), Some("Failed")) => VmStatus::Failed,
        (Some(_), Some("Succeeded")) => VmStatus::Stopped,
        (None, _) if vm.run_strategy.as_deref() == Some("Halted") => VmStatus::Stopped,
        // Just made: machine and instance are not unknown, their controllers have not looked at them yet (ADR 0006).
        (Some(_), None) => return ObservedCondition::Waiting,
        (None, _) if vm.untouched => return ObservedCondition::Waiting,
        _ => VmStatus::Unknown,
    };
    ObservedCondition::Is(status)
}

/// The raw word that says no more than the status itself; waiting states always keep theirs.
fn plain_counterpart(condition: ObservedCondition) -> Option<&'static str> {
    let ObservedCondition::Is(status) = condition else {
        return None;
    };
    match status {
        VmStatus::Running => Some("Running"),
        VmStatus::Stopping => Some("Stopping"),
        VmStatus::Stopped => Some("Stopped"),
        VmStatus::Paused => Some("Paused"),
        VmStatus::Migrating => Some("Migrating"),
        VmStatus::Deleting => Some("Terminating"),
        VmStatus::Failed => Some("Failed"),
        VmStatus::Unknown => Some("Unknown"),
        VmStatus::Creating | VmStatus::Pending => None,
    }
}

fn message(vm: &MachineView, vmi: Option<&InstanceView>) -> Option<String> {
    let of_instance = vmi.map(|instance| &*instance.conditions).unwrap_or_default();
    let all = || vm.conditions.iter().chain(of_instance);
    COMPLAINTS.iter().find_map(|(kind, _)| {
        let complaint = all()
            .filter(|found| found.kind == *kind)
            .find_map(|found| found.complaint.as_deref())?;
        Some(complaint.to_owned())
    })
}

fn holds(conditions: &[Condition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.kind == kind && condition.holds == Some(true))
}

/// What the instance or machine says about a condition; `None` when it says nothing, or that it does not know.
fn said(conditions: &[Condition], kind: &str) -> Option<bool> {
    conditions.iter().find(|condition| condition.kind == kind)?.holds
}

fn conditions(status: &Value) -> Box<[Condition]> {
    let entries = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(condition_of).collect()
}

fn condition_of(entry: &Value) -> Option<Condition> {
    let written = entry["type"].as_str()?;
    let complains = COMPLAINTS.iter().find(|(kind, _)| *kind == written);
    let kind = match complains {
        Some((kind, _)) => *kind,
        None => FACTS.into_iter().find(|kind| *kind == written)?,
    };
    let holds = match entry["status"].as_str() {
        Some("True") => Some(true),
        Some("False") => Some(false),
        Some(_) | None => None,
    };
    let complaint = complains
        .filter(|(_, value)| holds == Some(*value))
        .and_then(|_| text(&entry["message"]))
        .map(|message| redact_and_truncate(&message, MAX_TEXT).into_boxed_str());
    Some(Condition { kind, holds, complaint })
}

fn run_strategy(spec: &Value) -> Option<String> {
    text(&spec["runStrategy"]).or_else(|| {
        spec["running"]
            .as_bool()
            .map(|running| if running { "Always" } else { "Halted" }.to_owned())
    })
}

fn address(interface: &Value) -> Option<String> {
    text(&interface["ipAddress"]).or_else(|| interface["ipAddresses"].as_array().into_iter().flatten().find_map(text))
}

fn version(object: &DynamicObject) -> Option<u64> {
    object.metadata.resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests;
