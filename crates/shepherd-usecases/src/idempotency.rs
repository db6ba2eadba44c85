//! `Idempotency-Key`: the same request is carried out once, and answers the same.

use serde::Serialize;
use serde::de::DeserializeOwned;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::idempotency::{IdempotentRequest, StoredOutcome};

use crate::{Platform, UseCaseError};

/// An outcome, and whether it was stored by an earlier request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// What the command did.
    pub outcome: T,
    /// Whether an earlier request with the same key did it.
    pub replayed: bool,
}

impl<T> Answer<T> {
    /// An outcome of this request.
    pub fn fresh(outcome: T) -> Self {
        Self {
            outcome,
            replayed: false,
        }
    }
}

/// The stored outcome of the request, before any check is made again.
///
/// # Errors
/// IDEMPOTENCY_KEY_REUSED when the key belongs to another request.
pub async fn replay<T: DeserializeOwned>(
    platform: &Platform,
    request: Option<&IdempotentRequest>,
) -> Result<Option<Answer<T>>, UseCaseError> {
    let Some(request) = request else { return Ok(None) };
    let mut uow = platform.begin().await?;
    let stored = uow
        .idempotency()
        .find(request.user, &request.key, platform.now())
        .await?;
    stored.map(|stored| reuse(request, stored)).transpose()
}

/// Claims the key inside the transaction of the change. Answers the stored outcome when another request with the same
/// key committed in the meantime.
///
/// # Errors
/// IDEMPOTENCY_IN_PROGRESS while another transaction holds the key; IDEMPOTENCY_KEY_REUSED as in [`replay`].
pub async fn claim<T: DeserializeOwned>(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    request: Option<&IdempotentRequest>,
) -> Result<Option<Answer<T>>, UseCaseError> {
    let Some(request) = request else { return Ok(None) };
    if !uow.idempotency().claim(request.user, &request.key).await? {
        return Err(Problem::new(ErrorCode::IdempotencyInProgress)
            .with("key", request.key.as_str())
            .into());
    }
    let stored = uow
        .idempotency()
        .find(request.user, &request.key, platform.now())
        .await?;
    stored.map(|stored| reuse(request, stored)).transpose()
}

/// Stores the outcome inside the transaction of the change.
///
/// # Errors
/// When the store fails.
pub async fn store<T: Serialize>(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    request: Option<&IdempotentRequest>,
    outcome: &T,
) -> Result<(), UseCaseError> {
    let Some(request) = request else { return Ok(()) };
    let body = serde_json::to_value(outcome).map_err(|source| UseCaseError::Stored {
        what: "outcome",
        source,
    })?;
    Ok(uow.idempotency().store(request, &body, platform.now()).await?)
}

fn reuse<T: DeserializeOwned>(request: &IdempotentRequest, stored: StoredOutcome) -> Result<Answer<T>, UseCaseError> {
    if stored.request_hash != request.request_hash {
        return Err(Problem::new(ErrorCode::IdempotencyKeyReused)
            .with("key", request.key.as_str())
            .into());
    }
    let outcome = serde_json::from_value(stored.body).map_err(|source| UseCaseError::Stored {
        what: "outcome",
        source,
    })?;
    Ok(Answer {
        outcome,
        replayed: true,
    })
}
