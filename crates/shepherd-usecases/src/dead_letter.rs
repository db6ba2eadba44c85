//! Jobs that nothing tries again by itself: an administrator lists them, has them tried again, or drops them
//! (requests.md §11).
//!
//! A dead letter is taken out of the queue in the transaction that decides about it, so of several decisions at the same
//! time one finds it. None of this approves anything: what is tried again is what was approved.

pub mod discard;
mod effects;
pub mod listing;
pub mod retry;

pub(crate) use effects::is_restorable;

use shepherd_domain::access::Permission;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::dead_letters::{DeadLetter, JobId};

use crate::authorization::{Guarded, require_in};
use crate::batch::settle;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// A dead letter that the caller may decide about. One without a ticket has no environment, so only those who hold the
/// permission in both may.
async fn visible(platform: &Platform, caller: &Caller, id: JobId) -> Result<DeadLetter, UseCaseError> {
    let letter = platform.read.get_dead_letter(id).await?.ok_or_else(|| not_found(id))?;
    match letter.environment {
        Some(environment) => {
            let object = Guarded {
                not_found: ErrorCode::JobNotFound,
                id: &id,
                read: Permission::JobManage,
            };
            require_in(caller, Permission::JobManage, environment, object)?;
        }
        None => account::require_everywhere(caller, Permission::JobManage).map_err(|_| not_found(id))?,
    }
    Ok(letter)
}

/// Locks the batch that the ticket of a letter belongs to, before the letter is taken: a retry of the whole batch takes
/// its letters under that lock.
async fn lock_batch(uow: &mut dyn UnitOfWork, letter: &DeadLetter) -> Result<(), UseCaseError> {
    let Some(event) = letter.event_id else { return Ok(()) };
    if let Some(ticket) = uow.tickets().find_by_event(event).await? {
        settle::lock(uow, ticket.parent_ticket_id).await?;
    }
    Ok(())
}

fn not_found(id: JobId) -> Problem {
    Problem::not_found(ErrorCode::JobNotFound, id)
}
