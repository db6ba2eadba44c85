//! Jobs that nothing tries again by itself: an administrator lists them, has them tried again, or drops them
//! (requests.md §11).
//!
//! A dead letter is taken out of the queue in the transaction that decides about it, so of several decisions at the same
//! time one finds it. None of this approves anything: what is tried again is what was approved.

pub mod discard;
mod effects;
pub mod listing;
pub mod retry;

use shepherd_domain::access::Permission;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::dead_letters::{DeadLetter, JobId};

use crate::authorization::{Guarded, require_in};
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

fn not_found(id: JobId) -> Problem {
    Problem::not_found(ErrorCode::JobNotFound, id)
}
