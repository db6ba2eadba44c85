//! Webhooks that audit rows are pushed to, kept by whoever manages the log.
//!
//! A webhook carries rows out of the platform, so nobody sets one up, changes or uses one beyond the environments that
//! they manage the log of. Secrets come in and never go out: the signing secret and the values of headers are sealed.

pub mod create;
pub mod delete;
mod fields;
mod message;
pub mod push;
pub mod test;
pub mod update;

pub(crate) use fields::origin;
use shepherd_domain::access::Permission;
use shepherd_domain::audit_webhook::PushFilters;
use shepherd_domain::ids::AuditWebhookId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::audit_webhooks::AuditWebhookRecord;
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// Kind of the object in audit rows and notifications.
const RESOURCE: &str = "audit_webhook";

/// The webhook, if the caller manages the log of all environments that it reaches.
///
/// # Errors
/// AUDIT_WEBHOOK_NOT_FOUND, FORBIDDEN.
async fn managed(platform: &Platform, caller: &Caller, id: AuditWebhookId) -> Result<AuditWebhookRecord, UseCaseError> {
    caller.require(Permission::AuditManage)?;
    let webhook = platform.read.get_audit_webhook(id).await?.ok_or_else(|| missing(id))?;
    require_reach(caller, &webhook.filters)?;
    Ok(webhook)
}

fn missing(id: AuditWebhookId) -> Problem {
    Problem::not_found(ErrorCode::AuditWebhookNotFound, id)
}

/// Refuses filters that let rows through from where the caller does not manage the log.
///
/// # Errors
/// FORBIDDEN{required_permission, environment}.
fn require_reach(caller: &Caller, filters: &PushFilters) -> Result<(), Problem> {
    let held = caller.subject.environments(Permission::AuditManage, None);
    match filters.reach().iter().find(|environment| !held.contains(*environment)) {
        None => Ok(()),
        Some(environment) => Err(Problem::new(ErrorCode::Forbidden)
            .with("required_permission", Permission::AuditManage.as_str())
            .with("environment", environment.as_str())),
    }
}
