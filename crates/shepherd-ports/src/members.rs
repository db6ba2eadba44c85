//! Members of Systems, and the last owner.
//!
//! Whoever changes the members of a System takes two locks first, in this order: the user, so that nobody deletes the
//! account meanwhile, and the System, so that changes of its members take turns. Several Systems are locked by id.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::access::ResourceRole;
use shepherd_domain::ids::{MembershipId, SystemId, UserId};

use crate::error::RepositoryError;

/// A new membership.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct NewMember {
    pub id: MembershipId,
    pub system_id: SystemId,
    pub user_id: UserId,
    pub role: ResourceRole,
    /// Never for an owner.
    pub expires_at: Option<DateTime<Utc>>,
    pub granted_by: ActorId,
}

/// A membership that has not expired, with its user.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct MemberRecord {
    pub id: MembershipId,
    pub user_id: UserId,
    pub username: String,
    pub email: Option<String>,
    pub display_name: Option<String>,
    pub role: ResourceRole,
    pub expires_at: Option<DateTime<Utc>>,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

/// A membership that had expired and is gone now.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct EndedMembership {
    pub system_id: SystemId,
    pub user_id: UserId,
    pub username: String,
    pub role: ResourceRole,
    pub expires_at: DateTime<Utc>,
}

/// Writes memberships.
#[async_trait]
pub trait MemberRepository: Send {
    /// Keeps a user from being deleted until the transaction ends, and waits for who is about to do it; answers the
    /// user name, or `None` when the user is gone.
    async fn keep_user(&mut self, user: UserId) -> Result<Option<String>, RepositoryError>;
    /// Locks a System until the transaction ends: nobody else changes its members or deletes it. `false` when it is
    /// gone.
    async fn lock_system(&mut self, system: SystemId) -> Result<bool, RepositoryError>;
    /// An unexpired membership; under the lock of the System nobody changes it.
    async fn find(
        &mut self,
        system: SystemId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberRecord>, RepositoryError>;
    /// Inserts a membership.
    async fn insert(&mut self, member: &NewMember) -> Result<(), RepositoryError>;
    /// Gives another role; an owner's membership does not expire any more. `false` when the membership is gone.
    async fn change_role(
        &mut self,
        id: MembershipId,
        role: ResourceRole,
        by: &ActorId,
    ) -> Result<bool, RepositoryError>;
    /// Removes a membership; `false` when it is gone.
    async fn remove(&mut self, id: MembershipId) -> Result<bool, RepositoryError>;
    /// Whether a System has an owner, enabled or not. Asked under its lock and after the change, the answer stays true
    /// until the transaction ends.
    async fn owner_remains(&mut self, system: SystemId) -> Result<bool, RepositoryError>;
    /// Locks the Systems that a user owns and answers those that nobody else owns. With the user locked as well the
    /// answer stays true until the transaction ends.
    async fn lock_sole_owned(&mut self, user: UserId) -> Result<Vec<SystemId>, RepositoryError>;
    /// Systems, with their names, that have no enabled owner without this user.
    async fn without_enabled_owner(&mut self, user: UserId) -> Result<Vec<(SystemId, String)>, RepositoryError>;
    /// Removes at most `limit` memberships that have expired, the oldest first, and answers them. What somebody else
    /// holds is left to the next time.
    async fn end_expired(&mut self, now: DateTime<Utc>, limit: u32) -> Result<Vec<EndedMembership>, RepositoryError>;
    /// Removes the membership of one user if it has expired.
    async fn end_expired_of(
        &mut self,
        system: SystemId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Option<EndedMembership>, RepositoryError>;
}

/// Reads memberships. Expired ones give nothing and are not shown.
#[async_trait]
pub trait MemberQueries: Send + Sync {
    /// The members of a System, at most 1000: owners first, then by user name.
    async fn list_members(&self, system: SystemId, now: DateTime<Utc>) -> Result<Vec<MemberRecord>, RepositoryError>;
    /// One member.
    async fn get_member(
        &self,
        system: SystemId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<Option<MemberRecord>, RepositoryError>;
    /// Whether any owner of a System may log in.
    async fn has_enabled_owner(&self, system: SystemId) -> Result<bool, RepositoryError>;
}
