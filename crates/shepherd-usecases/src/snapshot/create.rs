//! Somebody asks for a snapshot.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::ids::VmId;
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_domain::spec::SnapshotTarget;
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::vm::request_operation::{self, RequestOperation};
use crate::vm::{self, Submitted};
use crate::{Platform, UseCaseError};

/// Most characters of a name.
pub const MAX_NAME: usize = 63;

/// Submits the request.
///
/// # Errors
/// FORBIDDEN, VM_NOT_FOUND, VALIDATION_FAILED, CAPABILITY_NOT_SUPPORTED, INVALID_STATE_TRANSITION, CLUSTER_UNHEALTHY,
/// CLUSTER_REBUILDING, CLUSTER_DEGRADED, SNAPSHOT_NAME_EXISTS, DUPLICATE_PENDING_REQUEST.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    id: VmId,
    name: String,
    reason: Option<String>,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<Submitted>, UseCaseError> {
    caller.require(Permission::VmSnapshot)?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let vm = vm::visible(platform, caller, Permission::VmSnapshot, ResourceAction::Operate, id).await?;
    check_name(&name)?;
    let target = SnapshotTarget {
        id: platform.ids.id(),
        name,
    };
    let command = RequestOperation {
        snapshot: Some(target),
        ..RequestOperation::new(RequestType::SnapshotVm, reason)
    };
    request_operation::execute(platform, operations, caller, &vm, command, request).await
}

/// A name is a DNS label: 1 to 63 of `a-z`, `0-9` and inner hyphens.
fn check_name(name: &str) -> Result<(), Problem> {
    if name.chars().count() > MAX_NAME {
        return Err(Problem::invalid(vec![
            FieldError::new("name", FieldCode::TooLong).with("max_length", MAX_NAME),
        ]));
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.starts_with('-') || name.ends_with('-') || !name.chars().all(fits) {
        return Err(Problem::invalid_field("name", FieldCode::InvalidFormat));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label() {
        for name in ["a", "before-upgrade", "2026-02-06", &"a".repeat(63)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a b", "ä", &"a".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
