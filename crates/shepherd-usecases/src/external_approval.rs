//! External approval systems: whoever decides outside of the platform (requests.md §10).
//!
//! A ticket whose policy names a system waits for its decision like any other: the submission is a row beside it, and
//! whoever decides first wins by the conditional update of the ticket. What is sent to a system is sent by
//! [`sync`], with no transaction open; what a system says comes back by polling or by [`callback`], and both end in
//! `decide`. A submission that leads nowhere falls back, and the ticket goes on among the others.

pub mod callback;
pub mod create;
mod decide;
pub mod delete;
mod fallback;
mod fields;
mod four_eyes;
mod opening;
mod providers;
pub mod standing;
pub mod sync;
pub mod test;
mod throttle;
pub mod update;
mod webhook;

use chrono::{DateTime, Utc};
use shepherd_domain::access::Permission;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ExternalSystemId, TicketId};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::external_approvals::ExternalSystemRecord;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::{Platform, UseCaseError};

/// Kind of the object in audit rows.
const RESOURCE: &str = "external_approval_system";

/// Hands a ticket to a system, in the transaction of its submission. What comes of it is up to [`sync`]; a system that
/// is gone or disabled by then makes it fall back.
///
/// # Errors
/// When the store fails.
pub(crate) async fn queue(
    uow: &mut dyn UnitOfWork,
    ticket: TicketId,
    system: ExternalSystemId,
    now: DateTime<Utc>,
) -> Result<(), RepositoryError> {
    uow.external_approvals().queue(ticket, system, now).await.map(drop)
}

/// Ends what a system has to say about a ticket, in the transaction that decides or withdraws it without the system.
/// The system hears of it later.
///
/// # Errors
/// When the store fails.
pub(crate) async fn cancel(uow: &mut dyn UnitOfWork, ticket: TicketId) -> Result<(), RepositoryError> {
    uow.external_approvals().cancel(ticket).await.map(drop)
}

/// Who sets up a system can have it decide any ticket, so the right must reach everywhere.
///
/// # Errors
/// FORBIDDEN{required_permission, environment}.
fn require_reach(caller: &Caller) -> Result<(), Problem> {
    caller.require(Permission::ApprovalExternal)?;
    let held = caller.subject.environments(Permission::ApprovalExternal, None);
    match EnvironmentSet::ALL
        .iter()
        .find(|environment| !held.contains(*environment))
    {
        None => Ok(()),
        Some(environment) => Err(Problem::new(ErrorCode::Forbidden)
            .with("required_permission", Permission::ApprovalExternal.as_str())
            .with("environment", environment.as_str())),
    }
}

/// The system, if the caller may set it up.
///
/// # Errors
/// EXTERNAL_SYSTEM_NOT_FOUND, FORBIDDEN.
async fn managed(
    platform: &Platform,
    caller: &Caller,
    id: ExternalSystemId,
) -> Result<ExternalSystemRecord, UseCaseError> {
    require_reach(caller)?;
    Ok(platform
        .read
        .get_external_system(id)
        .await?
        .ok_or_else(|| missing(id))?)
}

fn missing(id: ExternalSystemId) -> Problem {
    Problem::not_found(ErrorCode::ExternalSystemNotFound, id)
}
