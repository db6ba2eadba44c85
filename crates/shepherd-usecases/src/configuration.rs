//! What the configuration of the process does to the platform while it runs.
//!
//! No change takes effect at a replica before there is a row that says so. Replicas that read the same file share their
//! rows: a row is taken for one's own when it is the newest of all, says the same, and was written since one's own last
//! change. So what came back has a row of its own, and a replica that cannot tell writes one more.

use chrono::TimeDelta;
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_ports::RequestContext;
use shepherd_ports::audit::Noted;

use crate::{Platform, UseCaseError};

/// The component in whose name rows are written.
const COMPONENT: &str = "configuration";
/// All replicas read one file, but not at the same moment: it takes Kubernetes up to two minutes to bring it to each.
const SAME_CHANGE: TimeDelta = TimeDelta::minutes(10);
/// As far back as rows are looked for: clocks differ.
const REMEMBERED: TimeDelta = TimeDelta::hours(1);

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
    /// Its number. Rows up to here say nothing of the next change of this process.
    pub row: i64,
    /// Whether it was written here, and not by another replica.
    pub here: bool,
}

/// The number of the newest row: what a process that begins to follow the file asks for.
///
/// # Errors
/// When the store fails.
pub async fn newest_row(platform: &Platform) -> Result<i64, UseCaseError> {
    let mut uow = platform.begin().await?;
    let noted = uow
        .audit()
        .last_noted(AuditAction::ConfigUpdate, platform.now() - REMEMBERED)
        .await?;
    Ok(noted.map_or(0, |noted| noted.seq))
}

/// Writes the audit row of a change, unless another replica has. `after` is the row of this process's last change, and
/// before its first one what [`newest_row`] said at its start.
///
/// # Errors
/// When the store fails.
pub async fn record(platform: &Platform, change: &ConfigurationChange, after: i64) -> Result<Recorded, UseCaseError> {
    let mark = platform.digests.keyed_hex(&change.values);
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let noted = uow
        .audit()
        .last_noted(AuditAction::ConfigUpdate, now - REMEMBERED)
        .await?;
    let says_so =
        |noted: &Noted| noted.resource_id == mark && noted.seq > after && noted.performed_at > now - SAME_CHANGE;
    if let Some(noted) = noted.filter(says_so) {
        return Ok(Recorded {
            row: noted.seq,
            here: false,
        });
    }
    let instance = platform.settings().controllers.instance.clone();
    let entry = AuditEntry::new(AuditAction::ConfigUpdate, "config", &mark).details(json!({
        "keys": change.in_effect, "after_restart": change.after_restart, "instance": instance,
    }));
    let context = RequestContext::system(COMPONENT);
    platform.audit(&mut *uow, &context, now, [entry]).await?;
    let written = uow
        .audit()
        .last_noted(AuditAction::ConfigUpdate, now - REMEMBERED)
        .await?
        .ok_or(UseCaseError::Broken("a row that was just written is not there"))?;
    uow.commit().await?;
    Ok(Recorded {
        row: written.seq,
        here: true,
    })
}
