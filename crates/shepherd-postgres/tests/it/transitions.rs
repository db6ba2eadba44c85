//! A change of state happens once: the second one finds that the row has moved.

use shepherd_domain::event::EventStatus;
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::vm::VmStatus;
use shepherd_domain::{ActorId, ErrorCode, Problem};
use shepherd_ports::tickets::{NewStep, TicketQueries};

use crate::TestResult;
use crate::world::{World, at, id};

#[tokio::test]
async fn the_second_approval_loses() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    let approve = TicketStatus::PendingApproval.approve()?;
    assert!(
        work.tickets()
            .approve(submitted.ticket, approve, &world.approval())
            .await?
    );
    assert!(
        !work
            .tickets()
            .approve(submitted.ticket, approve, &world.approval())
            .await?
    );
    let begin = EventStatus::Pending.begin()?;
    assert!(work.events().transition(submitted.event, begin, None, at(60)).await?);
    assert!(!work.events().transition(submitted.event, begin, None, at(60)).await?);
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn two_approvers_at_once_get_one_approval() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    work.commit().await?;
    let decide = async || -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let mut work = world.begin().await?;
        let step = TicketStatus::PendingApproval.approve()?;
        let decided = work
            .tickets()
            .approve(submitted.ticket, step, &world.approval())
            .await?;
        work.commit().await?;
        Ok(decided)
    };
    let (one, other) = tokio::join!(decide(), decide());
    assert!(one? ^ other?);
    Ok(())
}

#[tokio::test]
async fn the_life_of_an_executed_ticket_is_recorded() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    let tickets = work.tickets();
    let ticket = submitted.ticket;
    assert_eq!(tickets.count_attempt(ticket, at(61)).await?, None, "not executing yet");
    tickets
        .approve(ticket, TicketStatus::PendingApproval.approve()?, &world.approval())
        .await?;
    assert!(
        tickets
            .transition(ticket, TicketStatus::Approved.start()?, at(61))
            .await?
    );
    let step = NewStep {
        from: Some(TicketStatus::Approved),
        to: TicketStatus::Executing,
        actor: ActorId::system("worker"),
        kind: ActorKind::Worker,
        reason: None,
    };
    tickets.add_step(ticket, &step, at(61)).await?;
    assert_eq!(tickets.count_attempt(ticket, at(61)).await?, Some(1));

    let error = Problem::new(ErrorCode::ClusterUnreachable).with("cluster", "one");
    let detail = "x".repeat(600);
    assert!(tickets.postpone(ticket, &error, &detail, at(120), Some(at(61))).await?);
    let snoozed = tickets.find(ticket).await?.ok_or("no ticket")?;
    assert_eq!((snoozed.attempt_count, snoozed.unavailable_since), (0, Some(at(61))));
    assert_eq!(snoozed.last_error.map(|text| text.len()), Some(512));
    assert_eq!(tickets.count_attempt(ticket, at(120)).await?, Some(1));
    assert!(tickets.postpone(ticket, &error, "again", at(180), None).await?);
    let failed_once = tickets.find(ticket).await?.ok_or("no ticket")?;
    assert_eq!((failed_once.attempt_count, failed_once.unavailable_since), (1, None));
    assert_eq!(failed_once.next_attempt_at, Some(at(180)));
    assert!(
        tickets
            .fail(ticket, TicketStatus::Executing.fail()?, &error, "for good")
            .await?
    );
    work.commit().await?;

    let failed = world.store.get_ticket(ticket).await?.ok_or("no ticket")?;
    assert_eq!((failed.status, failed.next_attempt_at), (TicketStatus::Failed, None));
    let history = world.store.ticket_history(ticket).await?;
    assert_eq!(
        history.last().map(|step| (step.seq, step.to_status)),
        Some((3, TicketStatus::Executing))
    );
    Ok(())
}

#[tokio::test]
async fn rejection_and_cancellation_leave_their_marks() -> TestResult {
    let world = World::create().await?;
    let approver = ActorId::user(world.approver);
    let mut work = world.begin().await?;
    let rejected = world.submit_create(work.as_mut()).await?;
    let reject = TicketStatus::PendingApproval.reject()?;
    assert!(
        work.tickets()
            .reject(rejected.ticket, reject, &approver, "no", at(60))
            .await?
    );
    let cancelled = world.submit_create(work.as_mut()).await?;
    let cancel = TicketStatus::PendingApproval.cancel()?;
    assert!(work.tickets().transition(cancelled.ticket, cancel, at(60)).await?);
    assert!(
        !work
            .tickets()
            .reject(cancelled.ticket, reject, &approver, "no", at(60))
            .await?
    );
    work.commit().await?;
    let ticket = world.store.get_ticket(rejected.ticket).await?.ok_or("no ticket")?;
    assert_eq!(ticket.reject_reason.as_deref(), Some("no"));
    Ok(())
}

#[tokio::test]
async fn a_machine_moves_only_from_where_it_is() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let mut work = world.begin().await?;
    let failed = VmStatus::Creating.fail_creation()?;
    assert!(
        work.vms()
            .transition(vm, failed, Some("ErrorUnschedulable"), Some("no node"))
            .await?
    );
    assert!(!work.vms().transition(vm, failed, None, None).await?);
    assert!(
        work.vms()
            .transition(vm, VmStatus::Failed.delete(false)?, None, None)
            .await?
    );
    let deleting = work.vms().find(vm).await?.ok_or("no machine")?;
    assert_eq!(
        (deleting.status, deleting.status_reason, deleting.status_message),
        (VmStatus::Deleting, None, None)
    );
    assert!(work.vms().delete(vm).await?);
    assert!(work.services().take_instance_index(id()).await?.is_none());
    work.commit().await?;
    Ok(())
}
