//! Console grants (console.md §2); tokens and sessions are in [`tokens`].

pub mod tokens;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ids::{ConsoleGrantId, TicketId, UserId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::{ActorId, Environment};

use crate::error::RepositoryError;

/// The right of one person to open the console of one machine for a while.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct GrantRecord {
    pub id: ConsoleGrantId,
    pub vm_id: VmId,
    pub user_id: UserId,
    /// Of the machine when it was granted.
    pub environment: Environment,
    /// The approval; none for a direct grant.
    pub ticket_id: Option<TicketId>,
    /// The person of a direct grant, the approver, or `system:policy`.
    pub granted_by: ActorId,
    pub granted_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub revoked_by: Option<ActorId>,
}

impl GrantRecord {
    /// Whether it gives access at a moment: neither revoked nor expired.
    pub fn is_live(&self, at: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at > at
    }
}

/// A grant in the list of the administrators.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedGrant {
    /// The grant.
    #[serde(flatten)]
    pub grant: GrantRecord,
    /// Consoles that are open by it.
    pub open_sessions: i64,
}

/// A grant to be made.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct NewGrant {
    pub id: ConsoleGrantId,
    pub vm_id: VmId,
    pub user_id: UserId,
    pub environment: Environment,
    pub ticket_id: Option<TicketId>,
    pub granted_by: ActorId,
    pub granted_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// What came of asking for the end of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It is ended, and its unused tokens with it.
    Revoked(GrantRecord),
    /// It was revoked before; nothing was changed.
    AlreadyRevoked,
    /// There is no such grant.
    NotFound,
}

/// Which grants an administrator wants to see.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Of this machine.
    pub vm_id: Option<VmId>,
    /// Of this person.
    pub user_id: Option<UserId>,
    /// Those that give access (`true`) or no longer do (`false`).
    pub active: Option<bool>,
}

/// A request of a person for the console of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.10")]
pub struct AskedConsole {
    pub ticket_id: TicketId,
    pub status: TicketStatus,
    pub created_at: DateTime<Utc>,
}

/// How a person stands with the console of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ConsoleStanding {
    /// The grant that gives access for the longest time.
    pub live: Option<GrantRecord>,
    /// When the latest grant was given, live or not.
    pub granted_at: Option<DateTime<Utc>>,
    /// The latest request that made a ticket.
    pub asked: Option<AskedConsole>,
}

/// Writes grants.
#[async_trait]
pub trait ConsoleRepository: Send {
    /// Lets one transaction after the other decide about the access of a person to a machine; held until the
    /// transaction ends. Whoever looks for a live grant and makes one in its absence takes it first.
    async fn hold(&mut self, vm: VmId, user: UserId) -> Result<(), RepositoryError>;

    /// The grant that gives access for the longest time from a moment on.
    async fn live(&mut self, vm: VmId, user: UserId, at: DateTime<Utc>)
    -> Result<Option<GrantRecord>, RepositoryError>;

    /// Makes a grant. A ticket gives one at most: `uq_console_grants_ticket_id`.
    async fn insert(&mut self, grant: &NewGrant) -> Result<(), RepositoryError>;

    /// Ends a grant and its unused tokens. A token that is being issued is either seen here or finds its grant
    /// revoked, as long as its issue locks the row of the grant.
    async fn revoke(
        &mut self,
        id: ConsoleGrantId,
        by: &ActorId,
        at: DateTime<Utc>,
    ) -> Result<Revocation, RepositoryError>;
}

/// Reads grants.
#[async_trait]
pub trait ConsoleQueries: Send + Sync {
    /// Newest first, with the number of open sessions. `now` tells which ones are active.
    async fn list_console_grants(
        &self,
        filter: &GrantFilter,
        now: DateTime<Utc>,
        page: PageRequest,
    ) -> Result<Page<ListedGrant>, RepositoryError>;

    /// One grant.
    async fn get_console_grant(&self, id: ConsoleGrantId) -> Result<Option<GrantRecord>, RepositoryError>;

    /// How a person stands with the console of a machine.
    async fn console_standing(
        &self,
        vm: VmId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<ConsoleStanding, RepositoryError>;
}
