//! Confirmation of destructive operations (requests.md §4).

use chrono::TimeDelta;
use shepherd_domain::Environment;
use shepherd_domain::ids::UserId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

use crate::limit::{LimitType, exceeded};
use crate::{Platform, UseCaseError};

/// What the caller sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// `confirm=true`.
    pub confirm: bool,
    /// `confirm_name=...`.
    pub confirm_name: Option<String>,
}

/// What has to be confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Kind, for the answer.
    pub entity: &'static str,
    /// Id, for the answer.
    pub id: &'a str,
    /// The exact name.
    pub name: &'a str,
    /// Environment, when it has one.
    pub environment: Option<Environment>,
    /// Whether only the exact name will do.
    pub by_name: bool,
}

/// Checks a confirmation. Wrong names are counted outside of the failing request.
///
/// # Errors
/// CONFIRMATION_REQUIRED, CONFIRMATION_NAME_MISMATCH; RATE_LIMIT_EXCEEDED{delete_confirmation} after too many wrong
/// names.
pub async fn check(
    platform: &Platform,
    caller: &Caller,
    given: &Confirmation,
    target: Target<'_>,
) -> Result<(), UseCaseError> {
    let user = caller.subject.user();
    let failures = recent_failures(platform, user).await?;
    let parameter = if target.by_name { "confirm_name" } else { "confirm" };
    if let Some(name) = given.confirm_name.as_deref() {
        if name == target.name {
            return Ok(());
        }
        let mut uow = platform.begin().await?;
        uow.identity().record_confirmation_failure(user, platform.now()).await?;
        uow.commit().await?;
        let left = i64::from(platform.settings().confirmation.max_failures) - failures - 1;
        return Err(Problem::new(ErrorCode::ConfirmationNameMismatch)
            .with("entity", target.entity)
            .with("expected_parameter", "confirm_name")
            .with("attempts_left", left.max(0))
            .into());
    }
    if given.confirm && !target.by_name {
        return Ok(());
    }
    let problem = Problem::new(ErrorCode::ConfirmationRequired)
        .with("entity", target.entity)
        .with("entity_id", target.id)
        .with("entity_name", target.name)
        .with("parameter", parameter);
    Err(match target.environment {
        Some(environment) => problem.with("environment", environment.as_str()),
        None => problem,
    }
    .into())
}

async fn recent_failures(platform: &Platform, user: UserId) -> Result<i64, UseCaseError> {
    let settings = platform.settings().confirmation.clone();
    let window = TimeDelta::from_std(settings.window).unwrap_or(TimeDelta::MAX);
    let now = platform.now();
    let (failures, oldest) = platform.read.confirmation_failures(user, now - window).await?;
    if failures < i64::from(settings.max_failures) {
        return Ok(failures);
    }
    // Rounded up to the next whole second: a failure counts up to the last moment of its window.
    let left = oldest.map_or(0, |oldest| (oldest + window - now).num_seconds());
    let retry_after = u64::try_from(left).unwrap_or(0) + 1;
    Err(exceeded(
        LimitType::DeleteConfirmation,
        u64::try_from(failures).unwrap_or(0),
        settings.max_failures.into(),
        retry_after,
        false,
    )
    .into())
}
