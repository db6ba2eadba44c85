//! Rows go out to webhooks, in batches, signed, in order, and at least once (docs/adr/0007-audit-push-cursor.md).
//!
//! One replica pushes, held by a lease. Webhooks are served beside each other and each of them batch by batch: a slow
//! receiver keeps nobody waiting but itself. No transaction is open while something is sent; what came of it is stored
//! only if the webhook is still as it was read. Pushes themselves leave no audit rows, or they would never end.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::json;
use shepherd_domain::audit_webhook::{ALERT_AFTER, retry_delay};
use shepherd_domain::ids::AuditWebhookId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_ports::audit_webhooks::{
    AuditMark, AuditWebhookRecord, FailureStored, PushBatch, PushFailure, PushState, SealedWebhook,
};
use shepherd_ports::leases::HeartbeatKind;

use super::message::{self, TIMEOUT};
use crate::{Platform, UseCaseError};

/// Name of the lease.
pub const LEASE: &str = "audit-push";

/// Takes part in pushing until dropped.
pub async fn run(platform: &Platform) {
    let mut horizon = Horizon::default();
    let mut sending = Sending::default();
    loop {
        let looked = sending.beside(look(platform, &mut horizon)).await;
        match looked {
            Ok(Some(due)) => due.into_iter().for_each(|due| sending.begin(platform, due)),
            // Whoever holds the lease now begins with what this replica has not finished.
            Ok(None) => sending = Sending::default(),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "it is not known what is due to audit webhooks"
            ),
        }
        let tick = platform.settings().controllers.tick;
        sending.beside(tokio::time::sleep(tick)).await;
    }
}

/// A webhook that may be pushed to, and how far.
struct Due {
    webhook: AuditWebhookRecord,
    settled: i64,
}

/// The pushes that are under way, one for each webhook.
#[derive(Default)]
struct Sending<'a> {
    pushes: FuturesUnordered<BoxFuture<'a, AuditWebhookId>>,
    busy: HashSet<AuditWebhookId>,
}

impl<'a> Sending<'a> {
    fn begin(&mut self, platform: &'a Platform, due: Due) {
        if self.busy.insert(due.webhook.id) {
            self.pushes.push(Box::pin(push(platform, due)));
        }
    }

    /// Does something while the pushes go on.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                Some(id) = self.pushes.next(), if !self.pushes.is_empty() => {
                    self.busy.remove(&id);
                }
            }
        }
    }
}

/// How far the log is complete: no row can appear any more whose number is not above this.
#[derive(Default)]
struct Horizon {
    settled: i64,
    mark: Option<AuditMark>,
}

impl Horizon {
    /// Waits for nothing: when the transactions of the last mark have not ended yet, it stays where it was.
    async fn advance(&mut self, platform: &Platform) -> Result<i64, UseCaseError> {
        let mark = match self.mark {
            Some(mark) => mark,
            None => platform.read.mark_audit().await?,
        };
        self.mark = Some(mark);
        if platform.read.audit_settled(mark.transaction).await? {
            self.settled = mark.newest;
            self.mark = None;
        }
        Ok(self.settled)
    }
}

/// The webhooks that may be pushed to; `None` when another replica pushes.
async fn look(platform: &Platform, horizon: &mut Horizon) -> Result<Option<Vec<Due>>, UseCaseError> {
    let settings = platform.settings().controllers.clone();
    // Renewed with every look. A replica that stops in the middle of a push keeps it until the push would have ended.
    let ttl = settings.lease_ttl.max(TIMEOUT * 2);
    if platform.leases.acquire(LEASE, &settings.instance, ttl).await?.is_none() {
        *horizon = Horizon::default();
        return Ok(None);
    }
    platform
        .leases
        .beat(HeartbeatKind::Leader, &settings.instance, LEASE)
        .await?;
    let webhooks = platform.read.due_audit_webhooks(platform.now()).await?;
    if webhooks.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let settled = horizon.advance(platform).await?;
    let due = webhooks.into_iter().map(|webhook| Due { webhook, settled });
    Ok(Some(due.collect()))
}

/// Pushes what is due to one webhook.
async fn push(platform: &Platform, due: Due) -> AuditWebhookId {
    let id = due.webhook.id;
    if let Err(error) = push_batches(platform, due).await {
        tracing::warn!(webhook = %id, error = &error as &dyn std::error::Error, "audit rows could not be pushed");
    }
    id
}

async fn push_batches(platform: &Platform, due: Due) -> Result<(), UseCaseError> {
    let Due { mut webhook, settled } = due;
    while webhook.cursor < settled {
        let state = state_of(&webhook);
        let batch = platform
            .read
            .audit_push_batch(&webhook.filters, webhook.cursor, settled, webhook.batch_size)
            .await?;
        let Some(reached) = reached(platform.now(), &webhook, &batch, settled) else {
            return Ok(());
        };
        let kept = if batch.objects.is_empty() {
            skip(platform, state, reached).await?
        } else {
            deliver(platform, &webhook, batch, reached).await?
        };
        if !kept {
            return Ok(());
        }
        webhook.cursor = reached;
        webhook.failures = 0;
    }
    Ok(())
}

fn state_of(webhook: &AuditWebhookRecord) -> PushState {
    PushState {
        id: webhook.id,
        row_version: webhook.row_version,
        cursor: webhook.cursor,
    }
}

/// Where the cursor stands after the batch: behind its last row when it is full, and otherwise behind all that was
/// looked at. `None` when the batch still waits to fill.
fn reached(now: DateTime<Utc>, webhook: &AuditWebhookRecord, batch: &PushBatch, settled: i64) -> Option<i64> {
    let full = usize::try_from(webhook.batch_size).is_ok_and(|size| batch.objects.len() >= size);
    if full {
        return batch.last;
    }
    let flush = TimeDelta::seconds(i64::from(webhook.flush_interval_seconds));
    let waits = batch.oldest.is_some_and(|oldest| now - oldest < flush);
    (!waits).then_some(settled)
}

async fn skip(platform: &Platform, state: PushState, reached: i64) -> Result<bool, UseCaseError> {
    let mut uow = platform.begin().await?;
    let kept = uow.audit_webhooks().skip(state, reached).await?;
    uow.commit().await?;
    Ok(kept)
}

/// Sends a batch and stores what came of it; `false` ends this visit.
async fn deliver(
    platform: &Platform,
    webhook: &AuditWebhookRecord,
    batch: PushBatch,
    reached: i64,
) -> Result<bool, UseCaseError> {
    let Some(sealed) = platform.read.sealed_audit_webhook(webhook.id).await? else {
        return Ok(false);
    };
    match send(platform, webhook, &sealed, &batch).await {
        Ok(()) => {
            let mut uow = platform.begin().await?;
            let kept = uow
                .audit_webhooks()
                .record_success(state_of(webhook), reached, platform.now())
                .await?;
            uow.commit().await?;
            if webhook.failing_since.is_some() {
                tracing::info!(webhook = %webhook.name, "the audit webhook works again");
            }
            Ok(kept)
        }
        Err(error) => {
            tracing::info!(webhook = %webhook.name, error, "audit rows were not taken");
            fail(platform, webhook, &error).await?;
            Ok(false)
        }
    }
}

/// The adapter ends a request in time; this ends whatever else could hold one up.
async fn send(
    platform: &Platform,
    webhook: &AuditWebhookRecord,
    sealed: &SealedWebhook,
    batch: &PushBatch,
) -> Result<(), String> {
    let sent = message::send(platform, webhook, sealed, body(&batch.objects));
    match tokio::time::timeout(TIMEOUT + Duration::from_secs(1), sent).await {
        Ok(outcome) => outcome.map_err(|undelivered| undelivered.to_string()),
        Err(_) => Err(message::Undelivered::Timeout.to_string()),
    }
}

/// The objects are JSON texts already.
fn body(objects: &[String]) -> Vec<u8> {
    format!("{{\"logs\":[{}]}}", objects.join(",")).into_bytes()
}

/// Stores a failure, and tells the administrators of one that lasts; once, until the webhook has worked again.
async fn fail(platform: &Platform, webhook: &AuditWebhookRecord, error: &str) -> Result<(), UseCaseError> {
    let now = platform.now();
    let failures = u32::try_from(webhook.failures).unwrap_or(u32::MAX).saturating_add(1);
    let later = |delay: Duration| TimeDelta::from_std(delay).unwrap_or(TimeDelta::zero());
    let failure = PushFailure {
        error,
        at: now,
        next_attempt_at: now + later(retry_delay(failures)),
        alert_since: now - later(ALERT_AFTER),
    };
    let mut uow = platform.begin().await?;
    let stored = uow.audit_webhooks().record_failure(state_of(webhook), failure).await?;
    match stored {
        FailureStored::Stale | FailureStored::Yes { alert: false } => {}
        FailureStored::Yes { alert: true } => {
            let draft = alert(webhook, error);
            platform
                .notifications
                .send(uow.notifications(), Audience::PlatformAdmins, draft, now)
                .await?;
        }
    }
    Ok(uow.commit().await?)
}

fn alert(webhook: &AuditWebhookRecord, error: &str) -> NotificationDraft {
    let title = format!("Audit webhook {} is failing", webhook.name);
    let message = format!(
        "Audit rows have not reached the webhook {} for an hour: {error}. They are kept and will follow.",
        webhook.name
    );
    NotificationDraft::new(NotificationType::SystemAlert, Severity::Urgent, &title, &message)
        .about(super::RESOURCE, webhook.id)
        .params(json!({
            "code": "AUDIT_WEBHOOK_FAILING",
            "webhook": webhook.name,
            "failing_since": webhook.failing_since,
            "error": error,
        }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shepherd_domain::ActorId;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn webhook() -> AuditWebhookRecord {
        AuditWebhookRecord {
            id: AuditWebhookId::from_bits(1),
            name: "archive".to_owned(),
            url: "https://archive.example.org".to_owned(),
            method: Default::default(),
            header_names: Vec::new(),
            filters: Default::default(),
            batch_size: 2,
            flush_interval_seconds: 60,
            enabled: true,
            cursor: 10,
            last_success_at: None,
            last_error: None,
            failures: 0,
            failing_since: None,
            next_attempt_at: None,
            created_by: ActorId::system("test"),
            row_version: 1,
            created_at: NOW,
            updated_at: NOW,
        }
    }

    fn batch(rows: usize, age: i64) -> PushBatch {
        PushBatch {
            objects: vec!["{}".to_owned(); rows],
            oldest: (rows > 0).then(|| NOW - TimeDelta::seconds(age)),
            last: (rows > 0).then_some(15),
        }
    }

    #[test]
    fn a_full_batch_goes_at_once_and_another_when_its_oldest_row_has_waited() {
        let reached = |rows, age| reached(NOW, &webhook(), &batch(rows, age), 20);
        assert_eq!(reached(2, 0), Some(15), "behind the last row, more may follow");
        assert_eq!(reached(1, 59), None);
        assert_eq!(reached(1, 60), Some(20), "nothing else was found up to there");
        assert_eq!(
            reached(0, 0),
            Some(20),
            "nothing to deliver is nothing to look at again"
        );
    }

    #[test]
    fn a_body_is_one_document() {
        let body = body(&[r#"{"a":1}"#.to_owned(), r#"{"b":2}"#.to_owned()]);
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document, json!({"logs": [{"a": 1}, {"b": 2}]}));
    }
}
