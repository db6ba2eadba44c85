//! What overrides say about the columns of a size.

use serde_json::{Value, json};

use super::GpuDevice;
use super::merge::Given;
use super::quantity::{self, QuantityError};
use crate::catalog::SpecOverrides;
use crate::catalog::overrides::{Reason, refuse};
use crate::problem::{ErrorCode, Problem};

const CORES: &str = "spec.template.spec.domain.cpu.cores";
const DEDICATED: &str = "spec.template.spec.domain.cpu.dedicatedCpuPlacement";
const REQUESTED_MEMORY: &str = "spec.template.spec.domain.resources.requests.memory";
const GUEST_MEMORY: &str = "spec.template.spec.domain.memory.guest";
const PAGE_SIZE: &str = "spec.template.spec.domain.memory.hugepages.pageSize";
const GPUS: &str = "spec.template.spec.domain.devices.gpus";
const INTERFACES: &str = "spec.template.spec.domain.devices.interfaces";

/// What an override says about a column.
pub(super) struct Found<T> {
    /// Where it says it.
    path: String,
    /// What stands there.
    value: Value,
    /// What the column is then.
    pub column: T,
}

/// The columns that follow from overrides; `None` where none says anything.
#[derive(Default)]
pub(super) struct Derived {
    pub cpu_cores: Option<Found<i32>>,
    pub memory_mb: Option<Found<i32>>,
    pub dedicated_cpu: Option<Found<bool>>,
    /// Hugepages are required whenever there is a size of them.
    pub hugepages_size: Option<Found<String>>,
    /// A GPU is required whenever there is one.
    pub gpu_devices: Option<Found<Vec<GpuDevice>>>,
    /// Never false: that there is no SR-IOV interface among the overrides says nothing about the template's.
    pub requires_sriov: Option<Found<bool>>,
}

impl Derived {
    /// Reads the columns from what the overrides make of an empty document, so that it does not matter how they are
    /// spelt.
    ///
    /// # Errors
    /// INVALID_SPEC_OVERRIDES where a value is none that the column can have; SPEC_OVERRIDE_CONFLICT where two
    /// overrides say different things about the memory.
    pub(super) fn of(overrides: &SpecOverrides) -> Result<Self, Problem> {
        let mut document = Value::Null;
        overrides.apply(&mut document);
        Ok(Self {
            cpu_cores: found(&document, CORES, integer)?,
            memory_mb: memory(&document)?,
            dedicated_cpu: found(&document, DEDICATED, |value| value.as_bool().ok_or(Reason::Type))?,
            hugepages_size: found(&document, PAGE_SIZE, |value| {
                value.as_str().map(str::to_owned).ok_or(Reason::Type)
            })?,
            gpu_devices: devices(&document)?,
            requires_sriov: sriov(&document),
        })
    }

    /// Checks that nothing that was given contradicts an override.
    ///
    /// # Errors
    /// SPEC_OVERRIDE_CONFLICT for the first column that does.
    pub(super) fn agrees_with(&self, given: &Given) -> Result<(), Problem> {
        agree("cpu_cores", &self.cpu_cores, &given.cpu_cores, |a, b| a == b)?;
        agree("memory_mb", &self.memory_mb, &given.memory_mb, |a, b| a == b)?;
        agree("dedicated_cpu", &self.dedicated_cpu, &given.dedicated_cpu, |a, b| {
            a == b
        })?;
        agree(
            "hugepages_size",
            &self.hugepages_size,
            &given.hugepages_size,
            |size, given| given.as_ref() == Some(size),
        )?;
        agree(
            "requires_hugepages",
            &self.hugepages_size,
            &given.requires_hugepages,
            |_, given| *given,
        )?;
        agree("gpu_devices", &self.gpu_devices, &given.gpu_devices, |a, b| {
            same_devices(a, b)
        })?;
        agree(
            "requires_gpu",
            &self.gpu_devices,
            &given.requires_gpu,
            |devices, given| *given || devices.is_empty(),
        )?;
        agree("requires_sriov", &self.requires_sriov, &given.requires_sriov, |a, b| {
            a == b
        })
    }
}

fn agree<T, G: serde::Serialize>(
    column: &str,
    found: &Option<Found<T>>,
    given: &Option<G>,
    holds: impl Fn(&T, &G) -> bool,
) -> Result<(), Problem> {
    match (found, given) {
        (Some(found), Some(given)) if !holds(&found.column, given) => Err(conflict(found, column, json!(given))),
        _ => Ok(()),
    }
}

fn conflict<T>(found: &Found<T>, column: &str, column_value: Value) -> Problem {
    Problem::new(ErrorCode::SpecOverrideConflict)
        .with("path", found.path.as_str())
        .with("column", column)
        .with("override_value", found.value.clone())
        .with("column_value", column_value)
}

/// Machines are given GPUs in any order.
fn same_devices(some: &[GpuDevice], others: &[GpuDevice]) -> bool {
    let sorted = |devices: &[GpuDevice]| {
        let mut devices = devices.to_vec();
        devices.sort();
        devices
    };
    sorted(some) == sorted(others)
}

fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, key| value.get(key))
}

fn found<T>(
    document: &Value,
    path: &str,
    read: impl Fn(&Value) -> Result<T, Reason>,
) -> Result<Option<Found<T>>, Problem> {
    let Some(value) = at(document, path) else {
        return Ok(None);
    };
    let column = read(value).map_err(|reason| refuse(path, reason))?;
    Ok(Some(Found {
        path: path.to_owned(),
        value: value.clone(),
        column,
    }))
}

fn integer(value: &Value) -> Result<i32, Reason> {
    let integer = value.as_i64().and_then(|integer| i32::try_from(integer).ok());
    integer.ok_or(Reason::Type)
}

fn memory(document: &Value) -> Result<Option<Found<i32>>, Problem> {
    let read = |value: &Value| {
        quantity::mebibytes(value).map_err(|error| match error {
            QuantityError::NotAQuantity => Reason::Quantity,
            QuantityError::NotWhole => Reason::NotWholeMebibytes,
        })
    };
    let requested = found(document, REQUESTED_MEMORY, read)?;
    let guest = found(document, GUEST_MEMORY, read)?;
    if let (Some(requested), Some(guest)) = (&requested, &guest)
        && requested.column != guest.column
    {
        return Err(conflict(requested, "memory_mb", Value::from(guest.column)));
    }
    Ok(requested.or(guest))
}

/// The GPUs, unless the overrides only say more about those that the column gives.
fn devices(document: &Value) -> Result<Option<Found<Vec<GpuDevice>>>, Problem> {
    let entries = at(document, GPUS).and_then(Value::as_array).map(Vec::as_slice);
    let names_a_device = |entry: &Value| entry.get("deviceName").is_some();
    match entries {
        Some(entries) if !entries.is_empty() && !entries.iter().any(names_a_device) => Ok(None),
        Some(_) | None => found(document, GPUS, gpus),
    }
}

fn gpus(value: &Value) -> Result<Vec<GpuDevice>, Reason> {
    let devices = value.as_array().ok_or(Reason::Type)?.iter().map(|device| {
        let text = |key: &str| device.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(GpuDevice {
            name: text("name")?,
            device_name: text("deviceName")?,
        })
    });
    devices.collect::<Option<Vec<GpuDevice>>>().ok_or(Reason::Type)
}

/// The first interface that is bound by SR-IOV; the network of the same name is its attachment.
fn sriov(document: &Value) -> Option<Found<bool>> {
    let interfaces = at(document, INTERFACES)?.as_array()?;
    interfaces.iter().enumerate().find_map(|(place, interface)| {
        let value = interface.get("sriov")?;
        let path = match interface.get("name").and_then(Value::as_str) {
            Some(name) => format!("{INTERFACES}[name={name}].sriov"),
            None => format!("{INTERFACES}[{place}].sriov"),
        };
        Some(Found {
            path,
            value: value.clone(),
            column: true,
        })
    })
}
