//! The Bootstrap role: platform administration for an emergency, given on the server's host and ended by itself
//! (access.md §7).

pub mod break_glass;
pub mod expire;

use chrono::{DateTime, Utc};
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::access::BuiltInRole;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::UserId;
use shepherd_ports::roles::BindingDetails;
use shepherd_ports::{RequestContext, UnitOfWork};

use crate::{Platform, UseCaseError};

/// The component that acts.
const ACTOR: &str = "bootstrap";

/// Ends what an emergency gave to a user, because an administrator has set the user's password.
///
/// # Errors
/// When the store fails.
pub async fn end_for(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    user: UserId,
    context: &RequestContext,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let ended = uow.roles().end_bootstrap(Some(user), None).await?;
    record_end(platform, uow, &ended, context, "password_changed", now).await
}

/// Records the end of Bootstrap bindings. The actor is the platform; who caused it is in the details.
pub(crate) async fn record_end(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    ended: &[BindingDetails],
    cause: &RequestContext,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    let context = RequestContext {
        actor: ActorId::system(ACTOR),
        actor_name: None,
        ..cause.clone()
    };
    let entries: Vec<AuditEntry> = ended
        .iter()
        .map(|binding| {
            AuditEntry::new(AuditAction::BootstrapExpire, "role", BuiltInRole::Bootstrap.key())
                .named(&binding.role_name)
                .parent("user", binding.user_id)
                .details(json!({
                    "username": binding.username, "reason": reason, "caused_by": cause.actor.as_str(),
                }))
        })
        .collect();
    Ok(platform.audit(uow, &context, now, entries).await?)
}
