//! The rules of a size as a whole, whichever way it came to be.

use super::InstanceSize;
use crate::problem::{ErrorCode, FieldCode, FieldError, Problem};

/// Longest display name, in characters.
const MAX_DISPLAY_NAME: usize = 255;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 2_048;
/// Most GPUs.
const MAX_GPUS: usize = 16;
// Ceilings far above any machine that exists, so that no product of them overflows.
const MAX_CORES: i32 = 1_024;
const MAX_MEMORY_MB: i32 = 33_554_432;
const MAX_DISK_GB: i32 = 1_048_576;

/// Checks every field and their relations. `missing` are columns that nothing has given.
///
/// # Errors
/// VALIDATION_FAILED with all field errors; then OVERCOMMIT_INVALID, DEDICATED_CPU_OVERCOMMIT_CONFLICT.
pub(super) fn check(size: &InstanceSize, missing: &[&str]) -> Result<(), Problem> {
    let mut errors = texts(size);
    errors.extend(numbers(size, missing));
    errors.extend(hardware(size));
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    overcommit("cpu", size.cpu_request, size.cpu_cores, size.dedicated_cpu)?;
    overcommit("memory", size.memory_request_mb, size.memory_mb, size.dedicated_cpu)
}

fn texts(size: &InstanceSize) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !is_name(&size.name) {
        errors.push(FieldError::new("name", FieldCode::InvalidFormat));
    }
    let bounded = [
        ("display_name", &size.display_name, MAX_DISPLAY_NAME),
        ("description", &size.description, MAX_DESCRIPTION),
    ];
    for (field, text, max) in bounded {
        if text.as_ref().is_some_and(|text| text.chars().count() > max) {
            errors.push(FieldError::new(field, FieldCode::TooLong).with("max_length", max));
        }
    }
    errors
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

fn numbers(size: &InstanceSize, missing: &[&str]) -> Vec<FieldError> {
    let fields = [
        ("cpu_cores", Some(size.cpu_cores), MAX_CORES),
        ("memory_mb", Some(size.memory_mb), MAX_MEMORY_MB),
        ("cpu_request", size.cpu_request, MAX_CORES),
        ("memory_request_mb", size.memory_request_mb, MAX_MEMORY_MB),
        ("min_disk_gb", Some(size.min_disk_gb), MAX_DISK_GB),
        ("max_disk_gb", Some(size.max_disk_gb), MAX_DISK_GB),
    ];
    let mut errors: Vec<FieldError> = fields
        .into_iter()
        .filter_map(|(field, value, max)| {
            if missing.contains(&field) {
                return Some(FieldError::new(field, FieldCode::Required));
            }
            let beyond = value.is_some_and(|value| !(1..=max).contains(&value));
            beyond.then(|| out_of_range(field, 1, max))
        })
        .collect();
    if size.disk_gb < size.min_disk_gb || size.disk_gb > size.max_disk_gb {
        errors.push(out_of_range("disk_gb", size.min_disk_gb, size.max_disk_gb));
    }
    errors
}

fn out_of_range(field: &str, min: i32, max: i32) -> FieldError {
    FieldError::new(field, FieldCode::OutOfRange)
        .with("min", min)
        .with("max", max)
}

fn hardware(size: &InstanceSize) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = hugepages(size).into_iter().collect();
    if !size.requires_gpu && !size.gpu_devices.is_empty() {
        errors.push(FieldError::new("requires_gpu", FieldCode::UnknownValue));
    }
    if size.gpu_devices.len() > MAX_GPUS {
        errors.push(FieldError::new("gpu_devices", FieldCode::TooLong).with("max_items", MAX_GPUS));
    }
    let lengths_hold = |name: &str, max: usize| (1..=max).contains(&name.len());
    for (index, gpu) in size.gpu_devices.iter().enumerate() {
        if !lengths_hold(&gpu.name, 63) || !lengths_hold(&gpu.device_name, 253) {
            let field = format!("gpu_devices[{index}]");
            errors.push(FieldError::new(field, FieldCode::InvalidFormat));
        }
    }
    errors
}

/// A page size exactly when there are hugepages, and memory in whole pages.
fn hugepages(size: &InstanceSize) -> Option<FieldError> {
    match (size.requires_hugepages, size.hugepages_size.as_deref()) {
        (false, None) => None,
        (true, None) => Some(FieldError::new("hugepages_size", FieldCode::Required)),
        (true, Some(page)) if page_mb(page).is_some() => whole_pages(Some(page), size.memory_mb),
        (_, Some(_)) => Some(FieldError::new("hugepages_size", FieldCode::UnknownValue)),
    }
}

/// What is wrong with an amount of memory that is to come in pages of a size.
pub(super) fn whole_pages(page: Option<&str>, memory_mb: i32) -> Option<FieldError> {
    let page_mb = page.and_then(page_mb)?;
    let fits = memory_mb % page_mb == 0;
    (!fits).then(|| FieldError::new("memory_mb", FieldCode::OutOfRange).with("multiple_of", page_mb))
}

fn page_mb(page: &str) -> Option<i32> {
    match page {
        "2Mi" => Some(2),
        "1Gi" => Some(1_024),
        _ => None,
    }
}

/// A request is at most the limit, and is the limit where CPUs are dedicated.
fn overcommit(resource: &str, request: Option<i32>, limit: i32, dedicated: bool) -> Result<(), Problem> {
    let problem = |code, request: i32| {
        Problem::new(code)
            .with("resource", resource)
            .with("request", request)
            .with("limit", limit)
    };
    match request {
        Some(request) if request > limit => Err(problem(ErrorCode::OvercommitInvalid, request)),
        Some(request) if request != limit && dedicated => {
            Err(problem(ErrorCode::DedicatedCpuOvercommitConflict, request))
        }
        Some(_) | None => Ok(()),
    }
}

/// What a cluster must have: the exact key where there is one, which includes the general one.
pub(super) fn capabilities(size: &InstanceSize) -> Vec<String> {
    let mut keys = Vec::new();
    if size.requires_gpu && size.gpu_devices.is_empty() {
        keys.push("gpu".to_owned());
    }
    keys.extend(size.gpu_devices.iter().map(|gpu| format!("gpu:{}", gpu.device_name)));
    if size.requires_sriov {
        keys.push("sriov".to_owned());
    }
    if let Some(page) = &size.hugepages_size {
        keys.push(format!("hugepages:{}", page.to_lowercase()));
    }
    keys.sort();
    keys.dedup();
    keys
}
