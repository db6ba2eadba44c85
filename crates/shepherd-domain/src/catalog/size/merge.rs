//! Columns that are given and columns that follow from overrides, in one size.

use super::derived::{Derived, Found};
use super::{GpuDevice, InstanceSize, rules};
use crate::problem::Problem;

/// The columns that somebody gave, of those that could also follow from an override.
pub(super) struct Given {
    pub cpu_cores: Option<i32>,
    pub memory_mb: Option<i32>,
    pub dedicated_cpu: Option<bool>,
    pub requires_gpu: Option<bool>,
    pub requires_sriov: Option<bool>,
    pub requires_hugepages: Option<bool>,
    /// An inner `None` says that there are none.
    pub hugepages_size: Option<Option<String>>,
    pub gpu_devices: Option<Vec<GpuDevice>>,
}

/// The size with every derived column computed anew from its overrides and what was given, and all rules checked.
/// `before` is what followed from the overrides that it had; a size that is new has 0 where nothing was given yet.
pub(super) fn merge(row: InstanceSize, before: &Derived, given: Given) -> Result<InstanceSize, Problem> {
    let now = Derived::of(&row.spec_overrides)?;
    now.agrees_with(&given)?;
    let missing = missing(&row, &now, &given);
    let size = filled(row, before, &now, given);
    rules::check(&size, &missing)?;
    Ok(InstanceSize {
        capabilities: rules::capabilities(&size),
        ..size
    })
}

/// The columns without a default that neither anybody gave nor an override says.
fn missing(row: &InstanceSize, now: &Derived, given: &Given) -> Vec<&'static str> {
    let numbers = [
        ("cpu_cores", row.cpu_cores, given.cpu_cores, &now.cpu_cores),
        ("memory_mb", row.memory_mb, given.memory_mb, &now.memory_mb),
    ];
    let absent = numbers
        .into_iter()
        .filter(|(_, row, given, found)| *row == 0 && given.is_none() && found.is_none());
    absent.map(|(column, ..)| column).collect()
}

fn filled(row: InstanceSize, before: &Derived, now: &Derived, given: Given) -> InstanceSize {
    let hugepages = (now.hugepages_size.is_some(), before.hugepages_size.is_some());
    let sriov = (now.requires_sriov.is_some(), before.requires_sriov.is_some());
    let gpu_devices = match (given.gpu_devices, &now.gpu_devices, &before.gpu_devices) {
        // The same devices in another order: indices of the overrides count in theirs.
        (_, Some(found), _) => found.column.clone(),
        (Some(given), None, _) => given,
        (None, None, Some(_)) => Vec::new(),
        (None, None, None) => row.gpu_devices.clone(),
    };
    // Without its devices a size does not go on to need just any GPU.
    let lost_devices = gpu_devices.is_empty() && !row.gpu_devices.is_empty();
    let some_gpu = !gpu_devices.is_empty() || (row.requires_gpu && !lost_devices);
    InstanceSize {
        cpu_cores: given.cpu_cores.or(column(&now.cpu_cores)).unwrap_or(row.cpu_cores),
        memory_mb: given.memory_mb.or(column(&now.memory_mb)).unwrap_or(row.memory_mb),
        dedicated_cpu: given
            .dedicated_cpu
            .or(column(&now.dedicated_cpu))
            .unwrap_or(row.dedicated_cpu && before.dedicated_cpu.is_none()),
        requires_gpu: given.requires_gpu.unwrap_or(some_gpu),
        requires_sriov: given.requires_sriov.unwrap_or(follows(row.requires_sriov, sriov)),
        requires_hugepages: given
            .requires_hugepages
            .unwrap_or(follows(row.requires_hugepages, hugepages)),
        hugepages_size: given.hugepages_size.unwrap_or_else(|| {
            let found = now.hugepages_size.as_ref().map(|found| found.column.clone());
            found.or_else(|| row.hugepages_size.clone().filter(|_| !hugepages.1))
        }),
        gpu_devices,
        ..row
    }
}

fn column<T: Copy>(found: &Option<Found<T>>) -> Option<T> {
    found.as_ref().map(|found| found.column)
}

/// What is needed because an override says so, or because the row does and not on account of a former override.
fn follows(row: bool, (now, before): (bool, bool)) -> bool {
    now || (row && !before)
}
