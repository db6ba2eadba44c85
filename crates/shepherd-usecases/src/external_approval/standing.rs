//! Where a ticket stands with the system that it was handed to, for those who look at the ticket.

use chrono::{DateTime, Utc};
use shepherd_domain::external_approval::{SubmissionState, Verdict};
use shepherd_domain::ids::{ExternalSystemId, TicketId};

use crate::{Platform, UseCaseError};

/// A submission as the readers of its ticket see it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The system.
    pub system_id: ExternalSystemId,
    /// Its name, unless it is gone.
    pub system_name: Option<String>,
    /// What became of the submission.
    pub state: SubmissionState,
    /// What the system said, also when the ticket waits all the same.
    pub verdict: Option<Verdict>,
    /// When the submission ended.
    pub decided_at: Option<DateTime<Utc>>,
}

/// That of a ticket, if it was ever handed to a system. Whether the caller may see the ticket is not looked at.
///
/// # Errors
/// When the store fails.
pub(crate) async fn of(platform: &Platform, ticket: TicketId) -> Result<Option<Standing>, UseCaseError> {
    let Some(submission) = platform.read.submission_of(ticket).await? else {
        return Ok(None);
    };
    let system = platform.read.get_external_system(submission.system_id).await?;
    Ok(Some(Standing {
        system_id: submission.system_id,
        system_name: system.map(|system| system.name),
        state: submission.state,
        verdict: submission.verdict,
        decided_at: submission.decided_at,
    }))
}
