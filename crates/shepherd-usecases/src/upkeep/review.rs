//! Platform administrators are told that they should be looked at (access.md §7).

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};

use super::PeriodicJob;
use crate::{Platform, UseCaseError};

/// After this many days without a look a binding asks for one.
const REVIEW_DAYS: i64 = 90;

/// Tells once per quarter; answers how many administrators were not reviewed.
pub(super) async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let now = platform.now();
    let since = now - TimeDelta::days(REVIEW_DAYS);
    let found = platform.read.review_administrators(since, now).await?;
    let mut uow = platform.begin().await?;
    let job = PeriodicJob::AuthzReviewReport.as_str();
    if !uow.upkeep().record_success(job, Some(quarter_of(now)), now).await? {
        return Ok(0);
    }
    let severity = if found.unreviewed > 0 {
        Severity::Warning
    } else {
        Severity::Info
    };
    let message = format!(
        "{} of {} platform administrators have not been reviewed for {REVIEW_DAYS} days.",
        found.unreviewed, found.administrators
    );
    let draft = NotificationDraft::new(
        NotificationType::SystemAlert,
        severity,
        "Review of platform administrators",
        &message,
    )
    .params(json!({
        "code": "AUTHZ_REVIEW", "administrators": found.administrators, "unreviewed": found.unreviewed,
        "days": REVIEW_DAYS,
    }));
    platform
        .notifications
        .send(uow.notifications(), Audience::PlatformAdmins, draft, now)
        .await?;
    uow.commit().await?;
    Ok(u64::try_from(found.unreviewed).unwrap_or_default())
}

/// The first moment of the quarter.
fn quarter_of(now: DateTime<Utc>) -> DateTime<Utc> {
    let first_month = now.month0() / 3 * 3 + 1;
    NaiveDate::from_ymd_opt(now.year(), first_month, 1).map_or(now, |day| day.and_time(NaiveTime::MIN).and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_begins_with_its_first_month() {
        let begin = |text: &str| quarter_of(text.parse().unwrap()).to_rfc3339();
        for (moment, expected) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"),
            ("2026-03-31T23:59:59Z", "2026-01-01T00:00:00+00:00"),
            ("2026-04-01T08:00:00Z", "2026-04-01T00:00:00+00:00"),
            ("2026-12-24T18:00:00Z", "2026-10-01T00:00:00+00:00"),
        ] {
            assert_eq!(begin(moment), expected);
        }
    }
}
