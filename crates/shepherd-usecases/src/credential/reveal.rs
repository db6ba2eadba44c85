//! The owner of a machine is shown its one-time password, once.

use std::fmt;

use serde_json::json;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::VmId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use zeroize::Zeroizing;

use crate::{Platform, UseCaseError, encryption, vm};

/// What the owner needs to enter the guest.
pub struct InitialPassword {
    /// The account in the guest.
    pub username: String,
    /// Its password, which has to be changed at the first login.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for InitialPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitialPassword")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Shows the password and erases it. Nobody but the user who requested the machine gets it: an administrator could
/// enter the guest by other means, and those leave traces.
///
/// The answer is never stored for an `Idempotency-Key`: it would be kept for everybody who reads the database.
///
/// # Errors
/// VM_NOT_FOUND, FORBIDDEN, INITIAL_PASSWORD_NOT_AVAILABLE when there is none, it was shown before, or its time is over.
/// A password that cannot be opened stays where it is.
pub async fn execute(platform: &Platform, caller: &Caller, id: VmId) -> Result<InitialPassword, UseCaseError> {
    let vm = vm::visible(platform, caller, Permission::VmRead, ResourceAction::View, id).await?;
    if vm.created_by.as_user() != Some(caller.subject.user()) {
        return Err(Problem::new(ErrorCode::Forbidden)
            .with("reason", "not_the_requester")
            .into());
    }
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let taken = uow
        .credentials()
        .take_password(id, &caller.context.actor, now)
        .await?
        .ok_or_else(|| Problem::not_found(ErrorCode::InitialPasswordNotAvailable, id))?;
    let opened = encryption::open(platform, &super::password_place(id), &taken.password).await?;
    let password = Zeroizing::new(super::text(&opened)?.to_owned());
    let entry = AuditEntry::new(AuditAction::VmInitialPasswordReveal, "vm", id)
        .named(vm.name)
        .environment(vm.environment)
        .details(json!({"username": taken.username}));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(InitialPassword {
        username: taken.username,
        password,
    })
}
