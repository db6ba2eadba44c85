//! A webhook is changed.

use serde_json::{Map, Value, json};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::audit_webhook::WebhookMethod;
use shepherd_domain::ids::AuditWebhookId;
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_ports::audit_webhooks::{AuditWebhookPatch, AuditWebhookRecord};
use shepherd_ports::context::Caller;
use zeroize::Zeroizing;

use super::fields::{FilterFields, Findings, Headers, filters_value, origin, seal_headers, seal_secret};
use crate::system::update::expect_changed;
use crate::{Platform, UseCaseError};

/// What changes; absent leaves a value.
#[derive(Default)]
pub struct UpdateAuditWebhook {
    /// At most 100 characters, unique.
    pub name: Option<String>,
    /// HTTPS; HTTP only to networks of the allow-list.
    pub url: Option<String>,
    /// How batches are sent.
    pub method: Option<WebhookMethod>,
    /// All headers from now on; none at all when it is empty.
    pub headers: Option<Headers>,
    /// Signs batches from now on, 16 to 255 characters.
    pub secret: Option<Zeroizing<String>>,
    /// Which rows are pushed from now on.
    pub filters: Option<FilterFields>,
    /// Most rows of a batch, 1 to 1000.
    pub batch_size: Option<i32>,
    /// How long a row waits for its batch to fill, 1 to 3600 s.
    pub flush_interval_seconds: Option<i32>,
    /// A disabled webhook keeps its place; what it missed is pushed when it is enabled again.
    pub enabled: Option<bool>,
}

/// Changes the webhook, and has the next attempt made at once.
///
/// The values of headers go to the receiver that they were given for: another origin needs them again, or whoever can
/// change an address could read what was sealed.
///
/// # Errors
/// AUDIT_WEBHOOK_NOT_FOUND, FORBIDDEN, VALIDATION_FAILED, OUTBOUND_BLOCKED{host}, AUDIT_WEBHOOK_NAME_EXISTS,
/// PRECONDITION_FAILED{current_version}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: AuditWebhookId,
    command: UpdateAuditWebhook,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    let before = super::managed(platform, caller, id).await?;
    let resealed = command.secret.is_some();
    let patch = checked(platform, caller, &before, command).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // As it is now: what was read above may have changed meanwhile.
    let before = uow.audit_webhooks().hold(id).await?.ok_or_else(|| super::missing(id))?;
    super::require_reach(caller, &before.filters)?;
    if needs_headers_again(&before, &patch) {
        return Err(Problem::invalid_field("headers", FieldCode::Required).into());
    }
    let changed = uow
        .audit_webhooks()
        .update(id, &patch, version)
        .await
        .map_err(|error| {
            if error.is_unique("uq_audit_webhooks_name") {
                Problem::new(ErrorCode::AuditWebhookNameExists)
                    .with("name", patch.name.as_deref().unwrap_or_default())
                    .into()
            } else {
                UseCaseError::from(error)
            }
        })?;
    expect_changed(changed, ErrorCode::AuditWebhookNotFound, id)?;
    let entry = AuditEntry::new(AuditAction::AuditWebhookUpdate, super::RESOURCE, id)
        .named(&before.name)
        .details(changes(&before, &patch, resealed));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

async fn checked(
    platform: &Platform,
    caller: &Caller,
    before: &AuditWebhookRecord,
    command: UpdateAuditWebhook,
) -> Result<AuditWebhookPatch, UseCaseError> {
    let mut findings = Findings::default();
    if let Some(name) = &command.name {
        findings.name(name);
    }
    if let Some(headers) = &command.headers {
        findings.headers(platform, headers, command.url.as_deref().unwrap_or(&before.url));
    }
    if let Some(secret) = &command.secret {
        findings.secret(secret);
    }
    if let Some(size) = command.batch_size {
        findings.batch_size(size);
    }
    if let Some(seconds) = command.flush_interval_seconds {
        findings.flush_interval(seconds);
    }
    let filters = command.filters.map(|fields| findings.filters(fields));
    if let Some(filters) = &filters {
        super::require_reach(caller, filters)?;
    }
    let mut patch = AuditWebhookPatch {
        name: command.name,
        url: command.url,
        method: command.method,
        filters,
        batch_size: command.batch_size,
        flush_interval_seconds: command.flush_interval_seconds,
        enabled: command.enabled,
        ..AuditWebhookPatch::default()
    };
    if command.headers.is_none() && needs_headers_again(before, &patch) {
        findings.required("headers");
    }
    let refusal = match &patch.url {
        Some(url) => findings.url(platform, url).await,
        None => None,
    };
    findings.end()?;
    if let Some(refusal) = refusal {
        return Err(refusal.into());
    }
    patch.headers = command
        .headers
        .map(|headers| seal_headers(platform, before.id, &headers))
        .transpose()?;
    patch.secret = command
        .secret
        .map(|secret| seal_secret(platform, before.id, &secret))
        .transpose()?;
    Ok(patch)
}

fn needs_headers_again(before: &AuditWebhookRecord, patch: &AuditWebhookPatch) -> bool {
    let moves = patch
        .url
        .as_deref()
        .is_some_and(|url| origin(url) != origin(&before.url));
    moves && !before.header_names.is_empty() && patch.headers.is_none()
}

/// Old and new of what changed, and of secrets only that they did.
fn changes(before: &AuditWebhookRecord, patch: &AuditWebhookPatch, resealed: bool) -> Value {
    let mut changes = Map::new();
    let mut change = |field: &str, old: Value, new: Option<Value>| {
        if let Some(new) = new.filter(|new| *new != old) {
            changes.insert(field.to_owned(), json!({"old": old, "new": new}));
        }
    };
    change("name", json!(before.name), patch.name.as_ref().map(|name| json!(name)));
    change(
        "origin",
        json!(origin(&before.url)),
        patch.url.as_deref().map(|url| json!(origin(url))),
    );
    change("method", json!(before.method), patch.method.map(|method| json!(method)));
    change(
        "header_names",
        json!(before.header_names),
        patch
            .headers
            .as_ref()
            .map(|headers| json!(headers.as_ref().map_or(&[][..], |headers| headers.names.as_slice()))),
    );
    change(
        "filters",
        filters_value(&before.filters),
        patch.filters.as_ref().map(filters_value),
    );
    change(
        "batch_size",
        json!(before.batch_size),
        patch.batch_size.map(Value::from),
    );
    change(
        "flush_interval_seconds",
        json!(before.flush_interval_seconds),
        patch.flush_interval_seconds.map(Value::from),
    );
    change("enabled", json!(before.enabled), patch.enabled.map(Value::from));
    let url_changed = patch.url.as_ref().is_some_and(|url| *url != before.url);
    let replaced: Vec<&str> = [
        ("url", url_changed),
        ("headers", patch.headers.is_some()),
        ("signing key", resealed),
    ]
    .into_iter()
    .filter_map(|(what, replaced)| replaced.then_some(what))
    .collect();
    if !replaced.is_empty() {
        changes.insert("replaced".to_owned(), json!(replaced));
    }
    changes.into()
}
