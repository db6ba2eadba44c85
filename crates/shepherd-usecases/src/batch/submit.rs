//! Somebody asks for several machines at once (batch.md §1).
//!
//! Whatever is asked for goes the same way: permission and structure, the answer to a repeated submission, limits, the
//! items, and one transaction. Nothing is tried on a cluster here: the approval does that, for all items and at the
//! place that was chosen for them.

use serde::{Deserialize, Serialize};
use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::batch::{BatchKind, BatchStatus, InvalidBatchReason, distinct, one_environment};
use shepherd_domain::ids::{BatchRequestId, TicketId};
use shepherd_domain::policy::{Decision, Rule};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_ports::metrics::{self, BatchResult};

use super::filing::Filing;
use super::items::Child;
pub use super::items::{Asked, OnMachine, permission};
use super::{create, existing};
use crate::execution::Operations;
use crate::idempotency::{self, Answer};
use crate::settings::BatchSettings;
use crate::vm::submission::optional_reason;
use crate::{Platform, UseCaseError, limit, policy};

/// A batch that is asked for.
#[derive(Clone, Debug)]
pub struct SubmitBatch {
    /// Names the submission, so that it can be repeated: once for each user and kind of batch.
    pub request_id: Option<BatchRequestId>,
    /// Why, at most 1024 characters.
    pub reason: Option<String>,
    /// The items.
    pub asked: Asked,
}

/// A batch that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedBatch {
    /// The parent ticket, whose id is that of the batch.
    pub batch_id: TicketId,
    /// `BAT-20260206-001`.
    pub batch_number: String,
    /// Where it stands; of a repeated submission where it stands now.
    pub status: BatchStatus,
}

/// A submission whose form is right.
pub(super) struct Wanted {
    pub(super) request_id: Option<BatchRequestId>,
    pub(super) reason: Option<String>,
    pub(super) asked: Asked,
    /// Digest of everything but the request id.
    pub(super) hash: String,
}

/// What the items refer to.
enum Known {
    References(create::Known),
    Machines(existing::Known),
}

/// Submits the batch: parent and children with their events and histories, the batch, audit row and notifications in
/// one transaction; what a policy approves is approved in it, with the jobs of all children.
///
/// # Errors
/// In this order: FORBIDDEN; IDEMPOTENCY_*; VALIDATION_FAILED; BATCH_SIZE_EXCEEDED; INVALID_BATCH_REQUEST;
/// RATE_LIMIT_EXCEEDED; INVALID_BATCH_ITEMS.
pub async fn execute(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    command: SubmitBatch,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<SubmittedBatch>, UseCaseError> {
    let kind = command.asked.kind();
    let outcome = submit(platform, operations, caller, command, request).await;
    metrics::batch_submission(kind, result(&outcome));
    outcome
}

/// The outcome as it is counted.
fn result(outcome: &Result<Answer<SubmittedBatch>, UseCaseError>) -> BatchResult {
    match outcome {
        Ok(answer) if answer.replayed => BatchResult::Replayed,
        Ok(_) => BatchResult::Accepted,
        Err(UseCaseError::Problem(problem)) if problem.code == ErrorCode::RateLimitExceeded => BatchResult::Limited,
        Err(UseCaseError::Problem(_)) => BatchResult::Refused,
        Err(_) => BatchResult::Failed,
    }
}

async fn submit(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    command: SubmitBatch,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<SubmittedBatch>, UseCaseError> {
    caller.require(permission(command.asked.kind()))?;
    if let Some(answer) = idempotency::replay(platform, request).await? {
        return Ok(answer);
    }
    let wanted = wanted(platform, command)?;
    let known = gather(platform, &wanted.asked).await?;
    require_one_environment(known.environments(caller, &wanted.asked))?;
    if let Some(answer) = repeated(platform, caller, &wanted).await? {
        return Ok(answer);
    }
    match accept(platform, operations, caller, &wanted, &known, request).await {
        // The same submission may have been accepted while this one was looked at, and then stands in its way.
        Err(UseCaseError::Problem(refusal)) => match repeated(platform, caller, &wanted).await? {
            Some(answer) => Ok(answer),
            None => Err(refusal.into()),
        },
        outcome => outcome,
    }
}

/// The form of the submission.
fn wanted(platform: &Platform, command: SubmitBatch) -> Result<Wanted, Problem> {
    let reason = optional_reason(command.reason)?;
    let asked = command.asked.with_reason(reason.as_deref());
    check_structure(&platform.settings().batch, &asked)?;
    let content = json!({"operation": asked.operation(), "reason": reason, "items": asked.content()});
    Ok(Wanted {
        request_id: command.request_id,
        hash: platform.digests.sha256_hex(content.to_string().as_bytes()),
        reason,
        asked,
    })
}

fn check_structure(settings: &BatchSettings, asked: &Asked) -> Result<(), Problem> {
    let size = asked.size();
    if size == 0 {
        return Err(InvalidBatchReason::Empty.problem());
    }
    let max = match asked.kind() {
        BatchKind::Create => settings.max_create,
        BatchKind::Delete => settings.max_delete,
        BatchKind::Power => settings.max_power,
    };
    if size > max {
        return Err(Problem::new(ErrorCode::BatchSizeExceeded)
            .with("operation", asked.kind().operation())
            .with("size", size)
            .with("max_size", max));
    }
    distinct(asked.machines().iter().map(|item| item.vm)).map_err(InvalidBatchReason::problem)
}

/// Only items that the caller may see are compared; the others are refused one by one later, whatever they are.
fn require_one_environment(seen: Vec<Environment>) -> Result<(), Problem> {
    match one_environment(seen) {
        Err(reason @ InvalidBatchReason::MixedEnvironment) => Err(reason.problem()),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn gather(platform: &Platform, asked: &Asked) -> Result<Known, UseCaseError> {
    Ok(match asked {
        Asked::Create(items) => Known::References(create::gather(platform, items).await?),
        Asked::Delete(items) | Asked::Power(_, items) => Known::Machines(existing::gather(platform, items).await?),
    })
}

impl Known {
    fn environments(&self, caller: &Caller, asked: &Asked) -> Vec<Environment> {
        match (self, asked) {
            (Self::References(known), Asked::Create(items)) => known.environments(caller, items),
            (Self::References(_), Asked::Delete(_) | Asked::Power(..)) => Vec::new(),
            (Self::Machines(known), asked) => known.environments(caller, asked),
        }
    }

    async fn check(&self, platform: &Platform, caller: &Caller, asked: &Asked) -> Result<Vec<Child>, UseCaseError> {
        match (self, asked) {
            (Self::References(known), Asked::Create(items)) => known.check(caller, items.clone()),
            (Self::References(_), Asked::Delete(_) | Asked::Power(..)) => {
                Err(UseCaseError::Broken("items about machines were looked at as new ones"))
            }
            (Self::Machines(known), asked) => known.check(platform, caller, asked).await,
        }
    }
}

/// What came of the same submission before; it is never limited.
///
/// # Errors
/// IDEMPOTENCY_KEY_REUSED when that one asked for something else.
async fn repeated(
    platform: &Platform,
    caller: &Caller,
    wanted: &Wanted,
) -> Result<Option<Answer<SubmittedBatch>>, UseCaseError> {
    let Some(request) = wanted.request_id else {
        return Ok(None);
    };
    let (user, kind) = (caller.subject.user(), wanted.asked.kind());
    let Some(found) = platform.read.batch_by_request(user, kind, request).await? else {
        return Ok(None);
    };
    if found.request_hash != wanted.hash {
        return Err(reused(request).into());
    }
    Ok(Some(Answer {
        outcome: SubmittedBatch {
            batch_id: found.id,
            batch_number: found.number,
            status: found.status,
        },
        replayed: true,
    }))
}

/// IDEMPOTENCY_KEY_REUSED about a request id.
pub(super) fn reused(request: BatchRequestId) -> Problem {
    Problem::new(ErrorCode::IdempotencyKeyReused).with("key", request.to_string())
}

async fn accept(
    platform: &Platform,
    operations: &Operations,
    caller: &Caller,
    wanted: &Wanted,
    known: &Known,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<SubmittedBatch>, UseCaseError> {
    let asked = &wanted.asked;
    let batch_type = asked.kind().request_type();
    limit::enter(platform, caller.subject.user(), batch_type, asked.size()).await?;
    let children = known.check(platform, caller, asked).await?;
    let environment = children.iter().map(|child| child.environment);
    let environment = one_environment(environment).map_err(InvalidBatchReason::problem)?;
    let facts: Vec<_> = children.iter().map(|child| child.facts.clone()).collect();
    let rules = policy::item_rules(platform, &facts, asked.request()).await?;
    let rule = strictest(&rules)?;
    let filing = Filing {
        platform,
        operations,
        caller,
        wanted,
        children: &children,
        environment,
        rule,
        rules,
    };
    filing.submit(request).await
}

/// A batch waits when one of its items would, for those whom the policy of that item names. Whoever decides it as a whole
/// must be named for each of the other items as well.
fn strictest(rules: &[Rule]) -> Result<Rule, UseCaseError> {
    let strictest = rules.iter().min_by_key(|rule| {
        let approved = rule.decision == Decision::AutoApproved;
        (approved, rule.approvers.is_empty(), rule.policy.is_none())
    });
    strictest
        .cloned()
        .ok_or(UseCaseError::Broken("a batch without items was accepted"))
}
