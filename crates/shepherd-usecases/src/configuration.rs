//! What the configuration of the process does to the platform while it runs.

use chrono::TimeDelta;
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_ports::RequestContext;

use crate::{Platform, UseCaseError};

/// The component in whose name rows are written.
const COMPONENT: &str = "configuration";
/// All replicas read one file, but not at the same moment: it takes Kubernetes up to two minutes to bring it to each.
const SAME_CHANGE: TimeDelta = TimeDelta::minutes(10);

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

/// Writes the audit row of a change, unless another replica has. Answers whether it was written here.
///
/// # Errors
/// When the store fails.
pub async fn record(platform: &Platform, change: &ConfigurationChange) -> Result<bool, UseCaseError> {
    let mark = platform.digests.keyed_hex(&change.values);
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let noted = uow
        .audit()
        .is_noted(AuditAction::ConfigUpdate, &mark, now - SAME_CHANGE)
        .await?;
    if noted {
        return Ok(false);
    }
    let instance = platform.settings().controllers.instance.clone();
    let entry = AuditEntry::new(AuditAction::ConfigUpdate, "config", &mark).details(json!({
        "keys": change.in_effect, "after_restart": change.after_restart, "instance": instance,
    }));
    let context = RequestContext::system(COMPONENT);
    platform.audit(&mut *uow, &context, now, [entry]).await?;
    uow.commit().await?;
    Ok(true)
}
