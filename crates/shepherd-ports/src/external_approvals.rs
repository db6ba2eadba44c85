//! External approval systems, the tickets that were handed to them, and the adapters that speak to them.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::external_approval::{StatusMapping, SubmissionState, SystemType, Verdict};
use shepherd_domain::ids::{ExternalSystemId, SubmissionId, TicketId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::transition::Transition;
use shepherd_domain::{ActorId, Environment};
use zeroize::Zeroizing;

use crate::audit_webhooks::SealedHeaders;
use crate::crypto::Sealed;
use crate::error::RepositoryError;
use crate::systems::Changed;

/// A new system.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct NewExternalSystem {
    pub id: ExternalSystemId,
    pub name: String,
    pub system_type: SystemType,
    pub webhook_url: String,
    pub secret: Sealed,
    pub headers: Option<SealedHeaders>,
    pub status_mapping: StatusMapping,
    pub timeout_seconds: i32,
    pub retry_count: i32,
    pub poll_interval_seconds: i32,
    pub enabled: bool,
    pub created_by: ActorId,
}

/// A system; its secret and the values of its headers are not part of it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct ExternalSystemRecord {
    pub id: ExternalSystemId,
    pub name: String,
    pub system_type: SystemType,
    pub webhook_url: String,
    pub header_names: Vec<String>,
    pub status_mapping: StatusMapping,
    pub timeout_seconds: i32,
    pub retry_count: i32,
    pub poll_interval_seconds: i32,
    pub enabled: bool,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What changes; `None` leaves a value, an inner one clears it.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct ExternalSystemPatch {
    pub name: Option<String>,
    pub webhook_url: Option<String>,
    pub secret: Option<Sealed>,
    pub headers: Option<Option<SealedHeaders>>,
    pub status_mapping: Option<StatusMapping>,
    pub timeout_seconds: Option<i32>,
    pub retry_count: Option<i32>,
    pub poll_interval_seconds: Option<i32>,
    pub enabled: Option<bool>,
}

/// The sealed columns of a system.
#[derive(Clone, Debug)]
pub struct SealedSystem {
    /// The signing secret.
    pub secret: Vec<u8>,
    /// A JSON object of header names and values.
    pub headers: Option<Vec<u8>>,
}

/// A ticket that was handed to a system.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.14")]
pub struct SubmissionRecord {
    pub id: SubmissionId,
    pub ticket_id: TicketId,
    /// The system may be gone.
    pub system_id: ExternalSystemId,
    pub external_id: Option<String>,
    pub state: SubmissionState,
    /// Failed attempts at what is to be done next.
    pub attempts: i32,
    /// When that is due; nothing is to be done without it.
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
    pub verdict: Option<Verdict>,
    pub decided_at: Option<DateTime<Utc>>,
    pub row_version: i64,
    /// What had taken the place of the spec when the system was offered the ticket; a consent is for that.
    pub offered_spec: Option<Value>,
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// Why, in fixed words, at most 512 characters.
    pub error: &'a str,
    /// Whether it counts against the retries of the system.
    pub counts: bool,
    /// When it is tried again; never without it.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// Writes systems and submissions. A submission that was claimed is written only while nobody else has changed it.
#[async_trait]
pub trait ExternalApprovalRepository: Send {
    /// Inserts a system.
    async fn insert(&mut self, system: &NewExternalSystem) -> Result<(), RepositoryError>;
    /// Changes a system, if the row has the wanted version (when one is given).
    async fn update(
        &mut self,
        id: ExternalSystemId,
        patch: &ExternalSystemPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError>;
    /// Keeps a system as it is until the transaction ends, and reads it. No policy can come to name it meanwhile.
    async fn hold(&mut self, id: ExternalSystemId) -> Result<Option<ExternalSystemRecord>, RepositoryError>;
    /// How many policies name a system.
    async fn count_references(&mut self, id: ExternalSystemId) -> Result<i64, RepositoryError>;
    /// Deletes a system. What was handed to it stays.
    async fn delete(&mut self, id: ExternalSystemId) -> Result<bool, RepositoryError>;

    /// Hands a ticket to a system, due at once; `false` when it was handed to one before.
    async fn queue(
        &mut self,
        ticket: TicketId,
        system: ExternalSystemId,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Claims a submission that is due and as it was read, until `until`; answers it as it is now, and while the system
    /// does not have the ticket, with the spec that it is offered from now on. `None` when somebody
    /// else was faster.
    async fn claim(
        &mut self,
        submission: &SubmissionRecord,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Option<SubmissionRecord>, RepositoryError>;
    /// Notes that the system has the ticket and under which id, and when to ask it; `false` when somebody else has
    /// changed the submission since it was claimed.
    async fn submitted(
        &mut self,
        claimed: &SubmissionRecord,
        step: Transition<SubmissionState>,
        external_id: &str,
        ask_at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Notes the id of a ticket that was cancelled while it was submitted, so that the system hears of it.
    async fn submitted_late(
        &mut self,
        submission: SubmissionId,
        external_id: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Notes that the system was asked and has not decided; `false` as for [`Self::submitted`].
    async fn still_pending(
        &mut self,
        claimed: &SubmissionRecord,
        ask_at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Notes a failure; `false` as for [`Self::submitted`].
    async fn failed(&mut self, claimed: &SubmissionRecord, failure: FailedAttempt<'_>)
    -> Result<bool, RepositoryError>;
    /// Notes that the system heard of a cancellation.
    async fn told(&mut self, claimed: &SubmissionRecord) -> Result<bool, RepositoryError>;
    /// Notes a decision of the system; `false` when the submission is not in the state that the step leaves.
    async fn decide(
        &mut self,
        submission: SubmissionId,
        step: Transition<SubmissionState>,
        verdict: &Verdict,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Gives up on the system; `false` when the submission is not in the state that the step leaves.
    async fn fall_back(
        &mut self,
        submission: SubmissionId,
        step: Transition<SubmissionState>,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError>;
    /// Ends what is open about a ticket, and has the system told if it may have the ticket, which it may since the first
    /// claim; `false` when nothing was open.
    async fn cancel(&mut self, ticket: TicketId) -> Result<bool, RepositoryError>;
    /// The same for every ticket that waits for no decision any more; answers how many.
    async fn cancel_decided(&mut self) -> Result<u64, RepositoryError>;
}

/// Reads systems and submissions.
#[async_trait]
pub trait ExternalApprovalQueries: Send + Sync {
    /// One system.
    async fn get_external_system(&self, id: ExternalSystemId) -> Result<Option<ExternalSystemRecord>, RepositoryError>;
    /// All systems, by name.
    async fn list_external_systems(&self, page: PageRequest) -> Result<Page<ExternalSystemRecord>, RepositoryError>;
    /// The sealed columns.
    async fn sealed_external_system(&self, id: ExternalSystemId) -> Result<Option<SealedSystem>, RepositoryError>;
    /// The submission of a ticket.
    async fn submission_of(&self, ticket: TicketId) -> Result<Option<SubmissionRecord>, RepositoryError>;
    /// Submissions with something to do, at most so many of each system, those that wait longest first.
    async fn due_submissions(
        &self,
        now: DateTime<Utc>,
        per_system: i64,
    ) -> Result<Vec<SubmissionRecord>, RepositoryError>;
    /// Whether a submission is open whose ticket waits for no decision any more.
    async fn decided_elsewhere(&self) -> Result<bool, RepositoryError>;
    /// Open submissions whose system is gone or disabled, at most so many.
    async fn abandoned_submissions(&self, limit: i64) -> Result<Vec<SubmissionRecord>, RepositoryError>;
}

/// A system with its secrets open, for one exchange.
pub struct OpenedSystem {
    /// Where it is.
    pub url: String,
    /// Signs what is sent to it.
    pub secret: Zeroizing<Vec<u8>>,
    /// Sent with everything.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// What its words mean.
    pub status_mapping: StatusMapping,
    /// From the look-up of its name to the last byte of its answer.
    pub timeout: Duration,
}

/// A ticket as a system sees it. Nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TicketForApproval {
    /// Its id.
    #[serde(rename = "shepherd_ticket_id")]
    pub ticket_id: TicketId,
    /// Its number.
    pub ticket_number: String,
    /// What is asked for, as on the wire: `CREATE`, `DELETE`.
    #[serde(rename = "type")]
    pub operation: &'static str,
    /// Where the decision is sent.
    pub callback_url: String,
    /// Who asks.
    pub requester: Value,
    /// What is asked for and why, redacted.
    pub request_details: Value,
    /// Names and numbers.
    pub resource_summary: Value,
    /// Environment of the ticket.
    pub environment: Environment,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// What a system says about a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalStatus {
    /// Nobody decided.
    Pending,
    /// It is decided.
    Decided(Verdict),
}

/// Why an exchange with a system came to nothing. The text is fixed: nothing of what the other side said is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderFailure {
    /// The address is one that must not be reached.
    #[error("the address of the system is not allowed")]
    Blocked {
        /// The host as it stands in the URL.
        host: String,
    },
    /// The URL is of a form that is never sent to.
    #[error("the URL of the system is not allowed")]
    Url,
    /// It took too long.
    #[error("the system did not answer in time")]
    Timeout,
    /// It answered with a status that is no success. A redirect is one, and is not followed.
    #[error("the system answered with status {0}")]
    Status(u16),
    /// It answered something that has no meaning.
    #[error("{0}")]
    Answer(&'static str),
    /// It answered a question with a success, and with something that is no JSON object.
    #[error("the system answered something that is no JSON object")]
    NoObject,
    /// Anything else.
    #[error("{0}")]
    Failed(&'static str),
}

impl ProviderFailure {
    /// Whether the other side does not know the question at all: it is one that only calls back, and not out of order.
    pub fn is_unknown_question(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 404 | 405 | 410 | 501),
            Self::NoObject => true,
            Self::Blocked { .. } | Self::Url | Self::Timeout | Self::Answer(_) | Self::Failed(_) => false,
        }
    }
}

/// Speaks to one kind of system (requests.md §10). Every call may happen twice.
#[async_trait]
pub trait ExternalApprovalProvider: Send + Sync {
    /// The kind, as it stands in `system_type`.
    fn system_type(&self) -> &'static str;
    /// Hands a ticket over; answers the id it has there.
    ///
    /// # Errors
    /// [`ProviderFailure`].
    async fn submit_for_approval(
        &self,
        system: &OpenedSystem,
        ticket: &TicketForApproval,
    ) -> Result<String, ProviderFailure>;
    /// Asks what became of a ticket.
    ///
    /// # Errors
    /// [`ProviderFailure`].
    async fn check_status(
        &self,
        system: &OpenedSystem,
        ticket: TicketId,
        external_id: &str,
    ) -> Result<ExternalStatus, ProviderFailure>;
    /// Says that no decision is wanted any more. That the system does not know the ticket is a success.
    ///
    /// # Errors
    /// [`ProviderFailure`].
    async fn cancel_request(
        &self,
        system: &OpenedSystem,
        ticket: TicketId,
        external_id: &str,
    ) -> Result<(), ProviderFailure>;
    /// Sends something harmless, to see whether it arrives.
    ///
    /// # Errors
    /// [`ProviderFailure`].
    async fn probe(&self, system: &OpenedSystem) -> Result<(), ProviderFailure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_nobody_being_there_is_an_unknown_question() {
        for unknown in [404, 405, 410, 501] {
            assert!(ProviderFailure::Status(unknown).is_unknown_question(), "{unknown}");
        }
        for failed in [301, 400, 401, 403, 408, 422, 429, 500, 502, 503] {
            assert!(!ProviderFailure::Status(failed).is_unknown_question(), "{failed}");
        }
        assert!(ProviderFailure::NoObject.is_unknown_question());
        assert!(!ProviderFailure::Timeout.is_unknown_question());
    }
}
