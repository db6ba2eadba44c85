//! A system says by itself what it decided (requests.md §10).
//!
//! Anybody can send anything here. The signature over the raw bytes comes before everything that the body says, except
//! for the id of the ticket, which tells whose secret it has to be. What is unknown is answered as what is not signed.
//! A network that sends too much of that has to wait, whatever it sends.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shepherd_domain::ActorId;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::external_approval::{CALLBACK_WINDOW, SubmissionState, Verdict};
use shepherd_domain::ids::TicketId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::external_approvals::{ExternalStatus, ExternalSystemRecord, SubmissionRecord};
use zeroize::Zeroizing;

use super::decide::{self, Decision, Outcome};
use super::fallback;
use super::opening::{self, Closed};
use super::throttle::Sender;
use super::webhook::{Words, understand};
use crate::auth::authenticate::RequestMarks;
use crate::execution::Operations;
use crate::{Platform, UseCaseError};

/// Signs nothing: an unknown ticket is compared with it, so that the comparison does not tell it from a known one.
const NOBODY: &[u8] = b"no secret of any system";

/// What came in.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// `X-Shepherd-Timestamp`: seconds since 1970.
    pub timestamp: Option<&'a str>,
    /// `X-Signature-256`: `sha256=` and the HMAC in hex.
    pub signature: Option<&'a str>,
    /// The body as it was sent.
    pub body: &'a [u8],
}

/// What a callback says, once it is known who says it.
#[derive(Clone, Debug)]
pub struct Callback {
    /// The ticket.
    pub ticket: TicketId,
    /// The id that the system says it has there. It goes on record and decides nothing: the signature tells who sends
    /// it.
    pub external_id: String,
    /// A word of the system.
    pub status: String,
    /// Who decided there.
    pub approver: Option<String>,
    /// A remark.
    pub comments: Option<String>,
    /// When it was decided there.
    pub approved_at: Option<String>,
}

/// Proof that a callback comes from a system that has the ticket, and is fresh.
pub struct Verified {
    ticket: TicketId,
    system: ExternalSystemRecord,
}

/// The ticket that a body is about, whatever else is in it.
#[derive(Deserialize)]
struct About {
    shepherd_ticket_id: TicketId,
}

/// Checks who sent it.
///
/// # Errors
/// RATE_LIMIT_EXCEEDED{approval_callback} before anything of it is looked at; WEBHOOK_SIGNATURE_INVALID, also when
/// nothing is known of the ticket; WEBHOOK_STALE when it is signed and more than five minutes old, or as much ahead;
/// SERVICE_BUSY when the secret cannot be had now.
pub async fn verify(
    platform: &Platform,
    received: Received<'_>,
    marks: &RequestMarks,
) -> Result<Verified, UseCaseError> {
    let sender = Sender::at(marks.ip);
    sender.admit(platform).await?;
    let ticket = serde_json::from_slice::<About>(received.body)
        .ok()
        .map(|about| about.shepherd_ticket_id);
    let known = match ticket {
        Some(ticket) => known(platform, ticket).await?,
        None => None,
    };
    let secret = match &known {
        Some((_, system)) => secret_of(platform, system).await?,
        None => None,
    };
    let key = secret.as_ref().map_or(NOBODY, |secret| secret.as_slice());
    let right = is_signed(platform, key, &received);
    let (Some((submission, system)), Some(_), true) = (known, secret, right) else {
        refuse(platform, ticket, &sender, marks).await?;
        return Err(Problem::new(ErrorCode::WebhookSignatureInvalid).into());
    };
    if !is_fresh(received.timestamp, platform.now()) {
        return Err(Problem::new(ErrorCode::WebhookStale)
            .with("max_age_seconds", CALLBACK_WINDOW.as_secs())
            .into());
    }
    Ok(Verified {
        ticket: submission.ticket_id,
        system,
    })
}

async fn known(
    platform: &Platform,
    ticket: TicketId,
) -> Result<Option<(SubmissionRecord, ExternalSystemRecord)>, UseCaseError> {
    let Some(submission) = platform.read.submission_of(ticket).await? else {
        return Ok(None);
    };
    let system = platform.read.get_external_system(submission.system_id).await?;
    Ok(system.map(|system| (submission, system)))
}

/// The secret of a system; `None` when the system is gone.
async fn secret_of(
    platform: &Platform,
    system: &ExternalSystemRecord,
) -> Result<Option<Zeroizing<Vec<u8>>>, UseCaseError> {
    match opening::open_secret(platform, system).await {
        Ok(secret) => Ok(Some(secret)),
        Err(Closed::Gone) => Ok(None),
        // Whether it is signed cannot be told, so nobody is accused of a forgery; the sender may try again.
        Err(closed @ (Closed::Store | Closed::Sealed | Closed::Variable)) => {
            tracing::warn!(system = %system.name, error = %closed, "a callback cannot be verified");
            Err(Problem::new(ErrorCode::ServiceBusy).into())
        }
    }
}

fn is_signed(platform: &Platform, key: &[u8], received: &Received<'_>) -> bool {
    let timestamp = received.timestamp.unwrap_or_default();
    let hex = received
        .signature
        .and_then(|signature| signature.strip_prefix("sha256="))
        .unwrap_or_default();
    let message = [timestamp.as_bytes(), b".", received.body].concat();
    platform.digests.is_hmac_hex(key, &message, hex)
}

fn is_fresh(timestamp: Option<&str>, now: DateTime<Utc>) -> bool {
    let sent = timestamp
        .and_then(|seconds| seconds.parse().ok())
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let window = TimeDelta::from_std(CALLBACK_WINDOW).unwrap_or(TimeDelta::zero());
    sent.is_some_and(|sent| (now - sent).abs() <= window)
}

/// A forgery counts, and is on record, before it is answered.
async fn refuse(
    platform: &Platform,
    ticket: Option<TicketId>,
    sender: &Sender,
    marks: &RequestMarks,
) -> Result<(), UseCaseError> {
    let named = ticket.map_or_else(|| "unknown".to_owned(), |ticket| ticket.to_string());
    let entry = AuditEntry::new(AuditAction::ExternalApprovalCallback, "approval_ticket", named)
        .details(json!({"reason": "the signature is not valid"}))
        .failed();
    let context = marks.context(ActorId::system("anonymous"), None);
    let now = platform.now();
    let mut uow = platform.begin().await?;
    sender.count_failure(platform, &mut *uow).await?;
    platform.audit(&mut *uow, &context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

/// Decides the ticket as the system says; answers whether that is how it stands now. What comes again changes nothing.
///
/// # Errors
/// SELF_APPROVAL_FORBIDDEN.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    verified: &Verified,
    callback: &Callback,
    marks: &RequestMarks,
) -> Result<bool, UseCaseError> {
    let Verified { ticket, system } = verified;
    let submission = platform
        .read
        .submission_of(*ticket)
        .await?
        .ok_or(UseCaseError::Broken("a submission that was just read is not there"))?;
    let words = Words {
        status: &callback.status,
        approver: callback.approver.as_deref(),
        comments: callback.comments.as_deref(),
        approved_at: callback.approved_at.as_deref(),
    };
    let verdict = match understand(&system.status_mapping, *ticket, &words) {
        ExternalStatus::Pending => return Ok(submission.state.is_open()),
        ExternalStatus::Decided(verdict) => verdict,
    };
    if !submission.state.is_open() {
        return Ok(stands(&submission, &verdict));
    }
    if !system.enabled || !platform.settings().features.external_approval {
        fallback::execute(platform, &submission, "the system is disabled").await?;
        return Ok(false);
    }
    let context = marks.context(decide::actor(system), Some(system.name.clone()));
    let decision = Decision {
        system,
        verdict: &verdict,
        context: &context,
        received: Some(received(system, &submission, callback, &verdict)),
    };
    match decide::apply(platform, operations, *ticket, &decision).await? {
        Outcome::Decided | Outcome::Noted => Ok(true),
        Outcome::TooLate => {
            let now = platform.read.submission_of(*ticket).await?;
            Ok(now.is_some_and(|submission| stands(&submission, &verdict)))
        }
    }
}

/// Whether the submission ended as the system says now.
fn stands(submission: &SubmissionRecord, verdict: &Verdict) -> bool {
    match submission.state {
        SubmissionState::Approved | SubmissionState::Rejected => submission
            .verdict
            .as_ref()
            .is_some_and(|before| before.answer == verdict.answer),
        SubmissionState::Queued
        | SubmissionState::Submitted
        | SubmissionState::FellBack
        | SubmissionState::Cancelled => false,
    }
}

/// A system that was handed a ticket twice may know it by another id than the one that was kept; both go on record.
fn received(
    system: &ExternalSystemRecord,
    submission: &SubmissionRecord,
    callback: &Callback,
    verdict: &Verdict,
) -> AuditEntry {
    let details: Value = json!({
        "external_ticket_id": callback.external_id, "known_as": submission.external_id,
        "decision": verdict.answer, "approver": verdict.approver,
    });
    AuditEntry::new(
        AuditAction::ExternalApprovalCallback,
        "approval_ticket",
        submission.ticket_id,
    )
    .ticket(submission.ticket_id)
    .parent(super::RESOURCE, system.id)
    .details(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_fresh_for_five_minutes_either_way() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        for fresh in ["1700000000", "1699999700", "1700000300"] {
            assert!(is_fresh(Some(fresh), now), "{fresh}");
        }
        for stale in [
            "1699999699",
            "1700000301",
            "",
            "now",
            "99999999999999999999",
            "-9223372036854775808",
        ] {
            assert!(!is_fresh(Some(stale), now), "{stale}");
        }
        assert!(!is_fresh(None, now));
    }
}
