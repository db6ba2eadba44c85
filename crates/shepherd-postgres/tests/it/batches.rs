//! Batches: numbers that stay right while children move on several connections, submissions that are made once, and
//! children that are written all at once and keep their order.

use futures::future::join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sea_orm::sqlx;
use serde_json::json;
use shepherd_domain::batch::{BatchKind, BatchStatus, Tally, aggregate, parent_path};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{BatchRequestId, EventId, TicketId, UserId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::ticket::{ActorKind, RequestType, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_domain::{ActorId, Environment, ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::batches::{BatchAudience, BatchFilter, BatchQueries, NewBatch, ParentMover, REQUEST_ID_GUARD};
use shepherd_ports::events::NewEvent;
use shepherd_ports::queue::EventJob;
use shepherd_ports::tickets::{NewStep, NewTicket, TicketContext, TicketQueries};
use shepherd_ports::upkeep::Archived;

use crate::TestResult;
use crate::queue::jobs;
use crate::world::{Outcome, Submitted, World, at, id};

const CHILDREN: i32 = 50;
const CONNECTIONS: usize = 8;

struct Batch {
    id: TicketId,
    number: String,
    children: Vec<Submitted>,
    ticket_numbers: Vec<String>,
}

fn event(world: &World, event_type: EventType, aggregate_type: AggregateType) -> NewEvent {
    NewEvent {
        id: id(),
        event_type,
        aggregate_type,
        aggregate_id: world.service.to_string(),
        payload: json!({"schema": 1, "note": null}),
        status: EventStatus::Pending,
        causation_id: None,
        environment: Some(Environment::Test),
        created_by: ActorId::user(world.requester),
        at: at(0),
        trace_id: Some("request-1".to_owned()),
        trace_parent: None,
    }
}

fn ticket(world: &World, event: EventId, parent: Option<(TicketId, i32)>) -> NewTicket {
    let single = parent.is_some();
    NewTicket {
        id: id(),
        event_id: event,
        request_type: if single {
            RequestType::CreateVm
        } else {
            RequestType::BatchCreate
        },
        status: TicketStatus::PendingApproval,
        environment: Environment::Test,
        requester: world.requester,
        reason: Some("a \"quoted\" reason".to_owned()),
        system_id: Some(world.system),
        service_id: single.then_some(world.service),
        vm_id: None,
        template_id: single.then_some(world.template),
        instance_size_id: single.then_some(world.size),
        namespace: single.then(|| "dev".to_owned()),
        context: TicketContext::default(),
        policy: None,
        approvers: vec!["role-approver".to_owned(), "role-\"odd\"".to_owned()],
        external_system: None,
        parent,
        at: at(0),
    }
}

fn first_steps(requester: UserId) -> [NewStep; 2] {
    let step = |from, to, kind| NewStep {
        from,
        to,
        actor: ActorId::user(requester),
        kind,
        reason: None,
    };
    let submitted = TicketStatus::Submitted;
    [
        step(None, submitted, ActorKind::User),
        step(Some(submitted), TicketStatus::PendingApproval, ActorKind::System),
    ]
}

/// Submits a batch of creations; children are handed over in the order of `sequence`.
async fn submit(
    world: &World,
    work: &mut dyn UnitOfWork,
    sequence: &[i32],
    request_id: Option<BatchRequestId>,
) -> Outcome<Batch> {
    let steps = first_steps(world.requester);
    let asked = event(world, EventType::BatchCreateRequested, AggregateType::Batch);
    let parent = ticket(world, asked.id, None);
    work.events().insert(asked).await?;
    work.tickets().insert(&parent, &steps).await?;
    let batch = NewBatch {
        id: parent.id,
        kind: BatchKind::Create,
        power_action: None,
        environment: Environment::Test,
        child_count: i32::try_from(sequence.len())?,
        request_id,
        request_hash: "hash".to_owned(),
        reason: None,
        created_by: world.requester,
        at: at(0),
    };
    let number = work.batches().insert(&batch).await?;
    let child = |sequence_no: &i32| {
        let asked = event(world, EventType::VmCreationRequested, AggregateType::Service);
        let ticket = ticket(world, asked.id, Some((parent.id, *sequence_no)));
        (asked, ticket)
    };
    let new: Vec<(NewEvent, NewTicket)> = sequence.iter().map(child).collect();
    let ticket_numbers = work.batches().insert_children(&new, &steps).await?;
    let submitted = |(event, ticket): &(NewEvent, NewTicket)| Submitted {
        event: event.id,
        ticket: ticket.id,
    };
    Ok(Batch {
        id: parent.id,
        number,
        children: new.iter().map(submitted).collect(),
        ticket_numbers,
    })
}

async fn submitted(world: &World, children: i32) -> Outcome<Batch> {
    let mut work = world.begin().await?;
    let sequence: Vec<i32> = (1..=children).collect();
    let batch = submit(world, work.as_mut(), &sequence, None).await?;
    work.commit().await?;
    Ok(batch)
}

/// Everybody's view.
fn all(world: &World) -> BatchAudience {
    BatchAudience {
        user: world.requester,
        all: true,
        approvals: EnvironmentSet::EMPTY,
    }
}

/// Moves a child as the use cases do: the batch is locked before the ticket, and counted again after it.
async fn go(world: &World, batch: TicketId, child: TicketId, step: Transition<TicketStatus>) -> TestResult {
    let mut work = world.begin().await?;
    work.batches().lock(batch).await?.ok_or("no batch")?;
    let tickets = work.tickets();
    let moved = match step.to() {
        TicketStatus::Approved if step.from() == TicketStatus::PendingApproval => {
            tickets.approve(child, step, &world.approval()).await?
        }
        TicketStatus::Failed => {
            let problem = Problem::new(ErrorCode::VmCreationFailed);
            tickets.fail(child, step, &problem, "no room").await?
        }
        TicketStatus::Rejected => {
            let approver = ActorId::user(world.approver);
            tickets.reject(child, step, &approver, "no room", at(70)).await?
        }
        TicketStatus::Submitted
        | TicketStatus::PendingApproval
        | TicketStatus::Approved
        | TicketStatus::Cancelled
        | TicketStatus::Executing
        | TicketStatus::Completed => tickets.transition(child, step, at(60)).await?,
    };
    assert!(moved, "{child} is not {}", step.from());
    let tally = work.batches().tally(batch).await?;
    let outcome = aggregate(&tally);
    let completed_at = outcome.status.is_final().then(|| at(90));
    work.batches()
        .settle(batch, &tally, outcome.status, completed_at)
        .await?;
    Ok(work.commit().await?)
}

/// Four moves of a child: one in two is carried out and stays, the others fail and are begun again.
async fn life(world: &World, batch: TicketId, number: usize, child: TicketId) -> Outcome<usize> {
    use TicketStatus::{Approved, Executing, Failed, PendingApproval};
    let mut steps = vec![PendingApproval.approve()?, Approved.start()?];
    if number.is_multiple_of(2) {
        steps.push(Executing.complete()?);
    } else {
        steps.extend([Executing.fail()?, Failed.retry(0, 3)?, Approved.start()?]);
    }
    for step in &steps {
        go(world, batch, child, *step).await?;
    }
    Ok(steps.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_a_batch_are_right_after_two_hundred_moves_at_once() -> TestResult {
    let world = World::create().await?;
    let batch = submitted(&world, CHILDREN).await?;
    // Neighbours do not start together, and what is under way at the same time depends on nothing but the connections.
    let mut order: Vec<(usize, TicketId)> = batch.children.iter().map(|child| child.ticket).enumerate().collect();
    order.sort_by_key(|(number, _)| number * 37 % batch.children.len());
    let lives = order
        .into_iter()
        .map(|(number, child)| life(&world, batch.id, number, child));
    let moves: Vec<usize> = stream::iter(lives).buffer_unordered(CONNECTIONS).try_collect().await?;
    assert_eq!(moves.iter().sum::<usize>(), 200);

    let found = world.store.get_batch(&all(&world), batch.id).await?.ok_or("no batch")?;
    let children = world.store.batch_children(batch.id).await?;
    let recount = Tally::of(children.iter().map(|child| child.status));
    assert_eq!((recount.completed, recount.executing), (CHILDREN / 2, CHILDREN / 2));
    let counters = recount.counters();
    assert_eq!(found.success_count, counters.success);
    assert_eq!(found.failed_count, counters.failed);
    assert_eq!(found.pending_count, counters.pending);
    assert_eq!(found.cancelled_count, counters.cancelled);
    assert_eq!((found.status, found.completed_at), (BatchStatus::InProgress, None));
    let mut work = world.begin().await?;
    assert_eq!(
        work.batches().tally(batch.id).await?,
        recount,
        "the store counts as the domain does"
    );
    Ok(())
}

/// Submits with a request id; `None` when that was done before.
async fn submit_once(world: &World, request: BatchRequestId) -> Outcome<Option<Batch>> {
    let mut work = world.begin().await?;
    match submit(world, work.as_mut(), &[1, 2], Some(request)).await {
        Ok(batch) => {
            work.commit().await?;
            Ok(Some(batch))
        }
        Err(error) => {
            let refused = error.downcast::<shepherd_ports::RepositoryError>()?;
            assert!(refused.is_unique(REQUEST_ID_GUARD), "{refused:?}");
            Ok(None)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_is_made_once_and_numbers_have_no_gaps() -> TestResult {
    const ROUNDS: usize = 20;
    let world = World::create().await?;
    for round in 0..ROUNDS {
        let request: BatchRequestId = id();
        let mut accepted = Vec::new();
        for outcome in join_all([0; 2].map(|_| submit_once(&world, request))).await {
            accepted.extend(outcome?);
        }
        let [batch] = accepted.as_slice() else {
            return Err(format!("round {round}: {} were accepted", accepted.len()).into());
        };
        let kind = BatchKind::Create;
        let found = world.store.batch_by_request(world.requester, kind, request).await?;
        assert_eq!(found.map(|found| found.id), Some(batch.id));
        let other = world.store.batch_by_request(world.approver, kind, request).await?;
        assert!(other.is_none(), "a request id is its user's");
    }

    let more = join_all([0; 20].map(|_| submitted(&world, 1))).await;
    let more: Vec<Batch> = more.into_iter().collect::<Outcome<_>>()?;
    let mut numbers: Vec<String> = more.into_iter().map(|batch| batch.number).collect();
    numbers.sort_unstable();
    let expected: Vec<String> = (21..=40).map(|number| format!("BAT-20251009-{number:03}")).collect();
    assert_eq!(numbers, expected, "refused submissions took no number");
    Ok(())
}

#[tokio::test]
async fn children_are_written_at_once_and_keep_their_order() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let batch = submit(&world, work.as_mut(), &[3, 1, 2], None).await?;
    let pending = work
        .batches()
        .children_in(batch.id, &[TicketStatus::PendingApproval])
        .await?;
    let order: Vec<Option<i32>> = pending.iter().map(|child| child.sequence_no).collect();
    assert_eq!(order, [Some(1), Some(2), Some(3)]);
    let numbers: Vec<&String> = pending.iter().map(|child| &child.number).collect();
    assert_eq!(numbers, batch.ticket_numbers.iter().collect::<Vec<_>>());
    assert!(batch.ticket_numbers.is_sorted(), "{:?}", batch.ticket_numbers);
    let first = pending.first().ok_or("no child")?;
    assert_eq!(first.parent_ticket_id, Some(batch.id));
    assert_eq!(first.eligible_approvers, ["role-approver", "role-\"odd\""]);
    assert_eq!(first.reason.as_deref(), Some("a \"quoted\" reason"));
    assert_eq!((first.created_at, first.template_snapshot.is_none()), (at(0), true));

    let lane = |event: EventId| EventJob {
        event,
        lane: event.to_string(),
        run_at: None,
    };
    let wanted: Vec<EventJob> = pending.iter().map(|child| lane(child.event_id)).collect();
    work.jobs().enqueue_all(&wanted).await?;
    work.jobs().enqueue_all(&wanted).await?;
    work.jobs().enqueue_all(&[]).await?;
    work.commit().await?;

    let queued: Vec<Option<String>> = jobs(&world).await?.into_iter().map(|job| job.key).collect();
    let events: Vec<Option<String>> = pending.iter().map(|child| Some(child.event_id.to_string())).collect();
    assert_eq!(queued, events, "one job for each, in their order");
    for child in &pending {
        let history = world.store.ticket_history(child.id).await?;
        let history: Vec<TicketStatus> = history.into_iter().map(|step| step.to_status).collect();
        assert_eq!(history, [TicketStatus::Submitted, TicketStatus::PendingApproval]);
        let (payload, status) = world.store.ticket_event(child.event_id).await?.ok_or("no event")?;
        assert_eq!(
            (payload, status),
            (json!({"schema": 1, "note": null}), EventStatus::Pending)
        );
    }
    is_visible(&world, &batch).await
}

/// One's own; those of environments whose approvals one views, one by one; and everybody's.
async fn is_visible(world: &World, batch: &Batch) -> TestResult {
    let page = PageRequest::new(1, 20).ok_or("a page")?;
    let audience = |user, everything, approvals| BatchAudience {
        user,
        all: everything,
        approvals,
    };
    let cases = [
        (audience(world.requester, false, EnvironmentSet::EMPTY), true, true),
        (audience(world.approver, false, EnvironmentSet::EMPTY), false, false),
        (audience(world.approver, false, EnvironmentSet::TEST), true, false),
        (audience(world.approver, true, EnvironmentSet::EMPTY), true, true),
    ];
    for (audience, one, listed) in cases {
        let by_id = world.store.get_batch(&audience, batch.id).await?;
        assert_eq!(by_id.is_some(), one, "{audience:?}");
        let by_number = world.store.batch_by_number(&audience, &batch.number).await?;
        assert_eq!(by_number.map(|found| found.id), one.then_some(batch.id), "{audience:?}");
        let list = world
            .store
            .list_batches(&audience, &BatchFilter::default(), page)
            .await?;
        assert_eq!(list.total, u64::from(listed), "{audience:?}");
    }
    let finished = BatchFilter {
        status: Some(BatchStatus::Completed),
        kind: Some(BatchKind::Create),
        include_archived: true,
    };
    let list = world.store.list_batches(&all(world), &finished, page).await?;
    assert_eq!(list.total, 0);
    Ok(())
}

/// Moves the parent to where its children want it, as the approver.
async fn settle_parent(world: &World, batch: TicketId) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let outcome = aggregate(&work.batches().tally(batch).await?);
    let parent = work.tickets().find(batch).await?.ok_or("no parent")?;
    let path = parent_path(parent.status, outcome)?;
    let mover = ParentMover::new(ActorId::user(world.approver), ActorKind::User);
    let moved = work.batches().move_parent(batch, &path, &mover, at(80)).await?;
    if let Some(gone) = path.first() {
        let again = work.batches().move_parent(batch, &[*gone], &mover, at(80)).await?;
        assert!(!again, "it is not there any more");
    }
    work.commit().await?;
    Ok(moved)
}

#[tokio::test]
async fn a_parent_gets_the_decision_of_its_children_and_leaves_the_lists_with_its_batch() -> TestResult {
    use TicketStatus::{Approved, Executing, PendingApproval};
    let world = World::create().await?;
    let (carried_out, refused) = (submitted(&world, 1).await?, submitted(&world, 2).await?);
    for step in [PendingApproval.approve()?, Approved.start()?, Executing.complete()?] {
        for child in &carried_out.children {
            go(&world, carried_out.id, child.ticket, step).await?;
        }
    }
    assert!(settle_parent(&world, carried_out.id).await?);
    let parent = world.store.get_ticket(carried_out.id).await?.ok_or("no parent")?;
    assert_eq!(parent.status, TicketStatus::Completed);
    assert_eq!(parent.approver_id, Some(ActorId::user(world.approver)));
    assert_eq!(parent.decided_at, Some(at(80)));

    let [first, second] = refused.children.as_slice() else {
        return Err("two children were expected".into());
    };
    go(&world, refused.id, first.ticket, PendingApproval.reject()?).await?;
    go(&world, refused.id, second.ticket, PendingApproval.cancel()?).await?;
    assert!(settle_parent(&world, refused.id).await?);
    let parent = world.store.get_ticket(refused.id).await?.ok_or("no parent")?;
    assert_eq!(parent.status, TicketStatus::Rejected);
    assert_eq!(parent.reject_reason.as_deref(), Some("no room"));
    assert_eq!(parent.decided_at, Some(at(70)), "when its child was rejected");

    let open = submitted(&world, 1).await?;
    for (moment, expected) in [(90, 0), (91, 2), (91, 0)] {
        let mut work = world.begin().await?;
        let archived = work
            .upkeep()
            .archive(Archived::Batches, at(moment), at(9_000), 10)
            .await?;
        work.commit().await?;
        assert_eq!(archived, expected, "before {moment}");
    }
    let page = PageRequest::new(1, 20).ok_or("a page")?;
    let left = world
        .store
        .list_batches(&all(&world), &BatchFilter::default(), page)
        .await?;
    let left: Vec<TicketId> = left.items.iter().map(|batch| batch.id).collect();
    assert_eq!(left, [open.id]);
    let pool = world.store.connection().get_postgres_connection_pool();
    let days: i64 = sqlx::query_scalar("SELECT count(*) FROM batch_day_counters")
        .fetch_one(pool)
        .await?;
    assert_eq!(days, 1);
    Ok(())
}
