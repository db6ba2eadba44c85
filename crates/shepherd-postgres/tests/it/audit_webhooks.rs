//! Webhooks, and which audit rows are due to them: nothing is lost to a transaction that ends late.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shepherd_domain::Environment;
use shepherd_domain::audit::{AuditAction, AuditEntry, RetentionDays};
use shepherd_domain::audit_webhook::{PushFilters, WebhookMethod};
use shepherd_domain::ids::{AuditId, AuditWebhookId};
use shepherd_domain::page::PageRequest;
use shepherd_ports::audit::AuditStamp;
use shepherd_ports::audit_webhooks::{
    AuditWebhookPatch, AuditWebhookQueries as _, AuditWebhookRecord, FailureStored, NewAuditWebhook, PushBatch,
    PushFailure, PushState, SealedHeaders,
};
use shepherd_ports::crypto::Sealed;
use shepherd_ports::metrics::state::MetricsQueries as _;
use shepherd_ports::secrets::SecretStore as _;
use shepherd_ports::systems::Changed;
use shepherd_ports::{RequestContext, UnitOfWork};

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor};

const PLENTY: i32 = 1000;
const PAUSE: Duration = Duration::from_millis(10);

/// Appends a row in the transaction of `work`.
async fn append(work: &mut dyn UnitOfWork, action: AuditAction, environment: Option<Environment>) -> Outcome<AuditId> {
    let row: AuditId = id();
    let mut entry = AuditEntry::new(action, "vm", "v-1").details(json!({"size": "small"}));
    entry.environment = environment;
    let context = RequestContext::system("test");
    let stamp = AuditStamp {
        context: &context,
        at: at(0),
        retention: RetentionDays::default(),
    };
    work.audit().append(&[(row, entry)], &stamp).await?;
    Ok(row)
}

async fn appended(world: &World, action: AuditAction, environment: Option<Environment>) -> Outcome<AuditId> {
    let mut work = world.begin().await?;
    let row = append(work.as_mut(), action, environment).await?;
    work.commit().await?;
    Ok(row)
}

fn sealed(byte: u8, key: &str) -> Sealed {
    Sealed {
        bytes: vec![byte],
        key_id: key.to_owned(),
    }
}

fn webhook(name: &str) -> NewAuditWebhook {
    NewAuditWebhook {
        id: id(),
        name: name.to_owned(),
        url: "https://archive.example.org/audit".to_owned(),
        method: WebhookMethod::Post,
        headers: Some(SealedHeaders {
            names: vec!["Authorization".to_owned()],
            values: sealed(2, "k-headers"),
        }),
        secret: sealed(1, "k-secret"),
        filters: PushFilters::default(),
        batch_size: 100,
        flush_interval_seconds: 60,
        enabled: true,
        created_by: system_actor(),
    }
}

async fn inserted(world: &World, webhook: &NewAuditWebhook) -> Outcome<AuditWebhookRecord> {
    let mut work = world.begin().await?;
    work.audit_webhooks().insert(webhook).await?;
    work.commit().await?;
    read(world, webhook.id).await
}

async fn read(world: &World, id: AuditWebhookId) -> Outcome<AuditWebhookRecord> {
    Ok(world
        .store
        .get_audit_webhook(id)
        .await?
        .ok_or("the webhook is not there")?)
}

fn state(webhook: &AuditWebhookRecord) -> PushState {
    PushState {
        id: webhook.id,
        row_version: webhook.row_version,
        cursor: webhook.cursor,
    }
}

fn event_ids(batch: &PushBatch) -> Outcome<Vec<AuditId>> {
    let mut ids = Vec::new();
    for object in &batch.objects {
        let object: Value = serde_json::from_str(object)?;
        ids.push(serde_json::from_value(object["event_id"].clone())?);
    }
    Ok(ids)
}

/// Whether all transactions up to this one end. Those of other tests on the same server count, and end soon.
async fn settles(world: &World, transaction: i64) -> Outcome<bool> {
    for _ in 0..6000 {
        if world.store.audit_settled(transaction).await? {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}

#[tokio::test]
async fn a_row_that_is_committed_late_is_waited_for_and_comes_in_its_place() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let before = store.mark_audit().await?.newest;
    let mut late = world.begin().await?;
    let first = append(late.as_mut(), AuditAction::VmCreate, None).await?;
    let second = appended(&world, AuditAction::VmCreate, None).await?;

    let mark = store.mark_audit().await?;
    assert!(mark.newest > before, "the second row can be seen");
    assert!(
        !store.audit_settled(mark.transaction).await?,
        "a transaction that wrote before the second row is still open"
    );
    late.commit().await?;
    assert!(settles(&world, mark.transaction).await?);
    let batch = store
        .audit_push_batch(&PushFilters::default(), before, mark.newest, PLENTY)
        .await?;
    assert_eq!(event_ids(&batch)?, [first, second]);
    assert_eq!(batch.last, Some(mark.newest));
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_numbers_a_row_after_the_mark_does_not_delay_it() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    appended(&world, AuditAction::VmCreate, None).await?;
    let mark = store.mark_audit().await?;
    let mut later = world.begin().await?;
    append(later.as_mut(), AuditAction::VmCreate, None).await?;
    assert!(settles(&world, mark.transaction).await?);
    drop(later);
    let after = appended(&world, AuditAction::VmCreate, None).await?;
    let newest = store.mark_audit().await?.newest;
    let batch = store
        .audit_push_batch(&PushFilters::default(), mark.newest, newest, PLENTY)
        .await?;
    assert_eq!(
        event_ids(&batch)?,
        [after],
        "what was rolled back leaves a gap and nothing else"
    );
    Ok(())
}

#[tokio::test]
async fn batches_are_filtered_and_follow_each_other_in_order() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let start = store.mark_audit().await?.newest;
    let test = Some(Environment::Test);
    let prod = Some(Environment::Prod);
    let created = appended(&world, AuditAction::VmCreate, test).await?;
    let failed = appended(&world, AuditAction::VmCreateFailed, prod).await?;
    let login = appended(&world, AuditAction::UserLogin, None).await?;
    let rolled = appended(&world, AuditAction::RoleCreate, prod).await?;
    let end = store.mark_audit().await?.newest;

    let cases: [(Value, Vec<AuditId>); 6] = [
        (json!({}), vec![created, failed, login, rolled]),
        (json!({"actions": ["vm.*"]}), vec![created, failed]),
        (json!({"actions": ["*.create"]}), vec![created, rolled]),
        // An underscore is itself: `vm.create` does not match.
        (json!({"actions": ["vm_create", "vm.create_*"]}), vec![failed]),
        (json!({"environments": ["prod"]}), vec![failed, rolled]),
        (json!({"actions": ["user.*"], "environments": ["prod", "test"]}), vec![]),
    ];
    for (filters, expected) in cases {
        let wanted: PushFilters = serde_json::from_value(filters.clone())?;
        let batch = store.audit_push_batch(&wanted, start, end, PLENTY).await?;
        assert_eq!(event_ids(&batch)?, expected, "{filters}");
    }

    let all = PushFilters::default();
    let first = store.audit_push_batch(&all, start, end, 3).await?;
    assert_eq!(event_ids(&first)?, [created, failed, login]);
    let last = first.last.ok_or("no last row")?;
    let second = store.audit_push_batch(&all, last, end, 3).await?;
    assert_eq!(event_ids(&second)?, [rolled]);
    assert_eq!(second.oldest, Some(at(0)));
    let third = store.audit_push_batch(&all, end, end, 3).await?;
    assert_eq!(third, PushBatch::default());
    Ok(())
}

#[tokio::test]
async fn an_object_is_that_of_the_export() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let start = store.mark_audit().await?.newest;
    let row = appended(&world, AuditAction::VmCreateFailed, Some(Environment::Test)).await?;
    let batch = store
        .audit_push_batch(&PushFilters::default(), start, i64::MAX, PLENTY)
        .await?;
    let object: Value = serde_json::from_str(batch.objects.first().ok_or("no object")?)?;
    assert_eq!(object["event_id"], json!(row));
    assert_eq!(object["action"], "vm.create_failed");
    assert_eq!(object["resource"]["type"], "vm");
    assert_eq!(object["context"]["environment"], "test");
    assert_eq!(object["details"], json!({"size": "small"}));
    let written: DateTime<Utc> = serde_json::from_value(object["@timestamp"].clone())?;
    assert_eq!(written, at(0));
    Ok(())
}

#[tokio::test]
async fn a_webhook_begins_at_the_newest_row_and_is_read_back() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    appended(&world, AuditAction::VmCreate, None).await?;
    let newest = store.mark_audit().await?.newest;
    let new = webhook("archive");
    let stored = inserted(&world, &new).await?;
    assert_eq!(stored.cursor, newest);
    assert_eq!(stored.header_names, ["Authorization"]);
    assert_eq!(stored.filters, new.filters);

    let sealed = store.sealed_audit_webhook(new.id).await?.ok_or("nothing is sealed")?;
    assert_eq!((sealed.secret, sealed.headers), (vec![1], Some(vec![2])));
    let keys = store.sealing_key_ids().await?;
    assert!(
        ["k-secret", "k-headers"]
            .iter()
            .all(|key| keys.iter().any(|used| used == key)),
        "{keys:?}"
    );

    let other = inserted(&world, &webhook("bunker")).await?;
    let page = store.list_audit_webhooks(PageRequest::default()).await?;
    let names: Vec<&str> = page.items.iter().map(|webhook| webhook.name.as_str()).collect();
    assert_eq!((names, page.total), (vec!["archive", "bunker"], 2));

    let mut work = world.begin().await?;
    let refused = work.audit_webhooks().insert(&webhook("archive")).await.err();
    assert!(refused.is_some_and(|error| error.is_unique("uq_audit_webhooks_name")));
    drop(work);
    let mut work = world.begin().await?;
    assert!(work.audit_webhooks().delete(other.id).await?);
    assert!(!work.audit_webhooks().delete(other.id).await?);
    assert!(work.audit_webhooks().hold(other.id).await?.is_none());
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_change_writes_what_is_given_and_leaves_the_rest() -> TestResult {
    let world = World::create().await?;
    let new = webhook("archive");
    let before = inserted(&world, &new).await?;
    let patch = AuditWebhookPatch {
        url: Some("https://other.example.org".to_owned()),
        headers: Some(None),
        enabled: Some(false),
        ..AuditWebhookPatch::default()
    };
    let mut work = world.begin().await?;
    let current = before.row_version;
    assert_eq!(
        work.audit_webhooks().update(new.id, &patch, Some(current + 1)).await?,
        Changed::VersionMismatch { current }
    );
    assert_eq!(
        work.audit_webhooks().update(new.id, &patch, Some(current)).await?,
        Changed::Yes
    );
    assert_eq!(work.audit_webhooks().update(id(), &patch, None).await?, Changed::Gone);
    work.commit().await?;
    let after = read(&world, new.id).await?;
    assert_eq!(
        (after.url.as_str(), after.enabled),
        ("https://other.example.org", false)
    );
    assert!(after.header_names.is_empty());
    assert_eq!(
        (after.name, after.batch_size, after.row_version),
        (before.name, 100, current + 1)
    );
    let sealed = world
        .store
        .sealed_audit_webhook(new.id)
        .await?
        .ok_or("nothing is sealed")?;
    assert_eq!((sealed.secret, sealed.headers), (vec![1], None));
    assert!(
        world.store.due_audit_webhooks(at(0)).await?.is_empty(),
        "it is disabled"
    );
    Ok(())
}

#[tokio::test]
async fn only_what_was_read_is_moved_and_the_version_is_that_of_people() -> TestResult {
    let world = World::create().await?;
    let new = webhook("archive");
    let read_first = inserted(&world, &new).await?;
    let cursor = read_first.cursor;
    let mut work = world.begin().await?;
    let hooks = work.audit_webhooks();
    assert!(hooks.skip(state(&read_first), cursor + 1).await?);
    assert!(
        !hooks.record_success(state(&read_first), cursor + 5, at(1)).await?,
        "another replica has moved it"
    );
    let moved = PushState {
        cursor: cursor + 1,
        ..state(&read_first)
    };
    assert!(hooks.record_success(moved, cursor + 5, at(1)).await?);
    work.commit().await?;
    let after = read(&world, new.id).await?;
    assert_eq!((after.cursor, after.last_success_at), (cursor + 5, Some(at(1))));
    assert_eq!(
        (after.row_version, after.updated_at),
        (read_first.row_version, read_first.updated_at)
    );

    let patch = AuditWebhookPatch {
        batch_size: Some(7),
        ..AuditWebhookPatch::default()
    };
    let mut work = world.begin().await?;
    work.audit_webhooks().update(new.id, &patch, None).await?;
    let stale = work
        .audit_webhooks()
        .record_success(state(&after), cursor + 9, at(2))
        .await?;
    assert!(!stale, "somebody changed it while a batch was under way");
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn administrators_are_told_once_until_it_has_worked_again() -> TestResult {
    let world = World::create().await?;
    let new = webhook("archive");
    inserted(&world, &new).await?;
    let fail = async |seconds: i64| -> Outcome<FailureStored> {
        let failure = PushFailure {
            error: "no answer",
            at: at(seconds),
            next_attempt_at: at(seconds + 10),
            alert_since: at(seconds - 3600),
        };
        let state = state(&read(&world, new.id).await?);
        let mut work = world.begin().await?;
        let stored = work.audit_webhooks().record_failure(state, failure).await?;
        work.commit().await?;
        Ok(stored)
    };
    let quiet = FailureStored::Yes { alert: false };
    let loud = FailureStored::Yes { alert: true };
    assert_eq!(fail(0).await?, quiet);
    assert!(world.store.due_audit_webhooks(at(9)).await?.is_empty());
    assert_eq!(world.store.due_audit_webhooks(at(10)).await?.len(), 1);
    assert_eq!(fail(3599).await?, quiet);
    assert_eq!(fail(3600).await?, loud, "an hour after the first failure");
    assert_eq!(fail(7200).await?, quiet);
    let failing = read(&world, new.id).await?;
    assert_eq!((failing.failures, failing.failing_since), (4, Some(at(0))));
    assert_eq!(failing.last_error.as_deref(), Some("no answer"));
    assert_eq!(
        world.store.sample_state(at(7250)).await?.audit_push_failing_seconds,
        7250.0
    );

    let mut work = world.begin().await?;
    assert!(
        work.audit_webhooks()
            .record_success(state(&failing), failing.cursor + 1, at(7300))
            .await?
    );
    work.commit().await?;
    let working = read(&world, new.id).await?;
    assert_eq!(
        (working.failures, working.failing_since, working.last_error.clone()),
        (0, None, None)
    );
    assert_eq!(
        world.store.sample_state(at(7300)).await?.audit_push_failing_seconds,
        0.0
    );
    assert_eq!(fail(8000).await?, quiet);
    assert_eq!(fail(11_600).await?, loud);
    let stale = PushState {
        cursor: failing.cursor,
        ..state(&working)
    };
    let mut work = world.begin().await?;
    let failure = PushFailure {
        error: "late",
        at: at(12_000),
        next_attempt_at: at(12_000),
        alert_since: at(0),
    };
    assert_eq!(
        work.audit_webhooks().record_failure(stale, failure).await?,
        FailureStored::Stale
    );
    Ok(())
}
