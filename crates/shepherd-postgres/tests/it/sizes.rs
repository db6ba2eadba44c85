//! Sizes are written whole, never past somebody else's change, and none disappears under a ticket.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use sea_orm::sqlx;
use serde_json::{Value, json};
use shepherd_domain::catalog::{InstanceSize, SizeDraft, SizePatch};
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::page::PageRequest;
use shepherd_ports::schemas::SizeVerdict;
use shepherd_ports::sizes::{SizeQueries as _, SizeRecord};
use shepherd_ports::systems::Changed;

use crate::TestResult;
use crate::world::{Outcome, World, id, system_actor};

/// How long a transaction is watched waiting for another.
const SHORT: Duration = Duration::from_millis(300);
const DEDICATED: &str = "spec.template.spec.domain.cpu.dedicatedCpuPlacement";
const HUGEPAGES: &str = "spec.template.spec.domain.memory.hugepages.pageSize";

fn sized(id: InstanceSizeId, document: Value) -> Outcome<InstanceSize> {
    let draft: SizeDraft = serde_json::from_value(document)?;
    Ok(draft.into_size(id)?)
}

async fn inserted(world: &World, document: Value) -> Outcome<SizeRecord> {
    let size = sized(id(), document)?;
    let mut work = world.begin().await?;
    work.sizes().insert(&size, &system_actor()).await?;
    work.commit().await?;
    let record = read(world, size.id).await?;
    assert_eq!(record.size, size);
    Ok(record)
}

async fn read(world: &World, id: InstanceSizeId) -> Outcome<SizeRecord> {
    Ok(world.store.get_size(id).await?.ok_or("no size")?)
}

async fn updated(world: &World, size: &InstanceSize, version: Option<i64>) -> Outcome<Changed> {
    let mut work = world.begin().await?;
    let changed = work.sizes().update(size, version).await?;
    work.commit().await?;
    Ok(changed)
}

async fn stamp(world: &World, id: InstanceSizeId) -> Outcome<String> {
    let pool = world.store.connection().get_postgres_connection_pool();
    let query = sqlx::query_scalar("SELECT derived_sha256 FROM instance_sizes WHERE id = $1");
    Ok(query.bind(id.as_uuid()).fetch_one(pool).await?)
}

#[tokio::test]
async fn every_column_is_written_and_the_stamp_follows_what_is_derived() -> TestResult {
    let world = World::create().await?;
    let pinned = json!({
        "name": "pinned", "display_name": "Pinned", "cpu_cores": 4, "memory_mb": 8192, "sort_order": 3,
        "spec_overrides": {(DEDICATED): true, (HUGEPAGES): "1Gi"},
    });
    let record = inserted(&world, pinned).await?;
    assert!(record.size.dedicated_cpu && record.size.requires_hugepages);
    assert_eq!(record.validation_status, "valid");
    assert!(!record.cpu_overcommit_enabled && !record.memory_overcommit_enabled);
    let first = stamp(&world, record.size.id).await?;

    let texts = SizePatch {
        description: Some(Some("for databases".to_owned())),
        ..SizePatch::default()
    };
    let described = record.size.clone().patched(texts)?;
    assert_eq!(updated(&world, &described, Some(1)).await?, Changed::Yes);
    assert_eq!(stamp(&world, record.size.id).await?, first);
    let loose = SizePatch {
        spec_overrides: Some(serde_json::Map::new()),
        cpu_request: Some(Some(1)),
        ..SizePatch::default()
    };
    let loose = described.patched(loose)?;
    assert_eq!(updated(&world, &loose, None).await?, Changed::Yes);
    assert_ne!(stamp(&world, record.size.id).await?, first);
    let after = read(&world, record.size.id).await?;
    assert_eq!(after.size, loose);
    assert_eq!(after.row_version, 3);
    assert!(!after.size.dedicated_cpu && after.cpu_overcommit_enabled);

    assert_eq!(
        updated(&world, &loose, Some(2)).await?,
        Changed::VersionMismatch { current: 3 }
    );
    let nothing = sized(id(), json!({"name": "nothing", "cpu_cores": 1, "memory_mb": 512}))?;
    assert_eq!(updated(&world, &nothing, None).await?, Changed::Gone);
    derived_columns_are_not_changed_by_hand(&world).await
}

async fn derived_columns_are_not_changed_by_hand(world: &World) -> TestResult {
    let db = world.store.connection();
    for column in [
        "cpu_cores = cpu_cores + 1",
        "dedicated_cpu = NOT dedicated_cpu",
        "capabilities = '{sriov}'",
    ] {
        let statement = format!("UPDATE instance_sizes SET {column} WHERE name = 'pinned'");
        let refused = db.execute_unprepared(&statement).await;
        assert!(refused.is_err(), "{column} was changed without its stamp");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_belongs_to_one_size_and_lists_are_in_order() -> TestResult {
    let world = World::create().await?;
    for (name, place, enabled) in [("zeta", 0, true), ("alpha", 1, true), ("off", 0, false)] {
        let document = json!({"name": name, "cpu_cores": 1, "memory_mb": 512, "sort_order": place, "enabled": enabled});
        inserted(&world, document).await?;
    }
    let names = |records: Vec<SizeRecord>| records.into_iter().map(|record| record.size.name).collect::<Vec<_>>();
    assert_eq!(names(world.store.list_sizes(true).await?), ["small", "zeta", "alpha"]);
    assert_eq!(
        names(world.store.list_sizes(false).await?),
        ["off", "small", "zeta", "alpha"]
    );
    let second = PageRequest::new(2, 2).ok_or("no page")?;
    let page = world.store.page_of_sizes(true, second).await?;
    assert_eq!((page.total, names(page.items)), (3, vec!["alpha".to_owned()]));

    let taken = sized(id(), json!({"name": "zeta", "cpu_cores": 1, "memory_mb": 512}))?;
    let mut work = world.begin().await?;
    let error = work.sizes().insert(&taken, &system_actor()).await;
    assert!(error.is_err_and(|error| error.is_unique("uq_instance_sizes_name")));
    drop(work);
    let small = read(&world, world.size).await?.size;
    let renamed = InstanceSize {
        name: "zeta".to_owned(),
        ..small
    };
    let mut work = world.begin().await?;
    let error = work.sizes().update(&renamed, None).await;
    assert!(error.is_err_and(|error| error.is_unique("uq_instance_sizes_name")));
    Ok(())
}

#[tokio::test]
async fn a_verdict_about_an_older_version_is_dropped_and_shows_in_no_version() -> TestResult {
    let world = World::create().await?;
    let judge = async |row_version, valid| -> Outcome<Vec<String>> {
        let verdict = SizeVerdict {
            id: world.size,
            row_version,
            valid,
        };
        let mut work = world.begin().await?;
        let invalid = work.schemas().record_verdicts(&[verdict]).await?;
        work.commit().await?;
        Ok(invalid)
    };
    assert_eq!(judge(1, false).await?, ["small"]);
    assert_eq!(judge(1, false).await?, [""; 0]);
    let record = read(&world, world.size).await?;
    assert_eq!((record.validation_status.as_str(), record.row_version), ("invalid", 1));

    let larger = InstanceSize {
        cpu_cores: 3,
        ..record.size
    };
    assert_eq!(updated(&world, &larger, Some(1)).await?, Changed::Yes);
    assert_eq!(read(&world, world.size).await?.validation_status, "valid");
    assert_eq!(judge(1, false).await?, [""; 0]);
    assert_eq!(read(&world, world.size).await?.validation_status, "valid");
    Ok(())
}

#[tokio::test]
async fn a_deletion_waits_for_a_submission_and_finds_its_ticket() -> TestResult {
    let world = World::create().await?;
    let mut submission = world.begin().await?;
    assert_eq!(submission.sizes().hold(world.size).await?, Some(true));
    let mut deletion = world.begin().await?;
    {
        let mut waiting = deletion.sizes().lock(world.size);
        let meanwhile = tokio::time::timeout(SHORT, &mut waiting).await;
        assert!(meanwhile.is_err(), "a size that is being asked for was locked");
        let submitted = world.submit_create(submission.as_mut()).await?;
        assert!(!submitted.ticket.as_uuid().is_nil());
        submission.commit().await?;
        assert!(waiting.await?.is_some());
    }
    assert_eq!(deletion.sizes().count_open_tickets(world.size).await?, 1);
    drop(deletion);

    // Of a size that an approver chose instead, the ticket speaks as well.
    let other = inserted(&world, json!({"name": "other", "cpu_cores": 1, "memory_mb": 512})).await?;
    let choose = format!(
        "UPDATE approval_tickets SET modified_spec = '{{\"instance_size_id\": \"{}\"}}', modification_reason = 'x', \
         modified_by = 'system:test', modified_at = now()",
        other.size.id
    );
    let db = world.store.connection();
    db.execute_unprepared(&choose).await?;
    let count = async |size| -> Outcome<i64> { Ok(world.begin().await?.sizes().count_open_tickets(size).await?) };
    assert_eq!((count(other.size.id).await?, count(world.size).await?), (1, 1));
    db.execute_unprepared("UPDATE approval_tickets SET status = 'CANCELLED'")
        .await?;
    assert_eq!((count(other.size.id).await?, count(world.size).await?), (0, 0));
    Ok(())
}

#[tokio::test]
async fn of_a_change_and_a_deletion_at_once_the_later_finds_what_the_earlier_did() -> TestResult {
    let world = World::create().await?;
    let mut deletion = world.begin().await?;
    assert!(deletion.sizes().lock(world.size).await?.is_some());
    let (mut change, mut submission) = (world.begin().await?, world.begin().await?);
    {
        let mut changing = change.sizes().lock(world.size);
        assert!(tokio::time::timeout(SHORT, &mut changing).await.is_err());
        let mut asking = submission.sizes().hold(world.size);
        assert!(tokio::time::timeout(SHORT, &mut asking).await.is_err());
        assert!(deletion.sizes().delete(world.size).await?);
        deletion.commit().await?;
        assert!(changing.await?.is_none());
        assert_eq!(asking.await?, None);
    }
    assert!(!change.sizes().delete(world.size).await?);
    Ok(())
}
