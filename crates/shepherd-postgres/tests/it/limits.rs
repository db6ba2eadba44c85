//! Limits of batches: what is counted, and that nobody who submits at the same time gets past them.

use chrono::TimeDelta;
use futures::future::try_join_all;
use sea_orm::ConnectionTrait as _;
use shepherd_domain::batch::BatchKind;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{EventId, TicketId, UserId};
use shepherd_domain::limit::{Exemption, Limits, Override, Standing, Submission, UserLimits};
use shepherd_domain::ticket::{RequestType, TicketStatus};
use shepherd_domain::vm::PowerAction;
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::UnitOfWork;
use shepherd_ports::batches::NewBatch;
use shepherd_ports::events::NewEvent;
use shepherd_ports::limits::{LimitQueries, NewExemption, NewOverride};
use shepherd_ports::tickets::{NewTicket, TicketContext};
use shepherd_ports::upkeep::Transient;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_user, system_actor};

const PARENTS: u32 = 3;
const CHILDREN: u32 = 30;
const GLOBAL_PARENTS: u32 = 100;
const LIMITS: Limits = Limits {
    max_global_pending_parents: GLOBAL_PARENTS,
    max_global_per_minute: u32::MAX,
    user: UserLimits {
        max_pending_parents: PARENTS,
        max_pending_children: CHILDREN,
        cooldown: TimeDelta::zero(),
    },
};
const SUBMISSIONS: usize = 200;

async fn users(world: &World, number: usize) -> Outcome<Vec<UserId>> {
    let mut work = world.begin().await?;
    let mut users = Vec::new();
    for number in 0..number {
        let user = id();
        insert_user(work.as_mut(), user, &format!("user-{number}")).await?;
        users.push(user);
    }
    work.commit().await?;
    Ok(users)
}

/// A ticket that a batch can stand on.
async fn parent(work: &mut dyn UnitOfWork, user: UserId) -> Outcome<TicketId> {
    let (ticket, event) = (id::<TicketId>(), id::<EventId>());
    let new = NewEvent {
        id: event,
        event_type: EventType::BatchCreateRequested,
        aggregate_type: AggregateType::Batch,
        aggregate_id: ticket.to_string(),
        payload: serde_json::json!({"schema": 1}),
        status: EventStatus::Pending,
        causation_id: None,
        environment: Some(Environment::Test),
        created_by: ActorId::user(user),
        at: at(0),
        trace_id: None,
        trace_parent: None,
    };
    work.events().insert(new).await?;
    let new = NewTicket {
        id: ticket,
        event_id: event,
        request_type: RequestType::BatchCreate,
        status: TicketStatus::PendingApproval,
        environment: Environment::Test,
        requester: user,
        reason: None,
        system_id: None,
        service_id: None,
        vm_id: None,
        template_id: None,
        instance_size_id: None,
        namespace: None,
        context: TicketContext::default(),
        policy: None,
        approvers: Vec::new(),
        external_system: None,
        parent: None,
        at: at(0),
    };
    work.tickets().insert(&new, &[]).await?;
    Ok(ticket)
}

async fn parents(world: &World, user: UserId, number: usize) -> Outcome<Vec<TicketId>> {
    let mut work = world.begin().await?;
    let mut tickets = Vec::new();
    for _ in 0..number {
        tickets.push(parent(work.as_mut(), user).await?);
    }
    work.commit().await?;
    Ok(tickets)
}

fn batch(ticket: TicketId, user: UserId, kind: BatchKind, children: i32) -> NewBatch {
    NewBatch {
        id: ticket,
        kind,
        power_action: None,
        environment: Environment::Test,
        child_count: children,
        request_id: None,
        request_hash: "hash".to_owned(),
        reason: None,
        created_by: user,
        at: at(1),
    }
}

/// Submits as the use case does: the lock, the count, the batch. `false` when a limit is exceeded.
async fn submit(world: &World, user: UserId, ticket: TicketId, children: i32) -> Outcome<bool> {
    let mut work = world.begin().await?;
    work.limits().lock_submissions().await?;
    let standing = work.limits().standing(user).await?;
    let submission = Submission {
        children: u32::try_from(children)?,
        this_minute: None,
    };
    if LIMITS.check(submission, &standing, at(2)).is_err() {
        return Ok(false);
    }
    let batch = batch(ticket, user, BatchKind::Create, children);
    work.batches().insert(&batch).await?;
    work.commit().await?;
    Ok(true)
}

fn accepted(outcomes: &[bool]) -> usize {
    outcomes.iter().filter(|accepted| **accepted).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_submit_at_once_no_limit_is_exceeded() -> TestResult {
    let world = World::create().await?;
    let people = users(&world, 51).await?;
    let (one, many) = people.split_first().ok_or("nobody")?;

    // Two of twelve fit below thirty, a third does not, although three batches would.
    let tickets = parents(&world, *one, SUBMISSIONS).await?;
    let outcomes = try_join_all(tickets.iter().map(|ticket| submit(&world, *one, *ticket, 12))).await?;
    assert_eq!(accepted(&outcomes), 2);
    let standing = world.store.limit_standing(*one).await?;
    assert_eq!((standing.pending_parents, standing.pending_children), (2, 24));
    assert_eq!(standing.last_accepted_at, Some(at(1)));

    // Four each: three would be accepted of everybody, were there not a limit for all together.
    let mut asked = Vec::new();
    for user in many {
        let tickets = parents(&world, *user, SUBMISSIONS / many.len()).await?;
        asked.extend(tickets.into_iter().map(|ticket| (*user, ticket)));
    }
    let outcomes = try_join_all(asked.iter().map(|(user, ticket)| submit(&world, *user, *ticket, 1))).await?;
    assert_eq!(accepted(&outcomes) + 2, usize::try_from(GLOBAL_PARENTS)?);
    for user in many {
        let standing = world.store.limit_standing(*user).await?;
        assert!(standing.pending_parents <= PARENTS, "{standing:?}");
        assert_eq!(standing.global_pending_parents, GLOBAL_PARENTS);
    }
    Ok(())
}

async fn count(world: &World, second: i64) -> Outcome<u32> {
    let mut work = world.begin().await?;
    let count = work.limits().count_submission(at(second)).await?;
    work.commit().await?;
    Ok(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_submission_of_a_minute_is_counted_once() -> TestResult {
    let world = World::create().await?;
    let mut counts = try_join_all((0..SUBMISSIONS).map(|_| count(&world, 0))).await?;
    counts.sort_unstable();
    let expected: Vec<u32> = (1..=u32::try_from(SUBMISSIONS)?).collect();
    assert_eq!(counts, expected);
    assert_eq!(count(&world, 60).await?, 1, "another minute");

    let mut work = world.begin().await?;
    let removed = work.upkeep().remove(Transient::LimitCounters, at(60), 10).await?;
    work.commit().await?;
    assert_eq!(removed, 1);
    assert_eq!(count(&world, 60).await?, 2);
    Ok(())
}

#[tokio::test]
async fn only_what_is_open_counts_and_what_is_agreed_is_told() -> TestResult {
    let world = World::create().await?;
    let user = world.requester;
    let nothing = world.store.limit_standing(user).await?;
    assert_eq!(nothing, Standing::default());

    let tickets = parents(&world, user, 3).await?;
    let mut work = world.begin().await?;
    for (ticket, kind) in tickets
        .iter()
        .zip([BatchKind::Create, BatchKind::Delete, BatchKind::Power])
    {
        let mut new = batch(*ticket, user, kind, 5);
        if kind == BatchKind::Power {
            new.power_action = Some(PowerAction::Start);
        }
        work.batches().insert(&new).await?;
    }
    work.commit().await?;
    let standing = world.store.limit_standing(user).await?;
    assert_eq!((standing.pending_parents, standing.pending_children), (3, 10));
    let done = "UPDATE batch_approval_tickets SET status = 'COMPLETED', completed_at = now(), pending_count = 0, \
                success_count = child_count WHERE batch_type = 'BATCH_CREATE'";
    world.store.connection().execute_unprepared(done).await?;
    let standing = world.store.limit_standing(user).await?;
    assert_eq!((standing.pending_parents, standing.pending_children), (2, 5));
    assert_eq!(standing.last_accepted_at, Some(at(1)));

    let numbers = Override {
        max_pending_parents: Some(9),
        max_pending_children: None,
        cooldown_seconds: Some(0),
    };
    let mut work = world.begin().await?;
    let new = NewOverride {
        user: world.approver,
        numbers,
        reason: Some("a move".to_owned()),
        updated_by: system_actor(),
    };
    let stored = work.limits().put_override(&new).await?;
    assert_eq!((stored.numbers, stored.row_version), (numbers, 1));
    assert_eq!(work.limits().override_of(world.approver).await?, Some(stored));
    work.commit().await?;
    let listed = world.store.limit_status(None, at(0)).await?;
    let names: Vec<&str> = listed.iter().map(|user| user.username.as_str()).collect();
    assert_eq!(names, ["Arno", "Rita"]);
    assert_eq!(listed[0].standing.override_numbers, Some(numbers));
    assert_eq!(listed[1].standing, standing);
    assert_eq!(world.store.limit_status(Some(user), at(0)).await?, listed[1..]);
    Ok(())
}

#[tokio::test]
async fn an_exemption_is_replaced_lifted_and_purged() -> TestResult {
    let world = World::create().await?;
    let user = world.approver;
    let exemption = |expires_at| NewExemption {
        user,
        exempted_by: system_actor(),
        reason: None,
        expires_at,
    };
    let mut work = world.begin().await?;
    let first = work.limits().exempt(&exemption(None)).await?;
    let second = work.limits().exempt(&exemption(Some(at(10)))).await?;
    work.commit().await?;
    assert_eq!((first.expires_at, second.expires_at), (None, Some(at(10))));
    assert_eq!((first.row_version, second.row_version), (1, 2));
    let standing = world.store.limit_standing(user).await?;
    let expected = Exemption {
        expires_at: Some(at(10)),
    };
    assert_eq!(standing.exemption, Some(expected));
    assert_eq!(world.store.limit_status(None, at(9)).await?.len(), 1);
    assert!(
        world.store.limit_status(None, at(10)).await?.is_empty(),
        "it has expired"
    );

    let mut work = world.begin().await?;
    let kept = work.upkeep().remove(Transient::LimitExemptions, at(10), 10).await?;
    assert_eq!(kept, 0);
    let purged = work.upkeep().remove(Transient::LimitExemptions, at(11), 10).await?;
    assert_eq!(purged, 1);
    work.limits().exempt(&exemption(None)).await?;
    assert_eq!(
        work.upkeep()
            .remove(Transient::LimitExemptions, at(1_000_000), 10)
            .await?,
        0,
        "it does not end"
    );
    assert_eq!(
        work.limits().lift_exemption(user).await?.map(|lifted| lifted.user_id),
        Some(user)
    );
    assert!(work.limits().lift_exemption(user).await?.is_none());
    work.commit().await?;

    let mut work = world.begin().await?;
    let nobody = NewExemption {
        user: id(),
        ..exemption(None)
    };
    let refused = work.limits().exempt(&nobody).await;
    assert!(refused.is_err_and(|error| error.is_foreign_key("fk_rate_limit_exemptions_user_id")));
    Ok(())
}
