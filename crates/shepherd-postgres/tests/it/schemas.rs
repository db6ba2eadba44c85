//! Schemas stay as they were first stored, and verdicts about the catalogue change nothing that people version.

use sea_orm::ConnectionTrait as _;
use serde_json::json;
use shepherd_ports::schemas::{NewSchema, SchemaQueries as _, SizeVerdict};
use shepherd_ports::sizes::SizeQueries as _;

use crate::TestResult;
use crate::world::{Outcome, World, at};

fn schema(minor_version: &str, mark: &str) -> NewSchema {
    NewSchema {
        minor_version: minor_version.to_owned(),
        schema: json!({"mark": mark}),
        sha256: "0".repeat(64),
        fetched_at: at(0),
    }
}

async fn validation_status(world: &World) -> Outcome<(String, i64)> {
    let size = world.store.get_size(world.size).await?.ok_or("the size is gone")?;
    Ok((size.validation_status, size.row_version))
}

#[tokio::test]
async fn the_first_schema_of_a_version_stays() -> TestResult {
    let world = World::create().await?;
    assert!(world.store.stored_schema_versions().await?.is_empty());
    let mut work = world.begin().await?;
    assert!(work.schemas().insert(&schema("1.6", "first")).await?);
    assert!(!work.schemas().insert(&schema("1.6", "second")).await?);
    assert!(work.schemas().insert(&schema("1.10", "other")).await?);
    work.commit().await?;

    let stored = world.store.stored_schema("1.6").await?.ok_or("it is gone")?;
    assert_eq!(
        (stored.schema, stored.source.as_str()),
        (json!({"mark": "first"}), "cluster")
    );
    assert_eq!((stored.sha256, stored.fetched_at), ("0".repeat(64), at(0)));
    assert!(world.store.stored_schema("1.7").await?.is_none());
    let mut versions = world.store.stored_schema_versions().await?;
    versions.sort();
    assert_eq!(versions, ["1.10", "1.6"]);

    let changed = world
        .store
        .connection()
        .execute_unprepared("UPDATE kubevirt_schemas SET schema = '{}' WHERE minor_version = '1.6'")
        .await;
    assert!(changed.is_err(), "schemas are immutable");
    Ok(())
}

#[tokio::test]
async fn a_verdict_holds_for_the_size_that_was_looked_at() -> TestResult {
    let world = World::create().await?;
    let sizes = world.store.sizes_to_validate().await?;
    assert_eq!(sizes.len(), 1);
    let (_, row_version) = validation_status(&world).await?;
    let verdict = |row_version: i64, valid: bool| SizeVerdict {
        id: world.size,
        row_version,
        valid,
    };
    let invalid = record(&world, &[verdict(row_version, false)]).await?;
    assert_eq!(invalid, ["small"]);
    assert_eq!(
        validation_status(&world).await?,
        ("invalid".to_owned(), row_version),
        "the version is that of people"
    );
    assert!(
        record(&world, &[verdict(row_version, false)]).await?.is_empty(),
        "it is no news"
    );
    assert!(record(&world, &[verdict(row_version + 1, true)]).await?.is_empty());
    assert_eq!(
        validation_status(&world).await?.0,
        "invalid",
        "another version was looked at"
    );
    assert!(record(&world, &[verdict(row_version, true)]).await?.is_empty());
    assert_eq!(validation_status(&world).await?.0, "valid");
    assert!(record(&world, &[]).await?.is_empty());
    Ok(())
}

async fn record(world: &World, verdicts: &[SizeVerdict]) -> Outcome<Vec<String>> {
    let mut work = world.begin().await?;
    let invalid = work.schemas().record_verdicts(verdicts).await?;
    work.commit().await?;
    Ok(invalid)
}

#[tokio::test]
async fn a_template_that_was_validated_is_so_no_longer_and_named_once() -> TestResult {
    let world = World::create().await?;
    let templates = world.store.templates_to_validate().await?;
    let names: Vec<&str> = templates.iter().map(|template| template.name.as_str()).collect();
    assert_eq!(names, ["debian"]);
    world
        .store
        .connection()
        .execute_unprepared("UPDATE templates SET validated_at = now()")
        .await?;
    for expected in [vec!["debian".to_owned()], Vec::new()] {
        let mut work = world.begin().await?;
        assert_eq!(work.schemas().take_back_validation(&[world.template]).await?, expected);
        work.commit().await?;
    }
    Ok(())
}
