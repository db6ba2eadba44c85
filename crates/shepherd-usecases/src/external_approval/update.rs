//! A system is changed.

use serde_json::{Map, Value, json};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::ExternalSystemId;
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::external_approvals::{ExternalSystemPatch, ExternalSystemRecord};
use zeroize::Zeroizing;

use super::fields::{Findings, Headers, Words, require_feature, seal_headers, seal_secret, taken};
use crate::audit_webhook::origin;
use crate::system::update::expect_changed;
use crate::{Platform, UseCaseError};

/// What changes; absent leaves a value.
#[derive(Default)]
pub struct UpdateExternalSystem {
    /// At most 63 characters, unique.
    pub name: Option<String>,
    /// HTTPS; HTTP only to networks of the allow-list.
    pub webhook_url: Option<String>,
    /// Signs both ways from now on, 16 to 255 characters.
    pub secret: Option<Zeroizing<String>>,
    /// All headers from now on; none at all when it is empty.
    pub headers: Option<Headers>,
    /// What the words of the system mean from now on.
    pub status_mapping: Option<Words>,
    /// For one exchange, 1 to 300 s.
    pub timeout_seconds: Option<i32>,
    /// Retries after the first attempt, 0 to 10.
    pub retry_count: Option<i32>,
    /// Between two questions about a ticket, 5 s to a day.
    pub poll_interval_seconds: Option<i32>,
    /// What was handed to a system that is disabled falls back.
    pub enabled: Option<bool>,
}

/// Changes the system.
///
/// The values of headers go to the receiver that they were given for: another origin needs them again, or whoever can
/// change an address could read what was sealed.
///
/// # Errors
/// EXTERNAL_SYSTEM_NOT_FOUND, FORBIDDEN, CAPABILITY_NOT_SUPPORTED, VALIDATION_FAILED, OUTBOUND_BLOCKED{host},
/// EXTERNAL_SYSTEM_NAME_EXISTS, PRECONDITION_FAILED{current_version}.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: ExternalSystemId,
    command: UpdateExternalSystem,
    version: Option<i64>,
) -> Result<(), UseCaseError> {
    let before = super::managed(platform, caller, id).await?;
    require_feature(platform)?;
    let resealed = command.secret.is_some();
    let patch = checked(platform, &before, command).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    // As it is now: what was read above may have changed meanwhile.
    let before = uow
        .external_approvals()
        .hold(id)
        .await?
        .ok_or_else(|| super::missing(id))?;
    if needs_headers_again(&before, &patch) {
        return Err(Problem::invalid_field("webhook_headers", FieldCode::Required).into());
    }
    let changed = uow
        .external_approvals()
        .update(id, &patch, version)
        .await
        .map_err(|error| taken(error, patch.name.as_deref().unwrap_or_default()))?;
    expect_changed(changed, ErrorCode::ExternalSystemNotFound, id)?;
    let entry = AuditEntry::new(AuditAction::ExternalApprovalUpdate, super::RESOURCE, id)
        .named(&before.name)
        .details(changes(&before, &patch, resealed));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

async fn checked(
    platform: &Platform,
    before: &ExternalSystemRecord,
    command: UpdateExternalSystem,
) -> Result<ExternalSystemPatch, UseCaseError> {
    let mut findings = Findings::default();
    if let Some(name) = &command.name {
        findings.name(name);
    }
    if let Some(headers) = &command.headers {
        let url = command.webhook_url.as_deref().unwrap_or(&before.webhook_url);
        findings.headers(platform, headers, url);
    }
    if let Some(secret) = &command.secret {
        findings.secret(secret);
    }
    if let Some(seconds) = command.timeout_seconds {
        findings.timeout(seconds);
    }
    if let Some(count) = command.retry_count {
        findings.retries(count);
    }
    if let Some(seconds) = command.poll_interval_seconds {
        findings.poll_interval(seconds);
    }
    let mut patch = ExternalSystemPatch {
        name: command.name,
        webhook_url: command.webhook_url,
        status_mapping: command.status_mapping.map(|words| findings.mapping(words)),
        timeout_seconds: command.timeout_seconds,
        retry_count: command.retry_count,
        poll_interval_seconds: command.poll_interval_seconds,
        enabled: command.enabled,
        ..ExternalSystemPatch::default()
    };
    if command.headers.is_none() && needs_headers_again(before, &patch) {
        findings.add("webhook_headers", FieldCode::Required);
    }
    let refusal = match &patch.webhook_url {
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

fn needs_headers_again(before: &ExternalSystemRecord, patch: &ExternalSystemPatch) -> bool {
    let moves = patch
        .webhook_url
        .as_deref()
        .is_some_and(|url| origin(url) != origin(&before.webhook_url));
    moves && !before.header_names.is_empty() && patch.headers.is_none()
}

/// Old and new of what changed, and of secrets only that they did.
fn changes(before: &ExternalSystemRecord, patch: &ExternalSystemPatch, resealed: bool) -> Value {
    let mut changes = Map::new();
    let mut change = |field: &str, old: Value, new: Option<Value>| {
        if let Some(new) = new.filter(|new| *new != old) {
            changes.insert(field.to_owned(), json!({"old": old, "new": new}));
        }
    };
    change("name", json!(before.name), patch.name.as_ref().map(|name| json!(name)));
    let moved = patch.webhook_url.as_deref().map(|url| json!(origin(url)));
    change("origin", json!(origin(&before.webhook_url)), moved);
    let names = patch
        .headers
        .as_ref()
        .map(|headers| json!(headers.as_ref().map_or(&[][..], |headers| headers.names.as_slice())));
    change("header_names", json!(before.header_names), names);
    change(
        "status_mapping",
        json!(before.status_mapping),
        patch.status_mapping.as_ref().map(|mapping| json!(mapping)),
    );
    for (field, old, new) in [
        ("timeout_seconds", before.timeout_seconds, patch.timeout_seconds),
        ("retry_count", before.retry_count, patch.retry_count),
        (
            "poll_interval_seconds",
            before.poll_interval_seconds,
            patch.poll_interval_seconds,
        ),
    ] {
        change(field, json!(old), new.map(Value::from));
    }
    change("enabled", json!(before.enabled), patch.enabled.map(Value::from));
    let url_changed = patch.webhook_url.as_ref().is_some_and(|url| *url != before.webhook_url);
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
