//! Consoles of machines (console.md): who gets access and for how long, and the tokens that open one.
//!
//! Access is a grant. Test gives one at once; in prod an approved ticket leaves one. A grant gives tokens, and each of
//! them opens a console once.

pub(crate) mod access_operation;
pub mod door;
pub(crate) mod grants;
pub mod proxy;
pub mod request;
pub mod revoke;
pub mod status;
pub mod token;

use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::vm::VmStatus;
use shepherd_ports::consoles::GrantRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::vms::VmRecord;

use self::token::{Issued, Source};
use crate::{Platform, UseCaseError};

/// Access that a person has, with the token that opens the console.
pub struct Opened {
    /// The right.
    pub grant: GrantRecord,
    /// What the browser is given.
    pub token: Issued,
}

/// A token of a live grant.
async fn open(
    platform: &Platform,
    caller: &Caller,
    vm: &VmRecord,
    grant: GrantRecord,
    source: Source,
) -> Result<Opened, UseCaseError> {
    let token = token::issue(platform, caller, &grant, vm, source).await?;
    Ok(Opened { grant, token })
}

/// VM_NOT_RUNNING{vm_id, status}: only a machine that runs has a console.
pub(crate) fn require_running(vm: &VmRecord) -> Result<(), Problem> {
    if vm.status == VmStatus::Running {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::VmNotRunning)
        .with("vm_id", vm.id.to_string())
        .with("status", vm.status.as_str()))
}
