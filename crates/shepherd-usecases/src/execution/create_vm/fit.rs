//! Whether a size is still to be had, and whether the numbers of a machine fit it; for new machines and modified ones.

use shepherd_domain::Environment;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{ErrorCode, Problem, Warning, WarningCode};
use shepherd_domain::spec::EffectiveNumbers;

use crate::execution::findings::Findings;

/// A size that is not offered any more is worth a warning to whoever asked for it while it was, or has it:
/// INSTANCE_SIZE_DISABLED_SINCE_REQUEST. Nobody else gets it any more: INSTANCE_SIZE_DISABLED.
pub(in crate::execution) fn check_offered(size: &InstanceSize, kept: &[InstanceSizeId], findings: &mut Findings) {
    if size.enabled {
        return;
    }
    if kept.contains(&size.id) {
        let warning = Warning::new(WarningCode::InstanceSizeDisabledSinceRequest);
        findings
            .warnings
            .push(warning.with("instance_size", size.name.as_str()));
    } else {
        let problem = Problem::new(ErrorCode::InstanceSizeDisabled);
        findings
            .blocking
            .push(problem.with("instance_size_id", size.id.to_string()));
    }
}

/// Checks the numbers a machine would have against its size, all of them.
pub(in crate::execution) fn judge(
    numbers: EffectiveNumbers,
    size: &InstanceSize,
    environment: Environment,
    findings: &mut Findings,
) {
    findings.check(size.check_disk(numbers.disk_gb));
    let pairs = [
        ("cpu", numbers.cpu_request, numbers.cpu_cores),
        ("memory", numbers.memory_request_mb, numbers.memory_mb),
    ];
    let problem = |code, (resource, request, limit): (&str, i32, i32)| {
        Problem::new(code)
            .with("resource", resource)
            .with("request", request)
            .with("limit", limit)
    };
    let exceeding = pairs.into_iter().filter(|(_, request, limit)| request > limit);
    findings
        .blocking
        .extend(exceeding.map(|pair| problem(ErrorCode::OvercommitInvalid, pair)));
    let shared = pairs
        .into_iter()
        .filter(|(_, request, limit)| size.dedicated_cpu && request < limit);
    findings
        .blocking
        .extend(shared.map(|pair| problem(ErrorCode::DedicatedCpuOvercommitConflict, pair)));
    findings.check(size.check_memory(numbers.memory_mb));
    if environment == Environment::Prod && numbers.is_overcommitted() {
        let warning = Warning::new(WarningCode::ProdOvercommit).with("instance_size", size.name.as_str());
        findings.warnings.push(warning);
    }
}

/// The same, by the first that is wrong; in production promising more than there is is told.
///
/// # Errors
/// DISK_SIZE_OUT_OF_RANGE, OVERCOMMIT_INVALID, DEDICATED_CPU_OVERCOMMIT_CONFLICT; VALIDATION_FAILED when memory does not
/// come in whole pages.
pub(in crate::execution) fn check_effective(
    numbers: EffectiveNumbers,
    size: &InstanceSize,
    environment: Environment,
    warnings: &mut Vec<Warning>,
) -> Result<(), Problem> {
    let mut findings = Findings::default();
    judge(numbers, size, environment, &mut findings);
    match findings.blocking.into_iter().next() {
        Some(first) => Err(first),
        None => {
            warnings.extend(findings.warnings);
            Ok(())
        }
    }
}
