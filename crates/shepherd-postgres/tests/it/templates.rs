//! Versions of templates move only from where they are, one of a name is offered, and none disappears under a ticket.

use serde_json::json;
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::ids::TemplateId;
use shepherd_ports::UnitOfWork;
use shepherd_ports::templates::{Publication, TemplateChange, TemplateQueries, TemplateRecord};

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor, template};

/// Rounds of two at once.
const ROUNDS: usize = 50;

fn publication() -> Publication {
    Publication {
        by: system_actor(),
        at: at(60),
        validated_at: None,
    }
}

async fn draft(work: &mut dyn UnitOfWork) -> Outcome<TemplateId> {
    let draft = template(id(), TemplateStatus::Draft)?;
    work.templates().insert(&draft).await?;
    Ok(draft.id)
}

async fn read(world: &World, template: TemplateId) -> Outcome<TemplateRecord> {
    Ok(world.store.get_template(template).await?.ok_or("no template")?)
}

fn change(record: &TemplateRecord) -> TemplateChange {
    TemplateChange {
        display_name: record.display_name.clone(),
        description: record.description.clone(),
        category: record.category.clone(),
        os_family: record.os_family.clone(),
        os_version: record.os_version.clone(),
        spec: record.spec.clone(),
        quick_fields: record.quick_fields.clone(),
        advanced_fields: record.advanced_fields.clone(),
        content_sha256: record.content_sha256.clone(),
        validated_at: None,
    }
}

#[tokio::test]
async fn a_version_moves_only_from_where_it_is() -> TestResult {
    let world = World::create().await?;
    let publish = TemplateStatus::Draft.publish()?;
    let deprecate = TemplateStatus::Active.deprecate()?;
    let archive = TemplateStatus::Deprecated.archive()?;
    let mut work = world.begin().await?;
    let next = draft(work.as_mut()).await?;
    let templates = work.templates();
    assert_eq!(templates.lock_name("debian").await?, Some(2));
    assert_eq!(templates.lock_name("nothing").await?, None);
    assert_eq!(templates.latest("debian").await?.map(|latest| latest.id), Some(next));
    assert_eq!(templates.hold(next).await?, Some(TemplateStatus::Draft));
    assert_eq!(templates.hold(id()).await?, None);
    assert!(!templates.transition(next, deprecate).await?, "a draft was not offered");
    assert!(templates.publish(next, publish, &publication()).await?);
    assert!(!templates.publish(next, publish, &publication()).await?, "once");
    assert!(!templates.delete_draft(next).await?, "not a draft any more");
    assert!(!templates.transition(next, archive).await?, "not deprecated yet");
    assert!(templates.transition(next, deprecate).await?);
    assert!(templates.transition(next, archive).await?);
    let spare = draft(work.as_mut()).await?;
    assert!(work.templates().delete_draft(spare).await?);
    work.commit().await?;

    assert_eq!(read(&world, world.template).await?.status, TemplateStatus::Deprecated);
    let published = read(&world, next).await?;
    assert_eq!(published.status, TemplateStatus::Archived);
    assert_eq!(
        (published.published_by, published.published_at),
        (Some(system_actor()), Some(at(60)))
    );
    assert!(world.store.get_active_template("debian").await?.is_none());
    let latest = world.store.get_latest_template("debian").await?;
    assert_eq!(latest.map(|latest| latest.id), Some(next));
    Ok(())
}

#[tokio::test]
async fn published_content_is_never_written_over() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let draft = draft(work.as_mut()).await?;
    work.commit().await?;
    let mut work = world.begin().await?;
    for template in [draft, world.template] {
        let record = read(&world, template).await?;
        let mut other = change(&record);
        other.content_sha256 = "1".repeat(64);
        other.spec = serde_json::from_value(json!({"image_source": {"pvc": {"namespace": "a", "name": "b"}}}))?;
        let is_draft = template == draft;
        assert_eq!(work.templates().update(template, &other).await?, is_draft);
        let mut texts = if is_draft { other } else { change(&record) };
        texts.display_name = Some("New".to_owned());
        texts.description = None;
        assert!(work.templates().update(template, &texts).await?);
    }
    let archive = TemplateStatus::Active.archive()?;
    assert!(work.templates().transition(world.template, archive).await?);
    work.commit().await?;

    let draft = read(&world, draft).await?;
    assert_eq!(draft.display_name.as_deref(), Some("New"));
    assert_eq!(draft.content_sha256, "1".repeat(64));
    let archived = read(&world, world.template).await?;
    assert_eq!(archived.display_name.as_deref(), Some("New"));
    assert_eq!(archived.content_sha256, "0".repeat(64));
    let mut work = world.begin().await?;
    assert!(!work.templates().update(archived.id, &change(&archived)).await?);
    Ok(())
}

#[tokio::test]
async fn the_outcome_of_a_late_validation_is_stored_once_and_only_for_the_same_content() -> TestResult {
    let world = World::create().await?;
    let waiting = world.store.unvalidated_templates(10).await?;
    assert_eq!(waiting.iter().map(|one| one.id).collect::<Vec<_>>(), [world.template]);
    let version = read(&world, world.template).await?.row_version;
    let (same, other) = ("0".repeat(64), "1".repeat(64));
    let mut work = world.begin().await?;
    let templates = work.templates();
    assert!(!templates.record_validation(world.template, &other, true, at(1)).await?);
    assert!(templates.record_validation(world.template, &same, false, at(1)).await?);
    assert!(!templates.record_validation(world.template, &same, true, at(2)).await?);
    work.commit().await?;
    assert!(world.store.unvalidated_templates(10).await?.is_empty(), "told once");
    let refused = read(&world, world.template).await?;
    assert_eq!(
        (refused.validated_at, refused.row_version),
        (None, version),
        "nobody changed it"
    );

    let mut work = world.begin().await?;
    let mut better = template(id(), TemplateStatus::Active)?;
    better.validated_at = Some(at(5));
    work.templates().insert(&better).await?;
    work.commit().await?;
    assert_eq!(read(&world, better.id).await?.validated_at, Some(at(5)));
    Ok(())
}

#[tokio::test]
async fn however_many_publish_at_once_one_version_of_a_name_is_offered() -> TestResult {
    let world = World::create().await?;
    let step = TemplateStatus::Draft.publish()?;
    let publish = async |template: TemplateId| -> Outcome<bool> {
        let mut work = world.begin().await?;
        work.templates().lock_name("debian").await?;
        let done = work.templates().publish(template, step, &publication()).await?;
        work.commit().await?;
        Ok(done)
    };
    for _ in 0..ROUNDS {
        let mut work = world.begin().await?;
        let (one, other) = (draft(work.as_mut()).await?, draft(work.as_mut()).await?);
        work.commit().await?;
        let (first, again, second) = tokio::join!(publish(one), publish(one), publish(other));
        assert!(first? ^ again?, "a draft is published once");
        assert!(second?, "the other one is published, too");
        let statuses = [read(&world, one).await?.status, read(&world, other).await?.status];
        assert!(statuses.contains(&TemplateStatus::Active), "{statuses:?}");
        assert!(statuses.contains(&TemplateStatus::Deprecated), "{statuses:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_archived_under_a_ticket() -> TestResult {
    let world = World::create().await?;
    let archive = TemplateStatus::Active.archive()?;
    let mut outcomes = [0, 0];
    for round in 0..ROUNDS {
        let submit = async || -> Outcome<bool> {
            let mut work = world.begin().await?;
            if work.templates().hold(world.template).await? != Some(TemplateStatus::Active) {
                return Ok(false);
            }
            world.submit_create(work.as_mut()).await?;
            work.commit().await?;
            Ok(true)
        };
        let put_away = async || -> Outcome<bool> {
            let mut work = world.begin().await?;
            work.templates().lock(world.template).await?;
            if work.templates().count_references(world.template).await? > 0 {
                return Ok(false);
            }
            assert!(work.templates().transition(world.template, archive).await?);
            work.commit().await?;
            Ok(true)
        };
        let (submitted, archived) = if round % 2 == 0 {
            tokio::join!(submit(), put_away())
        } else {
            let (archived, submitted) = tokio::join!(put_away(), submit());
            (submitted, archived)
        };
        let (submitted, archived) = (submitted?, archived?);
        assert!(submitted ^ archived, "round {round}: {submitted} {archived}");
        outcomes[usize::from(archived)] += 1;
        restore(&world).await?;
    }
    assert_eq!(outcomes.iter().sum::<usize>(), ROUNDS);
    Ok(())
}

/// No ticket, and the template is offered.
async fn restore(world: &World) -> TestResult {
    use sea_orm::ConnectionTrait as _;
    let statements = "UPDATE approval_tickets SET status = 'CANCELLED', decided_at = now() WHERE status = 'PENDING_APPROVAL'; \
                      UPDATE templates SET status = 'active'";
    world.store.connection().execute_unprepared(statements).await?;
    Ok(())
}
