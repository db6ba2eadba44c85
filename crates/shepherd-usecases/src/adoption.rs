//! Machines on clusters that carry the platform's labels and have no row: found by scans, taken over one at a time by
//! an administrator, or left alone (kubernetes.md §8). None of this changes anything on a cluster.

pub mod adopt;
pub mod ignore;
pub mod listing;
pub mod request_scan;
pub mod scan;

use shepherd_domain::access::Permission;
use shepherd_domain::adoption::{AdoptionStatus, Obstacle};
use shepherd_domain::ids::AdoptionId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::adoptions::AdoptionRecord;
use shepherd_ports::context::Caller;

use crate::authorization::{Guarded, require_in};
use crate::{Platform, UseCaseError};

/// A machine that the caller may decide about.
async fn visible(platform: &Platform, caller: &Caller, id: AdoptionId) -> Result<AdoptionRecord, UseCaseError> {
    let object = Guarded {
        not_found: ErrorCode::AdoptionNotFound,
        id: &id,
        read: Permission::AdoptionManage,
    };
    let record = platform
        .read
        .get_adoption(id)
        .await?
        .ok_or_else(|| Problem::not_found(object.not_found, id))?;
    require_in(caller, Permission::AdoptionManage, record.environment, object)?;
    Ok(record)
}

/// It has been decided about, or has expired.
fn not_pending(status: AdoptionStatus) -> UseCaseError {
    Problem::new(ErrorCode::AdoptionNotPending)
        .with("status", status.as_str())
        .into()
}

/// The status that a decision met, once another one has committed.
async fn decided_otherwise(platform: &Platform, id: AdoptionId) -> UseCaseError {
    match platform.read.get_adoption(id).await {
        Ok(Some(record)) => not_pending(record.status),
        Ok(None) => Problem::not_found(ErrorCode::AdoptionNotFound, id).into(),
        Err(error) => error.into(),
    }
}

fn not_possible(obstacle: Obstacle) -> UseCaseError {
    Problem::new(ErrorCode::AdoptionNotPossible)
        .with("reason", obstacle.as_str())
        .into()
}
