//! Limits of batches, exemptions and overrides (batch.md §2, §6).

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::ids::UserId;
use shepherd_domain::limit::{Override, Standing};

use crate::error::RepositoryError;

/// A stored exemption.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct ExemptionRecord {
    pub user_id: UserId,
    pub exempted_by: ActorId,
    pub reason: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub row_version: i64,
}

/// An exemption to be made, or to replace the one there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct NewExemption {
    pub user: UserId,
    pub exempted_by: ActorId,
    pub reason: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A stored override.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct OverrideRecord {
    pub user_id: UserId,
    #[serde(flatten)]
    pub numbers: Override,
    pub reason: Option<String>,
    pub updated_by: ActorId,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub row_version: i64,
}

/// An override to be made, or to replace the one there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct NewOverride {
    pub user: UserId,
    pub numbers: Override,
    pub reason: Option<String>,
    pub updated_by: ActorId,
}

/// A user for whom something is agreed, or for whom something is open.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UserStanding {
    /// The user.
    pub user_id: UserId,
    /// How the user logs in.
    pub username: String,
    /// What is open and agreed.
    pub standing: Standing,
}

/// Writes limits, and counts under their lock.
#[async_trait]
pub trait LimitRepository: Send {
    /// Counts a submission of the minute that begins at `minute`; answers how many there are, this one included.
    /// Others that count in the same minute wait for the transaction.
    async fn count_submission(&mut self, minute: DateTime<Utc>) -> Result<u32, RepositoryError>;

    /// From here to the end of the transaction nobody else accepts a batch.
    async fn lock_submissions(&mut self) -> Result<(), RepositoryError>;

    /// What is open and agreed, as this transaction sees it.
    async fn standing(&mut self, user: UserId) -> Result<Standing, RepositoryError>;

    /// Makes an exemption, or replaces the one there is. The user must exist:
    /// `fk_rate_limit_exemptions_user_id`.
    async fn exempt(&mut self, exemption: &NewExemption) -> Result<ExemptionRecord, RepositoryError>;

    /// Takes an exemption away; answers it, or `None` when there was none.
    async fn lift_exemption(&mut self, user: UserId) -> Result<Option<ExemptionRecord>, RepositoryError>;

    /// The override of a user.
    async fn override_of(&mut self, user: UserId) -> Result<Option<OverrideRecord>, RepositoryError>;

    /// Makes an override, or replaces the one there is. The user must exist: `fk_rate_limit_user_overrides_user_id`.
    async fn put_override(&mut self, new: &NewOverride) -> Result<OverrideRecord, RepositoryError>;
}

/// Reads limits.
#[async_trait]
pub trait LimitQueries: Send + Sync {
    /// What is open and agreed.
    async fn limit_standing(&self, user: UserId) -> Result<Standing, RepositoryError>;

    /// The users who have an exemption at this moment, an override, or open batches; only this one of them if one is
    /// given. By user name.
    async fn limit_status(
        &self,
        user: Option<UserId>,
        now: DateTime<Utc>,
    ) -> Result<Vec<UserStanding>, RepositoryError>;
}
