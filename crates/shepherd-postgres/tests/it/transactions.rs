//! The unit of work is the transaction.

use shepherd_ports::RepositoryError;
use shepherd_ports::queue::EventJob;
use shepherd_ports::systems::SystemQueries;
use shepherd_ports::tickets::TicketQueries;

use crate::TestResult;
use crate::queue::jobs;
use crate::world::{World, id, insert_system};

#[tokio::test]
async fn a_dropped_unit_of_work_leaves_nothing() -> TestResult {
    let world = World::create().await?;
    let system = id();
    let mut work = world.begin().await?;
    insert_system(work.as_mut(), system, "bank", world.requester).await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    let job = EventJob {
        event: submitted.event,
        lane: "lane".to_owned(),
        run_at: None,
    };
    work.jobs().enqueue(job).await?;
    drop(work);
    assert!(world.store.get_system(system).await?.is_none());
    assert!(world.store.get_ticket(submitted.ticket).await?.is_none());
    assert!(jobs(&world).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_equal_pending_request_is_refused_by_its_index() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    world.submit_create(work.as_mut()).await?;
    let refused = world
        .submit_create(work.as_mut())
        .await
        .err()
        .ok_or("the second one was taken")?;
    let refused = refused.downcast::<RepositoryError>()?;
    assert!(refused.is_unique("uq_ticket_pending_create"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_unit_of_work_with_a_failed_statement_does_not_pretend_to_commit() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let system = id();
    insert_system(work.as_mut(), system, "bank", world.requester).await?;
    assert!(
        insert_system(work.as_mut(), id(), "bank", world.requester)
            .await
            .is_err()
    );
    assert!(work.commit().await.is_err());
    assert!(world.store.get_system(system).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn what_others_depend_on_is_not_deleted() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let refused = work.systems().delete(world.system).await;
    assert!(
        matches!(refused, Err(RepositoryError::ForeignKey { constraint }) if constraint == "fk_services_system_id")
    );
    Ok(())
}
