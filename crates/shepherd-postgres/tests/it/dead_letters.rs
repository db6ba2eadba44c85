//! Jobs that were given up: which rows are such jobs, who gets one, and what comes back. What ended long ago.

use sea_orm::sqlx;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::{EventStatus, EventType};
use shepherd_domain::ids::VmId;
use shepherd_domain::page::PageRequest;
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::{ErrorCode, Problem};
use shepherd_ports::dead_letters::{DeadLetter, DeadLetterQueries, JobId};
use shepherd_ports::queue::EventJob;
use shepherd_ports::tickets::{NewStep, TicketFilter, TicketQueries};
use shepherd_ports::upkeep::{Archived, Transient};
use sqlx::AssertSqlSafe;

use crate::TestResult;
use crate::world::{Outcome, Submitted, World, at, system_actor};

const ROUNDS: usize = 100;

async fn run(world: &World, sql: String) -> Outcome<u64> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query(AssertSqlSafe(sql)).execute(pool).await?.rows_affected())
}

async fn texts(world: &World, sql: String) -> Outcome<Vec<String>> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await?)
}

async fn listed(world: &World, event_type: Option<EventType>) -> Outcome<Vec<DeadLetter>> {
    let page = PageRequest::new(1, 100).ok_or("a page")?;
    let found = world
        .store
        .list_dead_letters(EnvironmentSet::TEST, event_type, page)
        .await?;
    assert_eq!(usize::try_from(found.total)?, found.items.len());
    Ok(found.items)
}

/// A deletion that was approved, and whose job was given up after its last attempt.
async fn given_up(world: &World, vm: VmId) -> Outcome<(Submitted, JobId)> {
    let problem = Problem::new(ErrorCode::VmDeletionFailed).with("reason", "Unreachable");
    let mut work = world.begin().await?;
    let submitted = world.submit_delete(work.as_mut(), vm).await?;
    let Submitted { event, ticket } = submitted;
    let approve = TicketStatus::PendingApproval.approve()?;
    assert!(work.tickets().approve(ticket, approve, &world.approval()).await?);
    let begin = EventStatus::Pending.begin()?;
    assert!(work.events().transition(event, begin, None, at(60)).await?);
    let start = TicketStatus::Approved.start()?;
    assert!(work.tickets().transition(ticket, start, at(61)).await?);
    assert_eq!(work.tickets().count_attempt(ticket, at(61)).await?, Some(1));
    let fail = TicketStatus::Executing.fail()?;
    assert!(work.tickets().fail(ticket, fail, &problem, "no route to host").await?);
    let fail = EventStatus::Processing.fail()?;
    assert!(work.events().transition(event, fail, Some(&problem), at(62)).await?);
    enqueue(work.as_mut(), submitted).await?;
    work.commit().await?;
    let bury = format!(
        "UPDATE graphile_worker._private_jobs SET attempts = max_attempts, key = NULL, \
             last_error = 'VM_DELETION_FAILED' WHERE key = '{event}' RETURNING id::text"
    );
    let job = texts(world, bury).await?.pop().ok_or("no job")?;
    Ok((submitted, job.parse()?))
}

async fn enqueue(work: &mut dyn shepherd_ports::UnitOfWork, submitted: Submitted) -> Outcome<()> {
    let job = EventJob {
        event: submitted.event,
        lane: "lane".to_owned(),
        run_at: None,
    };
    Ok(work.jobs().enqueue(job).await?)
}

/// What a retry writes; `false` when the letter is gone.
async fn retry(world: &World, submitted: Submitted, job: JobId) -> Outcome<bool> {
    let mut work = world.begin().await?;
    if !work.dead_letters().take(job).await? {
        return Ok(false);
    }
    let step = TicketStatus::Failed.retry(0, 3)?;
    assert!(work.dead_letters().retry_ticket(submitted.ticket, step, 0).await?);
    let again = EventStatus::Failed.retry()?;
    assert!(work.events().transition(submitted.event, again, None, at(70)).await?);
    work.dead_letters().reopen(submitted.ticket).await?;
    enqueue(work.as_mut(), submitted).await?;
    work.commit().await?;
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_retries_at_once_one_wins_and_one_job_is_there() -> TestResult {
    let world = World::create().await?;
    for round in 0..ROUNDS {
        let (submitted, job) = given_up(&world, world.vm().await?).await?;
        let (one, other) = tokio::join!(retry(&world, submitted, job), retry(&world, submitted, job));
        assert!(one? ^ other?, "round {round}");
        let ticket = world.store.get_ticket(submitted.ticket).await?.ok_or("no ticket")?;
        assert_eq!(ticket.status, TicketStatus::Approved);
        assert_eq!((ticket.retry_count, ticket.attempt_count), (1, 0), "round {round}");
        assert_eq!((ticket.error_code, ticket.last_error), (None, None));
        let live = format!(
            "SELECT (attempts < max_attempts)::text FROM graphile_worker._private_jobs \
             WHERE payload ->> 'event_id' = '{}'",
            submitted.event
        );
        assert_eq!(texts(&world, live).await?, ["true"], "round {round}");
    }
    assert!(listed(&world, None).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_says_what_it_was_about_and_is_shown_where_its_ticket_is() -> TestResult {
    let world = World::create().await?;
    let (submitted, job) = given_up(&world, world.vm().await?).await?;
    let found = listed(&world, Some(EventType::VmDeletionRequested)).await?;
    let [letter] = found.as_slice() else {
        return Err("one dead letter was expected".into());
    };
    assert_eq!(letter.job_id, job);
    assert_eq!(letter.event_id, Some(submitted.event));
    assert_eq!(letter.event_type, Some(EventType::VmDeletionRequested));
    assert_eq!(letter.ticket_id, Some(submitted.ticket));
    assert_eq!(letter.ticket_status, Some(TicketStatus::Failed));
    assert_eq!((letter.attempts, letter.finalized_at), (1, at(62)));
    assert_eq!(letter.last_error.as_deref(), Some("no route to host"));
    assert!(listed(&world, Some(EventType::VmStartRequested)).await?.is_empty());
    let page = PageRequest::new(1, 20).ok_or("a page")?;
    assert_eq!(
        world
            .store
            .list_dead_letters(EnvironmentSet::EMPTY, None, page)
            .await?
            .total,
        0
    );
    assert!(world.store.get_dead_letter("999999".parse()?).await?.is_none());

    // One that names no event belongs to no environment.
    let stray = "SELECT (graphile_worker.add_job('event_job', payload => '{}', max_attempts => 3)).id::text";
    let stray: JobId = texts(&world, stray.to_owned()).await?.pop().ok_or("no job")?.parse()?;
    let bury = format!("UPDATE graphile_worker._private_jobs SET attempts = max_attempts WHERE id = {stray}");
    assert_eq!(run(&world, bury).await?, 1);
    assert_eq!(listed(&world, None).await?.len(), 1);
    let everything = world.store.list_dead_letters(EnvironmentSet::ALL, None, page).await?;
    assert_eq!(everything.total, 2);
    let stray = world.store.get_dead_letter(stray).await?.ok_or("not found")?;
    assert_eq!((stray.event_id, stray.ticket_id, stray.environment), (None, None, None));
    Ok(())
}

#[tokio::test]
async fn what_runs_or_has_a_successor_is_no_dead_letter() -> TestResult {
    let world = World::create().await?;
    let (submitted, job) = given_up(&world, world.vm().await?).await?;
    let change = async |what: &str| {
        let sql = format!("UPDATE graphile_worker._private_jobs SET {what} WHERE id = {job}");
        run(&world, sql).await
    };
    let taken = async || -> Outcome<bool> {
        // Not committed: the next look finds it again.
        let mut work = world.begin().await?;
        Ok(work.dead_letters().take(job).await?)
    };
    for (what, undo) in [
        (
            "locked_at = now(), locked_by = 'w'",
            "locked_at = NULL, locked_by = NULL",
        ),
        ("attempts = max_attempts - 1", "attempts = max_attempts"),
    ] {
        assert_eq!(change(what).await?, 1);
        assert!(listed(&world, None).await?.is_empty(), "{what}");
        assert!(!taken().await?, "{what}");
        assert_eq!(change(undo).await?, 1);
    }
    assert_eq!(listed(&world, None).await?.len(), 1);

    let mut work = world.begin().await?;
    enqueue(work.as_mut(), submitted).await?;
    work.commit().await?;
    assert!(listed(&world, None).await?.is_empty(), "its successor waits");
    assert!(!taken().await?);
    Ok(())
}

#[tokio::test]
async fn the_last_job_of_a_ticket_that_is_stuck_outlives_the_clean_up() -> TestResult {
    const DAY: i64 = 24 * 3600;
    let world = World::create().await?;
    let (submitted, job) = given_up(&world, world.vm().await?).await?;
    let becomes = async |status: &str| {
        let sql = format!(
            "UPDATE approval_tickets SET status = '{status}' WHERE id = '{}'",
            submitted.ticket
        );
        run(&world, sql).await
    };
    let clean_up = async || -> Outcome<u64> {
        let mut work = world.begin().await?;
        let removed = work.upkeep().remove(Transient::DeadLetters, at(-7 * DAY), 100).await?;
        work.commit().await?;
        Ok(removed)
    };
    let moment = at(-8 * DAY).to_rfc3339();
    let age = format!(
        "UPDATE graphile_worker._private_jobs SET updated_at = '{moment}', run_at = '{moment}' WHERE id = {job}"
    );
    assert_eq!(run(&world, age).await?, 1);
    for stuck in ["APPROVED", "EXECUTING"] {
        assert_eq!(becomes(stuck).await?, 1);
        assert_eq!(clean_up().await?, 0, "{stuck}");
        assert_eq!(listed(&world, None).await?.len(), 1, "{stuck}");
    }
    let mut work = world.begin().await?;
    enqueue(work.as_mut(), submitted).await?;
    work.commit().await?;
    assert_eq!(clean_up().await?, 1, "another job sees to the ticket");
    Ok(())
}

#[tokio::test]
async fn a_ticket_comes_back_from_where_it_was_and_not_beside_another_one_of_its_group() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let (submitted, job) = given_up(&world, vm).await?;
    let step = TicketStatus::Failed.retry(0, 3)?;
    let mut work = world.begin().await?;
    let letters = work.dead_letters();
    assert!(!letters.retry_ticket(submitted.ticket, step, 1).await?, "another count");
    assert!(!letters.forget_attempts(submitted.ticket).await?, "it is not stuck");
    drop(work);

    let mut work = world.begin().await?;
    let open = world.submit_delete(work.as_mut(), vm).await?;
    work.commit().await?;
    let mut work = world.begin().await?;
    assert!(work.dead_letters().take(job).await?);
    let refused = work.dead_letters().retry_ticket(submitted.ticket, step, 0).await;
    let Err(error) = refused else {
        return Err("another deletion of the machine is open".into());
    };
    assert!(error.is_unique("uq_ticket_active_vm_op"), "{error}");
    drop(work);
    let existing = world.store.open_vm_operation(vm, "DELETE").await?.ok_or("none")?;
    assert_eq!(existing.id, open.ticket);
    assert!(world.store.get_dead_letter(job).await?.is_some(), "it stays");
    Ok(())
}

async fn archive(world: &World, what: Archived, limit: u32) -> Outcome<u64> {
    let mut work = world.begin().await?;
    let archived = work.upkeep().archive(what, at(500), at(9_000), limit).await?;
    work.commit().await?;
    Ok(archived)
}

/// Calls off a request, which is final since then.
async fn call_off(world: &World, submitted: Submitted, moment: i64) -> Outcome<()> {
    let mut work = world.begin().await?;
    let cancel = TicketStatus::PendingApproval.cancel()?;
    assert!(work.tickets().transition(submitted.ticket, cancel, at(moment)).await?);
    let step = NewStep {
        from: Some(TicketStatus::PendingApproval),
        to: TicketStatus::Cancelled,
        actor: system_actor(),
        kind: ActorKind::User,
        reason: None,
    };
    work.tickets().add_step(submitted.ticket, &step, at(moment)).await?;
    let cancel = EventStatus::Pending.cancel()?;
    assert!(
        work.events()
            .transition(submitted.event, cancel, None, at(moment))
            .await?
    );
    Ok(work.commit().await?)
}

async fn shown(world: &World, include_archived: bool) -> Outcome<u64> {
    let filter = TicketFilter {
        include_children: true,
        include_archived,
        ..TicketFilter::default()
    };
    let page = PageRequest::new(1, 20).ok_or("a page")?;
    let found = world.store.list_tickets(EnvironmentSet::ALL, &filter, page).await?;
    Ok(found.total)
}

#[tokio::test]
async fn what_ended_long_ago_leaves_the_lists_in_batches_and_once() -> TestResult {
    let world = World::create().await?;
    let mut submitted = Vec::new();
    for _ in 0..5 {
        let vm = world.vm().await?;
        let mut work = world.begin().await?;
        submitted.push(world.submit_delete(work.as_mut(), vm).await?);
        work.commit().await?;
    }
    let &[first, second, late, parent, child] = submitted.as_slice() else {
        return Err("five requests were expected".into());
    };
    let adopt = format!(
        "UPDATE approval_tickets SET parent_ticket_id = '{}', sequence_no = 1 WHERE id = '{}'",
        parent.ticket, child.ticket
    );
    assert_eq!(run(&world, adopt).await?, 1);
    for (request, moment) in [(first, 100), (second, 499), (late, 500), (parent, 100)] {
        call_off(&world, request, moment).await?;
    }
    assert_eq!(archive(&world, Archived::Tickets, 1).await?, 1, "a batch has its size");
    assert_eq!(archive(&world, Archived::Tickets, 10).await?, 1);
    assert_eq!(archive(&world, Archived::Tickets, 10).await?, 0, "once");
    assert_eq!(shown(&world, false).await?, 3, "late, and a batch with an open child");
    assert_eq!(shown(&world, true).await?, 5, "nothing is deleted");

    call_off(&world, child, 200).await?;
    assert_eq!(archive(&world, Archived::Tickets, 10).await?, 2);
    let left = "SELECT id::text FROM approval_tickets WHERE archived_at IS NULL".to_owned();
    assert_eq!(texts(&world, left).await?, [late.ticket.to_string()]);

    // Of an event its creation counts.
    assert_eq!(archive(&world, Archived::Events, 3).await?, 3);
    assert_eq!(archive(&world, Archived::Events, 10).await?, 2);
    assert_eq!(archive(&world, Archived::Events, 10).await?, 0);
    Ok(())
}
