//! One-time passwords of guests, and what they hash to.
//!
//! The password is there until somebody is shown it or its time is over; the hash until the machine was created, so that
//! a creation that is repeated renders the same Secret. Both are sealed, and neither is ever part of a JSON document.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ActorId;
use shepherd_domain::ids::VmId;

use crate::crypto::Sealed;
use crate::error::RepositoryError;

/// The password that a guest is given.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// The machine.
    pub vm_id: VmId,
    /// The account in the guest.
    pub username: String,
    /// The password, sealed.
    pub password: Sealed,
    /// Its crypt(3) hash, sealed.
    pub hash: Sealed,
    /// Until when it can be shown.
    pub expires_at: DateTime<Utc>,
}

/// What a creation needs of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialHash {
    /// The account in the guest.
    pub username: String,
    /// The sealed hash; `None` once the machine was created.
    pub hash: Option<Vec<u8>>,
}

/// A password that can be shown no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenPassword {
    /// The account in the guest.
    pub username: String,
    /// The sealed password.
    pub password: Vec<u8>,
}

/// Writes credentials.
#[async_trait]
pub trait CredentialRepository: Send {
    /// Keeps a credential unless the machine has one; `false` when it has.
    async fn insert(&mut self, credential: &NewCredential) -> Result<bool, RepositoryError>;
    /// Takes the password of a machine out of its row and notes who got it; `None` when there is none or its time is
    /// over. Of several at the same time one gets it.
    async fn take_password(
        &mut self,
        vm: VmId,
        by: &ActorId,
        now: DateTime<Utc>,
    ) -> Result<Option<TakenPassword>, RepositoryError>;
    /// Forgets the hash of a machine that was created.
    async fn forget_hash(&mut self, vm: VmId) -> Result<(), RepositoryError>;
    /// Erases at most `limit` passwords whose time is over, the oldest first; answers how many. Rows that others hold
    /// are left.
    async fn erase_expired(&mut self, now: DateTime<Utc>, limit: u32) -> Result<u64, RepositoryError>;
}

/// Reads credentials.
#[async_trait]
pub trait CredentialQueries: Send + Sync {
    /// What the password of a machine hashes to; `None` when the machine has no credential.
    async fn credential_hash(&self, vm: VmId) -> Result<Option<CredentialHash>, RepositoryError>;
}
