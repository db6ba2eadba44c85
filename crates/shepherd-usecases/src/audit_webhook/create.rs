//! A webhook is set up.

use serde_json::json;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::audit_webhook::{PushFilters, WebhookMethod};
use shepherd_domain::ids::AuditWebhookId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::audit_webhooks::NewAuditWebhook;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use zeroize::Zeroizing;

pub use super::fields::{FilterFields, Headers};
use super::fields::{Findings, filters_value, origin, seal_headers, seal_secret};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// What is asked for.
pub struct CreateAuditWebhook {
    /// At most 100 characters, unique.
    pub name: String,
    /// HTTPS; HTTP only to networks of the allow-list.
    pub url: String,
    /// How batches are sent.
    pub method: WebhookMethod,
    /// Sent with every batch.
    pub headers: Headers,
    /// Signs batches, 16 to 255 characters; one is made when it is absent.
    pub secret: Option<Zeroizing<String>>,
    /// Which rows are pushed.
    pub filters: FilterFields,
    /// Most rows of a batch, 1 to 1000.
    pub batch_size: i32,
    /// How long a row waits for its batch to fill, 1 to 3600 s.
    pub flush_interval_seconds: i32,
    /// Whether rows are pushed.
    pub enabled: bool,
}

/// What was set up.
pub struct Created {
    /// Its id.
    pub answer: Answer<AuditWebhookId>,
    /// The signing secret that was made for it. It is not kept in any readable form.
    pub secret: Option<Zeroizing<String>>,
}

/// Sets the webhook up. The row about this is the first one that it gets, if its filters let it through.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED, OUTBOUND_BLOCKED{host}, AUDIT_WEBHOOK_NAME_EXISTS.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    command: CreateAuditWebhook,
    request: Option<&IdempotentRequest>,
) -> Result<Created, UseCaseError> {
    caller.require(Permission::AuditManage)?;
    let filters = check(platform, caller, &command).await?;
    let id: AuditWebhookId = platform.ids.id();
    let made = match command.secret {
        Some(_) => None,
        None => Some(platform.cipher.new_secret()?),
    };
    let secret = command.secret.as_deref().or(made.as_deref()).map_or("", String::as_str);
    let webhook = NewAuditWebhook {
        id,
        headers: seal_headers(platform, id, &command.headers)?,
        secret: seal_secret(platform, id, secret)?,
        name: command.name,
        url: command.url,
        method: command.method,
        filters,
        batch_size: command.batch_size,
        flush_interval_seconds: command.flush_interval_seconds,
        enabled: command.enabled,
        created_by: caller.context.actor.clone(),
    };
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(Created { answer, secret: None });
    }
    uow.audit_webhooks().insert(&webhook).await.map_err(|error| {
        if error.is_unique("uq_audit_webhooks_name") {
            Problem::new(ErrorCode::AuditWebhookNameExists)
                .with("name", webhook.name.as_str())
                .into()
        } else {
            UseCaseError::from(error)
        }
    })?;
    let names = webhook.headers.as_ref().map(|headers| &headers.names);
    let entry = AuditEntry::new(AuditAction::AuditWebhookCreate, super::RESOURCE, id)
        .named(&webhook.name)
        .details(json!({
            "origin": origin(&webhook.url),
            "method": webhook.method,
            "header_names": names,
            "filters": filters_value(&webhook.filters),
            "batch_size": webhook.batch_size,
            "flush_interval_seconds": webhook.flush_interval_seconds,
            "enabled": webhook.enabled,
        }));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    idempotency::store(platform, &mut *uow, request, &id).await?;
    uow.commit().await?;
    Ok(Created {
        answer: Answer::fresh(id),
        secret: made,
    })
}

async fn check(platform: &Platform, caller: &Caller, command: &CreateAuditWebhook) -> Result<PushFilters, Problem> {
    let mut findings = Findings::default();
    findings.name(&command.name);
    findings.headers(platform, &command.headers, &command.url);
    if let Some(secret) = &command.secret {
        findings.secret(secret);
    }
    findings.batch_size(command.batch_size);
    findings.flush_interval(command.flush_interval_seconds);
    let filters = findings.filters(command.filters.clone());
    super::require_reach(caller, &filters)?;
    let refusal = findings.url(platform, &command.url).await;
    findings.end()?;
    refusal.map_or(Ok(filters), Err)
}
