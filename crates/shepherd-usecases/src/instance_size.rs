//! Instance sizes: the hardware that can be ordered (catalog.md §2).
//!
//! A size is held against the schemas of the clusters before a transaction begins, because a schema may have to be
//! fetched; inside, the row is locked and everything that needs no cluster is checked again on the row as it is then.

pub mod create;
pub mod delete;
pub mod dry_run;
pub mod update;
pub(crate) mod validation;

use serde_json::{Map, Value, json};
use shepherd_domain::access::Permission;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::sizes::SizeRecord;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::identity::account;
use crate::{Platform, UseCaseError};

const RESOURCE: &str = "instance_size";

/// One size with everything.
///
/// # Errors
/// FORBIDDEN, INSTANCE_SIZE_NOT_FOUND.
pub async fn get(platform: &Platform, caller: &Caller, id: InstanceSizeId) -> Result<SizeRecord, UseCaseError> {
    visible(platform, caller, Permission::InstanceSizeRead, id).await
}

/// The size, if the caller may do this. A size belongs to no System, so a permission that is limited to one permits
/// nothing here.
async fn visible(
    platform: &Platform,
    caller: &Caller,
    permission: Permission,
    id: InstanceSizeId,
) -> Result<SizeRecord, UseCaseError> {
    account::require_everywhere(caller, permission)?;
    let found = platform.read.get_size(id).await?;
    Ok(found.ok_or_else(|| not_found(id))?)
}

/// Keeps a size as it is until the transaction ends, so that nobody deletes what a ticket is about to refer to. It
/// must still be offered.
///
/// # Errors
/// INSTANCE_SIZE_NOT_FOUND, INSTANCE_SIZE_DISABLED.
pub(crate) async fn hold(uow: &mut dyn UnitOfWork, id: InstanceSizeId) -> Result<(), UseCaseError> {
    let enabled = uow.sizes().hold(id).await?.ok_or_else(|| not_found(id))?;
    if enabled {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::InstanceSizeDisabled)
        .with("instance_size_id", id.to_string())
        .into())
}

fn not_found(id: InstanceSizeId) -> Problem {
    Problem::not_found(ErrorCode::InstanceSizeNotFound, id)
}

/// A name that is taken is the writer's to know.
fn name_taken(error: RepositoryError, name: &str) -> UseCaseError {
    if error.is_unique("uq_instance_sizes_name") {
        name_exists(name).into()
    } else {
        error.into()
    }
}

fn name_exists(name: &str) -> Problem {
    Problem::new(ErrorCode::InstanceSizeNameExists).with("name", name)
}

/// The columns of a size by name.
fn columns(size: &InstanceSize) -> Result<Map<String, Value>, UseCaseError> {
    let damaged = |source| UseCaseError::Stored { what: "size", source };
    let document = serde_json::to_value(size).map_err(damaged)?;
    serde_json::from_value(document).map_err(damaged)
}

/// Old and new of every column that differs, for the audit row.
fn changes(before: &InstanceSize, after: &InstanceSize) -> Result<Value, UseCaseError> {
    let mut old = columns(before)?;
    let mut changes = Map::new();
    for (column, new) in columns(after)? {
        let old = old.remove(&column).unwrap_or_default();
        if old != new {
            changes.insert(column, json!({"old": old, "new": new}));
        }
    }
    Ok(changes.into())
}
