//! An administrator changes how a cluster is used.

use serde::Serialize;
use serde_json::{Map, Value, json};
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::clusters::{ClusterPatch, ClusterRecord};
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Most characters of a display name.
const MAX_DISPLAY_NAME: usize = 255;
/// Highest scheduling weight.
const MAX_WEIGHT: i32 = 1000;
/// Most calls at the same time.
const MAX_CONCURRENCY: i32 = 200;

/// Changes the cluster. A disabled one takes no new machines and is neither looked at nor watched; what is on it can
/// still be used and deleted.
///
/// # Errors
/// CLUSTER_NOT_FOUND, FORBIDDEN, VALIDATION_FAILED, PRECONDITION_FAILED{current_version}, STORAGE_CLASS_NOT_FOUND.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: ClusterId,
    patch: ClusterPatch,
    version: Option<i64>,
) -> Result<ClusterRecord, UseCaseError> {
    super::visible(platform, caller, Permission::ClusterWrite, id).await?;
    check_fields(&patch)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let before = super::locked(&mut *uow, caller, Permission::ClusterWrite, id, version).await?;
    check_storage_class(&patch, &before)?;
    let after = uow
        .clusters()
        .update(id, &patch)
        .await?
        .ok_or(UseCaseError::Broken("a locked cluster is gone"))?;
    let entry = AuditEntry::new(AuditAction::ClusterUpdate, "cluster", id)
        .named(before.name.as_str())
        .environment(before.environment)
        .details(changes(&patch, &before));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(after)
}

fn check_fields(patch: &ClusterPatch) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let display_name = patch.display_name.as_ref().and_then(Option::as_ref);
    if display_name.is_some_and(|name| name.chars().count() > MAX_DISPLAY_NAME) {
        errors.push(FieldError::new("display_name", FieldCode::TooLong).with("max_length", MAX_DISPLAY_NAME));
    }
    let numbers = [
        ("scheduling_weight", patch.scheduling_weight, 0, MAX_WEIGHT),
        (
            "concurrency_limit",
            patch.concurrency_limit.flatten(),
            1,
            MAX_CONCURRENCY,
        ),
    ];
    for (field, number, min, max) in numbers {
        if number.is_some_and(|number| !(min..=max).contains(&number)) {
            errors.push(
                FieldError::new(field, FieldCode::OutOfRange)
                    .with("min", min)
                    .with("max", max),
            );
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}

/// A choice is checked when it is made; one that was made before outlives a class that is away for an hour.
fn check_storage_class(patch: &ClusterPatch, cluster: &ClusterRecord) -> Result<(), Problem> {
    let Some(Some(chosen)) = &patch.default_storage_class else {
        return Ok(());
    };
    if cluster.storage_classes.contains(chosen) || cluster.default_storage_class.as_ref() == Some(chosen) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::StorageClassNotFound)
        .with("storage_class", chosen.as_str())
        .with("available", json!(cluster.storage_classes)))
}

fn changes(patch: &ClusterPatch, before: &ClusterRecord) -> Value {
    let mut changes = Map::new();
    note(
        &mut changes,
        "display_name",
        &before.display_name,
        patch.display_name.as_ref(),
    );
    let (old, new) = (&before.default_storage_class, patch.default_storage_class.as_ref());
    note(&mut changes, "default_storage_class", old, new);
    let (old, new) = (&before.scheduling_weight, patch.scheduling_weight.as_ref());
    note(&mut changes, "scheduling_weight", old, new);
    let (old, new) = (&before.concurrency_limit, patch.concurrency_limit.as_ref());
    note(&mut changes, "concurrency_limit", old, new);
    note(&mut changes, "enabled", &before.enabled, patch.enabled.as_ref());
    changes.into()
}

fn note<T: Serialize>(changes: &mut Map<String, Value>, field: &str, old: &T, new: Option<&T>) {
    if let Some(new) = new {
        changes.insert(field.to_owned(), json!({"old": old, "new": new}));
    }
}
