//! The jobs that were given up.

use shepherd_domain::access::Permission;
use shepherd_domain::event::EventType;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::context::Caller;
use shepherd_ports::dead_letters::DeadLetter;

use crate::{Platform, UseCaseError};

/// Those of the environments in which the caller may decide about them, the latest first.
///
/// # Errors
/// FORBIDDEN.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    event_type: Option<EventType>,
    page: PageRequest,
) -> Result<Page<DeadLetter>, UseCaseError> {
    caller.require(Permission::JobManage)?;
    let visible = caller.subject.environments(Permission::JobManage, None);
    Ok(platform.read.list_dead_letters(visible, event_type, page).await?)
}
