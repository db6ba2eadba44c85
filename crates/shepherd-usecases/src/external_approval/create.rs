//! A system is set up.

use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::external_approval::{StatusMapping, SystemType};
use shepherd_domain::ids::ExternalSystemId;
use shepherd_domain::problem::Problem;
use shepherd_ports::context::Caller;
use shepherd_ports::external_approvals::NewExternalSystem;
use shepherd_ports::idempotency::IdempotentRequest;
use zeroize::Zeroizing;

use super::fields::{Findings, require_feature, seal_headers, seal_secret, taken};
pub use super::fields::{Headers, Words};
use crate::audit_webhook::origin;
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// What is asked for.
pub struct CreateExternalSystem {
    /// At most 63 characters, unique.
    pub name: String,
    /// One that an adapter speaks to.
    pub system_type: SystemType,
    /// HTTPS; HTTP only to networks of the allow-list.
    pub webhook_url: String,
    /// Signs both ways, 16 to 255 characters; one is made when it is absent.
    pub secret: Option<Zeroizing<String>>,
    /// Sent with everything.
    pub headers: Headers,
    /// What the words of the system mean.
    pub status_mapping: Words,
    /// For one exchange, 1 to 300 s.
    pub timeout_seconds: i32,
    /// Retries after the first attempt, 0 to 10.
    pub retry_count: i32,
    /// Between two questions about a ticket, 5 s to a day.
    pub poll_interval_seconds: i32,
    /// Whether tickets are handed to it.
    pub enabled: bool,
}

/// What was set up.
pub struct Created {
    /// Its id.
    pub answer: Answer<ExternalSystemId>,
    /// The signing secret that was made for it. It is not kept in any readable form.
    pub secret: Option<Zeroizing<String>>,
}

/// Sets the system up.
///
/// # Errors
/// FORBIDDEN, CAPABILITY_NOT_SUPPORTED, VALIDATION_FAILED, OUTBOUND_BLOCKED{host}, EXTERNAL_SYSTEM_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateExternalSystem,
    request: Option<&IdempotentRequest>,
) -> Result<Created, UseCaseError> {
    super::require_reach(caller)?;
    require_feature(platform)?;
    let status_mapping = check(platform, &command).await?;
    let id: ExternalSystemId = platform.ids.id();
    let made = match command.secret {
        Some(_) => None,
        None => Some(platform.cipher.new_secret()?),
    };
    let secret = command.secret.as_deref().or(made.as_deref()).map_or("", String::as_str);
    let system = NewExternalSystem {
        id,
        secret: seal_secret(platform, id, secret)?,
        headers: seal_headers(platform, id, &command.headers)?,
        name: command.name,
        system_type: command.system_type,
        webhook_url: command.webhook_url,
        status_mapping,
        timeout_seconds: command.timeout_seconds,
        retry_count: command.retry_count,
        poll_interval_seconds: command.poll_interval_seconds,
        enabled: command.enabled,
        created_by: caller.context.actor.clone(),
    };
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(Created { answer, secret: None });
    }
    uow.external_approvals()
        .insert(&system)
        .await
        .map_err(|error| taken(error, &system.name))?;
    let names = system.headers.as_ref().map(|headers| &headers.names);
    let entry = AuditEntry::new(AuditAction::ExternalApprovalConfigure, super::RESOURCE, id)
        .named(&system.name)
        .details(json!({
            "system_type": system.system_type,
            "origin": origin(&system.webhook_url),
            "header_names": names,
            "status_mapping": system.status_mapping,
            "timeout_seconds": system.timeout_seconds,
            "retry_count": system.retry_count,
            "poll_interval_seconds": system.poll_interval_seconds,
            "enabled": system.enabled,
        }));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &id).await?;
    uow.commit().await?;
    Ok(Created {
        answer: Answer::fresh(id),
        secret: made,
    })
}

async fn check(platform: &Platform, command: &CreateExternalSystem) -> Result<StatusMapping, Problem> {
    let mut findings = Findings::default();
    findings.name(&command.name);
    findings.system_type(platform, command.system_type);
    findings.headers(platform, &command.headers, &command.webhook_url);
    if let Some(secret) = &command.secret {
        findings.secret(secret);
    }
    findings.timeout(command.timeout_seconds);
    findings.retries(command.retry_count);
    findings.poll_interval(command.poll_interval_seconds);
    let mapping = findings.mapping(command.status_mapping.clone());
    let refusal = findings.url(platform, &command.webhook_url).await;
    findings.end()?;
    refusal.map_or(Ok(mapping), Err)
}
