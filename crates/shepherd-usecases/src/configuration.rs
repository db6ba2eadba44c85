//! What the configuration of the process does to the platform while it runs.
//!
//! No change takes effect at a replica before there is a row that says so. Replicas that read the same file share their
//! rows: each goes through the log from the moment it began to follow the file, and takes for each of its changes the
//! next row that says the same. What came back meanwhile needs a row of its own, and a replica that cannot tell writes
//! one more.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_ports::RequestContext;

use crate::{Platform, UseCaseError};

/// The component in whose name rows are written.
const COMPONENT: &str = "configuration";
/// All replicas read one file, but not at the same moment: it takes Kubernetes up to two minutes to bring it to each.
const SAME_CHANGE: TimeDelta = TimeDelta::minutes(10);
/// Digits of a second that the store keeps.
const STORED_DIGITS: u16 = 6;

/// Values that another content of the file brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationChange {
    /// Keys whose values hold from now on.
    pub in_effect: Vec<String>,
    /// Keys whose values hold after a restart.
    pub after_restart: Vec<String>,
    /// The old and the new values, as a text that is the same at every replica. Only a digest of it is kept.
    pub values: String,
}

/// The row that says a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When it was written. Rows up to here say nothing of the next change of this process.
    pub at: DateTime<Utc>,
    /// Whether it was written here, and not by another replica.
    pub here: bool,
}

/// Writes the audit row of a change, unless another replica has. `after` is when this process began to follow the file,
/// and after its first change the moment of the row before.
///
/// # Errors
/// When the store fails.
pub async fn record(
    platform: &Platform,
    change: &ConfigurationChange,
    after: DateTime<Utc>,
) -> Result<Recorded, UseCaseError> {
    let mark = platform.digests.keyed_hex(&change.values);
    let now = platform.now().trunc_subsecs(STORED_DIGITS);
    let mut uow = platform.begin().await?;
    let noted = uow
        .audit()
        .first_noted(AuditAction::ConfigUpdate, &mark, after.max(now - SAME_CHANGE))
        .await?;
    if let Some(at) = noted {
        return Ok(Recorded { at, here: false });
    }
    // Clocks differ and may be set back; the changes of a replica stand in the log in the order in which they were.
    let at = now.max(after.trunc_subsecs(STORED_DIGITS) + TimeDelta::microseconds(1));
    let instance = platform.settings().controllers.instance.clone();
    let entry = AuditEntry::new(AuditAction::ConfigUpdate, "config", &mark).details(json!({
        "keys": change.in_effect, "after_restart": change.after_restart, "instance": instance,
    }));
    let context = RequestContext::system(COMPONENT);
    platform.audit(&mut *uow, &context, at, [entry]).await?;
    uow.commit().await?;
    Ok(Recorded { at, here: true })
}
