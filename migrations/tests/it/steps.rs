//! The steps themselves: forth, back, forth again; their list; and several replicas at once.

use crate::{Database, ONE_ROW_EVERYWHERE, TestResult};

const LEFTOVERS: &str = "
    SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace
                AND relkind IN ('r', 'v', 'S') AND relname <> 'shepherd_migrations')
        + (SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace)";

#[tokio::test]
async fn an_empty_database_goes_up_down_and_up() -> TestResult {
    let database = Database::migrated().await?;
    migrations::down(&database.connection, None).await?;
    assert_eq!(database.number(LEFTOVERS).await?, 0);
    migrations::up(&database.connection).await?;
    assert!(migrations::pending(&database.connection).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_filled_database_goes_up_down_and_up() -> TestResult {
    let database = Database::filled().await?;
    let missed = database.empty_tables().await?;
    assert!(missed.is_empty(), "one_row_everywhere.sql misses {missed:?}");
    migrations::down(&database.connection, None).await?;
    assert_eq!(database.number(LEFTOVERS).await?, 0);
    migrations::up(&database.connection).await?;
    database.run(ONE_ROW_EVERYWHERE).await?;
    Ok(())
}

#[tokio::test]
async fn each_step_goes_back_alone() -> TestResult {
    let database = Database::filled().await?;
    let steps = migrations::status(&database.connection).await?;
    for taken_back in 1..=steps.len() {
        migrations::down(&database.connection, Some(1)).await?;
        let pending = migrations::pending(&database.connection).await?;
        assert_eq!(pending.len(), taken_back);
    }
    Ok(())
}

#[tokio::test]
async fn going_up_twice_changes_nothing() -> TestResult {
    let database = Database::filled().await?;
    migrations::up(&database.connection).await?;
    assert!(database.empty_tables().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn replicas_that_start_together_take_turns() -> TestResult {
    let database = Database::empty().await;
    let (first, second, third) = tokio::join!(
        migrations::up(&database.connection),
        migrations::up(&database.connection),
        migrations::up(&database.connection),
    );
    first?;
    second?;
    third?;
    Ok(())
}

#[tokio::test]
async fn asking_what_is_pending_writes_nothing() -> TestResult {
    const RELATIONS: &str = "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace";
    let database = Database::empty().await;
    let pending = migrations::pending(&database.connection).await?;
    let status = migrations::status(&database.connection).await?;
    assert_eq!(pending.first().map(String::as_str), Some("m20261121_000001_platform"));
    assert_eq!(pending.len(), status.len());
    assert!(status.iter().all(|(_, applied)| !applied));
    assert_eq!(database.number(RELATIONS).await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_tables_of_the_queue_are_tuned() -> TestResult {
    const TUNED: &str = "
        SELECT count(*) FROM pg_class
        WHERE oid IN ('graphile_worker._private_jobs'::regclass, 'graphile_worker._private_job_queues'::regclass)
            AND reloptions @> ARRAY['autovacuum_vacuum_threshold=100', 'autovacuum_vacuum_cost_limit=2000']";
    let database = Database::migrated().await?;
    assert_eq!(database.number(TUNED).await?, 2);
    Ok(())
}

#[tokio::test]
async fn an_old_program_goes_on_after_a_newer_one_has_migrated() -> TestResult {
    let database = Database::migrated().await?;
    let newer = "INSERT INTO shepherd_migrations (version, applied_at) VALUES ('m29990101_000001_newer', 0)";
    database.run(newer).await?;
    assert!(migrations::pending(&database.connection).await?.is_empty());
    migrations::up(&database.connection).await?;
    database
        .run("DELETE FROM shepherd_migrations WHERE version LIKE 'm2026%_trace_parent'")
        .await?;
    assert_eq!(
        migrations::pending(&database.connection).await?,
        ["m20261121_000017_trace_parent"],
        "what it knows is missed"
    );
    Ok(())
}
