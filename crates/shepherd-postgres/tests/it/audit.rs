//! The audit log: what leaves it, what keeps it, and that readers get every row once and in order.

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, AssertSqlSafe, Executor as _};
use serde_json::{Value, json};
use shepherd_domain::Environment;
use shepherd_domain::audit::{ActionPattern, AuditAction, AuditEntry, HoldFilter, RetentionClass, RetentionDays};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{AuditId, LegalHoldId};
use shepherd_domain::page::PageRequest;
use shepherd_ports::audit::{AuditFilter, AuditQueries as _, AuditStamp, Purged};
use shepherd_ports::context::RequestContext;
use shepherd_ports::legal_holds::{LegalHoldQueries as _, NewLegalHold};

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor};

/// Longer ago than any class is kept.
const LONG_AGO: i64 = -2_000 * 86_400;
/// Rows of a generated log; two share each moment, and one of three belongs to test, prod and nothing each.
const MANY: usize = 3_000;

fn everything() -> AuditFilter {
    AuditFilter {
        visible: EnvironmentSet::ALL,
        ..AuditFilter::default()
    }
}

async fn append(world: &World, written: DateTime<Utc>, entries: Vec<AuditEntry>) -> Outcome<()> {
    let rows: Vec<(AuditId, AuditEntry)> = entries.into_iter().map(|entry| (id(), entry)).collect();
    let stamp = AuditStamp {
        context: &RequestContext::system("test"),
        at: written,
        retention: RetentionDays::default(),
    };
    let mut work = world.begin().await?;
    work.audit().append(&rows, &stamp).await?;
    Ok(work.commit().await?)
}

/// `MANY` rows, newest first by their number: row `n` is `n / 2` seconds older than `at(0)`.
async fn generate(world: &World) -> Outcome<()> {
    let sql = format!(
        "INSERT INTO audit_logs (id, action, action_code, performed_by, performed_by_name, performed_at,
             resource_type, resource_id, environment, outcome, params, retention_class, retain_until)
         SELECT gen_random_uuid(), 'vm.create', 'EXECUTION_COMPLETED', 'system:worker', 'system:worker',
             timestamptz '{}' - n / 2 * interval '1 second', 'vm', n::text,
             CASE n % 3 WHEN 0 THEN 'test' WHEN 1 THEN 'prod' END, 'success', '{{\"a\": {{\"b\": null}}}}', 'prod', now()
         FROM generate_series(0, {}) AS n",
        at(0).to_rfc3339(),
        MANY - 1
    );
    run(world, sql).await
}

async fn run(world: &World, sql: String) -> Outcome<()> {
    let pool = world.store.connection().get_postgres_connection_pool();
    pool.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    Ok(())
}

/// The whole export in batches of this many rows, with `between` called after each of them.
async fn exported(
    world: &World,
    filter: &AuditFilter,
    limit: u32,
    mut between: impl AsyncFnMut() -> Outcome<()>,
) -> Outcome<Vec<Value>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let batch = world.store.export_audit_batch(filter, after, limit).await?;
        after = batch.last;
        if after.is_none() {
            return Ok(found);
        }
        for object in &batch.objects {
            assert!(!object.contains('\n'), "{object}");
            found.push(serde_json::from_str(object)?);
        }
        between().await?;
    }
}

fn place(object: &Value) -> (String, String) {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    (text("@timestamp"), text("event_id"))
}

#[tokio::test]
async fn rows_leave_after_their_retention_unless_a_hold_keeps_them() -> TestResult {
    let world = World::create().await?;
    if !world.store.purge_available().await? {
        return Ok(());
    }
    let row = |action, environment| AuditEntry::new(action, "vm", "x").environment(environment);
    let old = vec![
        row(AuditAction::VmCreate, Environment::Test),
        row(AuditAction::VmRequest, Environment::Test),
        row(AuditAction::VmCreate, Environment::Prod),
        row(AuditAction::VmDeleteExecuted, Environment::Test),
    ];
    append(&world, at(LONG_AGO), old).await?;
    append(
        &world,
        at(3_650 * 86_400),
        vec![row(AuditAction::VmCreate, Environment::Test)],
    )
    .await?;
    let hold = hold(&world, "prod", Some(Environment::Prod)).await?;

    let mut removed = purge(&world, 100).await?;
    removed.sort_by_key(|purged| purged.class.as_str());
    let of = |class, rows| Purged { class, rows };
    assert_eq!(removed, [of(RetentionClass::Sensitive, 1), of(RetentionClass::Test, 2)]);
    assert_eq!(purge(&world, 100).await?.len(), 0);

    let mut work = world.begin().await?;
    assert!(work.legal_holds().release(hold, at(10)).await?);
    assert!(!work.legal_holds().release(hold, at(20)).await?);
    assert!(!work.legal_holds().release(id(), at(20)).await?);
    work.commit().await?;
    assert_eq!(purge(&world, 100).await?, [of(RetentionClass::Prod, 1)]);
    let left = world.store.list_audit(&everything(), PageRequest::default()).await?;
    assert_eq!(left.total, 1);
    Ok(())
}

async fn purge(world: &World, batch: u32) -> Outcome<Vec<Purged>> {
    let mut work = world.begin().await?;
    let removed = work.audit().purge(batch).await?;
    work.commit().await?;
    Ok(removed)
}

async fn hold(world: &World, name: &str, environment: Option<Environment>) -> Outcome<LegalHoldId> {
    let hold = NewLegalHold {
        id: id(),
        name: name.to_owned(),
        filter: HoldFilter {
            environment,
            ..HoldFilter::default()
        },
        created_by: system_actor(),
        at: at(0),
    };
    let mut work = world.begin().await?;
    work.legal_holds().insert(&hold).await?;
    work.commit().await?;
    Ok(hold.id)
}

#[tokio::test]
async fn of_several_who_note_the_same_one_does() -> TestResult {
    let world = World::create().await?;
    let note = async || -> Outcome<bool> {
        let entry = AuditEntry::new(AuditAction::ConfigUpdate, "config", "digest");
        let stamp = AuditStamp {
            context: &RequestContext::system("test"),
            at: at(0),
            retention: RetentionDays::default(),
        };
        let mut work = world.begin().await?;
        let noted = work.audit().last_noted(AuditAction::ConfigUpdate, at(-600)).await?;
        if noted.is_some() {
            return Ok(false);
        }
        work.audit().append(&[(id(), entry)], &stamp).await?;
        work.commit().await?;
        Ok(true)
    };
    let (one, two, three) = tokio::join!(note(), note(), note());
    let written = [one?, two?, three?].into_iter().filter(|written| *written).count();
    assert_eq!(written, 1);
    Ok(())
}

#[tokio::test]
async fn the_last_row_is_the_one_that_was_written_last_whatever_its_clock_said() -> TestResult {
    let world = World::create().await?;
    for (written, mark) in [(1, "there"), (9, "back"), (3, "there")] {
        let entry = AuditEntry::new(AuditAction::ConfigUpdate, "config", mark);
        append(&world, at(written), vec![entry]).await?;
    }
    let mut work = world.begin().await?;
    let last = work.audit().last_noted(AuditAction::ConfigUpdate, at(0)).await?;
    let last = last.ok_or("no row")?;
    assert_eq!((last.resource_id.as_str(), last.performed_at), ("there", at(3)));
    let late = work.audit().last_noted(AuditAction::ConfigUpdate, at(5)).await?;
    let late = late.ok_or("no row")?;
    assert_eq!(late.resource_id, "back");
    assert!(late.seq < last.seq);
    let none = work.audit().last_noted(AuditAction::ConfigUpdate, at(9)).await?;
    assert_eq!(none, None);
    let other = work.audit().last_noted(AuditAction::VmCreate, at(0)).await?;
    assert_eq!(other, None);
    Ok(())
}

#[tokio::test]
async fn a_purge_that_waits_for_a_hold_honours_it() -> TestResult {
    let world = World::create().await?;
    if !world.store.purge_available().await? {
        return Ok(());
    }
    let row = AuditEntry::new(AuditAction::VmCreate, "vm", "x").environment(Environment::Test);
    append(&world, at(LONG_AGO), vec![row]).await?;
    let mut work = world.begin().await?;
    work.legal_holds()
        .insert(&NewLegalHold {
            id: id(),
            name: "everything".to_owned(),
            filter: HoldFilter::default(),
            created_by: system_actor(),
            at: at(0),
        })
        .await?;
    // The hold is there, but not yet for everybody.
    let (removed, held) = tokio::join!(purge(&world, 100), work.commit());
    held?;
    assert!(removed?.is_empty());
    Ok(())
}

#[tokio::test]
async fn holds_are_listed_newest_first_and_no_two_have_one_name() -> TestResult {
    let world = World::create().await?;
    let first = hold(&world, "case 1", Some(Environment::Test)).await?;
    let second = hold(&world, "case 2", None).await?;
    let again = hold(&world, "case 1", None).await;
    assert!(again.is_err_and(|error| error.to_string().contains("uq_audit_legal_holds_name")));
    let listed = world.store.list_legal_holds(PageRequest::default()).await?;
    let ids: Vec<_> = listed.items.iter().map(|hold| hold.id).collect();
    assert_eq!((ids, listed.total), (vec![second, first], 2));
    let found = world.store.get_legal_hold(first).await?.ok_or("no hold")?;
    assert_eq!(found.filter.get("environment").map(String::as_str), Some("test"));
    assert_eq!((found.created_at, found.released_at), (at(0), None));
    assert_eq!(world.store.get_legal_hold(id()).await?, None);
    Ok(())
}

#[tokio::test]
async fn an_export_has_every_row_once_in_order_while_others_write() -> TestResult {
    let world = World::create().await?;
    generate(&world).await?;
    let filter = AuditFilter {
        from: Some(at(-86_400)),
        to: Some(at(1)),
        ..everything()
    };
    let newer = async || {
        let row = AuditEntry::new(AuditAction::VmRequest, "vm", "newer");
        append(&world, at(0), vec![row]).await
    };
    let found = exported(&world, &filter, 700, newer).await?;
    let places: Vec<_> = found.iter().map(place).collect();
    assert!(places.windows(2).all(|pair| pair[0] > pair[1]));
    assert_eq!(found.len(), MANY);

    let mut paged = Vec::new();
    let quiet = AuditFilter {
        action: Some(ActionPattern::Exactly("vm.create".to_owned())),
        ..filter
    };
    for number in 1..=3 {
        let request = PageRequest::of_export(number, 1_000).ok_or("no such page")?;
        let page = world.store.export_audit_page(&quiet, request).await?;
        assert_eq!(page.total, MANY as u64);
        paged.extend(page.items);
    }
    let paged: Result<Vec<Value>, _> = paged.iter().map(|object| serde_json::from_str(object)).collect();
    assert_eq!(paged?, exported(&world, &quiet, 999, async || Ok(())).await?);
    Ok(())
}

#[tokio::test]
async fn an_exported_object_has_every_key_whatever_the_row_tells() -> TestResult {
    let world = World::create().await?;
    let entries = vec![
        AuditEntry::new(AuditAction::ClusterRegister, "cluster", "c-1").named("one"),
        AuditEntry::new(AuditAction::VmCreate, "vm", "v-1")
            .environment(Environment::Test)
            .details(json!({"cluster_id": "c-1", "text": "a\nb", "nothing": null}))
            .failed(),
        AuditEntry::new(AuditAction::AuditPurge, "audit_log", "purge"),
    ];
    append(&world, at(0), entries).await?;
    let mut found = exported(&world, &everything(), 10, async || Ok(())).await?;
    found.sort_by_key(|object| object["action"].to_string());
    let levels: Vec<_> = found.iter().map(|object| object["level"].clone()).collect();
    assert_eq!(levels, ["warn", "info", "warn"]);
    let created = &found[2];
    assert_eq!(
        *created,
        json!({
            "@timestamp": created["@timestamp"],
            "event_id": created["event_id"],
            "action": "vm.create",
            "action_code": "EXECUTION_COMPLETED",
            "level": "warn",
            "outcome": "failure",
            "actor": {"id": "system:test", "name": "system:test", "ip": null},
            "resource": {"type": "vm", "id": "v-1", "name": null},
            "context": {"environment": "test", "cluster": "c-1", "correlation_id": null, "ticket_id": null},
            "details": {"cluster_id": "c-1", "text": "a\nb", "nothing": null},
        })
    );
    let timestamp: DateTime<Utc> = created["@timestamp"].as_str().unwrap_or_default().parse()?;
    assert_eq!(timestamp, at(0));
    assert_eq!(found[1]["context"]["cluster"], "one");
    Ok(())
}

#[tokio::test]
async fn a_reader_sees_the_rows_of_its_environments_and_those_without_one() -> TestResult {
    let world = World::create().await?;
    generate(&world).await?;
    for (visible, expected) in [
        (EnvironmentSet::ALL, MANY),
        (EnvironmentSet::TEST, MANY / 3 * 2),
        (EnvironmentSet::EMPTY, 0),
    ] {
        let filter = AuditFilter {
            visible,
            ..AuditFilter::default()
        };
        let found = exported(&world, &filter, 1_000, async || Ok(())).await?;
        assert_eq!(found.len(), expected, "{visible:?}");
        let listed = world.store.list_audit(&filter, PageRequest::default()).await?;
        assert_eq!(listed.total, expected as u64, "{visible:?}");
        let allowed = |object: &Value| match object["context"]["environment"].as_str() {
            Some(name) => visible.iter().any(|environment| environment.as_str() == name),
            None => true,
        };
        assert!(found.iter().all(allowed), "{visible:?}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_the_list_follow_each_other_also_within_one_moment() -> TestResult {
    let world = World::create().await?;
    let entries = (0..50)
        .map(|number| AuditEntry::new(AuditAction::VmCreate, "vm", number))
        .collect();
    append(&world, at(0), entries).await?;
    let mut seen = Vec::new();
    for number in 1..=5 {
        let request = PageRequest::new(number, 10).ok_or("no such page")?;
        let page = world.store.list_audit(&everything(), request).await?;
        assert_eq!(page.total, 50);
        seen.extend(page.items.into_iter().map(|row| row.id));
    }
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "{seen:?}");
    assert_eq!(seen.len(), 50);
    Ok(())
}

#[tokio::test]
async fn a_pattern_of_actions_is_a_prefix_and_nothing_else() -> TestResult {
    let world = World::create().await?;
    let entries = vec![
        AuditEntry::new(AuditAction::VmCreate, "vm", "x"),
        AuditEntry::new(AuditAction::VmCreateFailed, "vm", "x"),
        AuditEntry::new(AuditAction::VmRequest, "vm", "x"),
        AuditEntry::new(AuditAction::ApprovalApprove, "ticket", "x"),
    ];
    append(&world, at(0), entries).await?;
    for (pattern, expected) in [
        ("vm.create", 1),
        ("vm.create*", 2),
        ("vm.*", 3),
        ("vm*", 3),
        ("*", 4),
        ("VM.*", 0),
        ("vm_*", 0),
        ("vm.%*", 0),
    ] {
        let filter = AuditFilter {
            action: Some(pattern.parse()?),
            ..everything()
        };
        let found = world.store.list_audit(&filter, PageRequest::default()).await?;
        assert_eq!(found.total, expected, "{pattern}");
    }
    Ok(())
}
