//! The one-time password of a guest: made by the first execution of its creation, shown once (catalog.md §4).
//!
//! The database keeps two sealed values. The password goes when it is shown or when its time is over; its hash stays
//! until the machine was created, since an execution that is repeated renders the same Secret, whatever was shown in
//! the meantime. What is handed to rendering is the hash alone.

pub(crate) mod erase;
pub mod reveal;

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::catalog::TemplateSpec;
use shepherd_domain::ids::VmId;
use shepherd_domain::rendering::GuestPassword;
use shepherd_ports::credentials::{CredentialHash, NewCredential};
use shepherd_ports::crypto::SealedPlace;
use shepherd_ports::vms::VmRecord;

use crate::{Platform, UseCaseError, encryption};

/// Characters of a password.
const LENGTH: usize = 20;

/// What the guest of a machine is given; made at the first call, the same at every other one. Nothing when the template
/// does not want it.
///
/// No transaction is open while the password is hashed. Of two workers that make one, the first one's counts.
///
/// # Errors
/// When sealing, hashing or the store fails.
pub(crate) async fn guest_password(
    platform: &Platform,
    vm: &VmRecord,
    template: &TemplateSpec,
) -> Result<Option<GuestPassword>, UseCaseError> {
    if !template.guest.initial_password {
        return Ok(None);
    }
    let stored = match platform.read.credential_hash(vm.id).await? {
        Some(stored) => stored,
        None => make(platform, vm.id, &template.guest.access_user).await?,
    };
    let sealed = stored
        .hash
        .ok_or(UseCaseError::Broken("a machine that was created is created again"))?;
    let opened = encryption::open(platform, &hash_place(vm.id), &sealed).await?;
    Ok(Some(GuestPassword {
        username: stored.username,
        hash: text(&opened)?.to_owned(),
    }))
}

async fn make(platform: &Platform, vm: VmId, username: &str) -> Result<CredentialHash, UseCaseError> {
    let password = platform.cipher.new_password(LENGTH)?;
    let hash = platform.guest_passwords.hash(password.clone()).await?;
    let credential = NewCredential {
        vm_id: vm,
        username: username.to_owned(),
        password: platform.cipher.seal(&password_place(vm), password.as_bytes())?,
        hash: platform.cipher.seal(&hash_place(vm), hash.as_bytes())?,
        expires_at: end(platform, platform.now()),
    };
    let mut uow = platform.begin().await?;
    uow.credentials().insert(&credential).await?;
    uow.commit().await?;
    // Whoever was first, what is stored is what the guest gets.
    let stored = platform.read.credential_hash(vm).await?;
    stored.ok_or(UseCaseError::Broken("a new credential is not there"))
}

fn end(platform: &Platform, now: DateTime<Utc>) -> DateTime<Utc> {
    let shown_for = TimeDelta::from_std(platform.settings().initial_password_ttl).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(shown_for).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Where the password of a machine is sealed.
fn password_place(vm: VmId) -> SealedPlace {
    place(vm, "password")
}

/// Where its hash is sealed.
fn hash_place(vm: VmId) -> SealedPlace {
    place(vm, "hash")
}

fn place(vm: VmId, column: &'static str) -> SealedPlace {
    SealedPlace {
        table: "vm_initial_credentials",
        column,
        row: vm.to_string(),
    }
}

fn text(opened: &[u8]) -> Result<&str, UseCaseError> {
    std::str::from_utf8(opened).map_err(|_| UseCaseError::Broken("a sealed credential is no text"))
}
