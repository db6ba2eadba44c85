//! Statements that meet on several connections: one of them moves the row, the others find that it has moved.

use futures::future::join_all;
use shepherd_domain::ActorId;
use shepherd_domain::event::EventStatus;
use shepherd_domain::ids::VmId;
use shepherd_domain::ticket::{ActorKind, TicketStatus};
use shepherd_domain::transition::Transition;
use shepherd_domain::vm::VmStatus;
use shepherd_ports::tickets::{NewStep, TicketQueries};
use shepherd_ports::vms::VmQueries;

use crate::TestResult;
use crate::world::{Outcome, Submitted, World, at};

const ROUNDS: usize = 500;

/// What can be decided.
#[derive(Clone, Copy, Debug)]
enum Decision {
    Approve,
    Reject,
    Cancel,
}

impl Decision {
    fn of_ticket(self) -> Outcome<Transition<TicketStatus>> {
        let from = TicketStatus::PendingApproval;
        Ok(match self {
            Self::Approve => from.approve()?,
            Self::Reject => from.reject()?,
            Self::Cancel => from.cancel()?,
        })
    }

    fn of_event(self) -> Outcome<Transition<EventStatus>> {
        let from = EventStatus::Pending;
        Ok(match self {
            Self::Approve => from.begin()?,
            Self::Reject | Self::Cancel => from.cancel()?,
        })
    }
}

/// Decides as the use cases do: ticket, event and history in one transaction. `false` when somebody was faster.
async fn decide(world: &World, submitted: Submitted, decision: Decision) -> Outcome<bool> {
    let step = decision.of_ticket()?;
    let actor = ActorId::user(world.approver);
    let mut work = world.begin().await?;
    let tickets = work.tickets();
    let moved = match decision {
        Decision::Approve => tickets.approve(submitted.ticket, step, &world.approval()).await?,
        Decision::Reject => {
            tickets
                .reject(submitted.ticket, step, &actor, "no room", at(60))
                .await?
        }
        Decision::Cancel => tickets.transition(submitted.ticket, step, at(60)).await?,
    };
    if !moved {
        return Ok(false);
    }
    let event = decision.of_event()?;
    assert!(work.events().transition(submitted.event, event, None, at(60)).await?);
    let history = NewStep {
        from: Some(step.from()),
        to: step.to(),
        actor,
        kind: ActorKind::User,
        reason: None,
    };
    work.tickets().add_step(submitted.ticket, &history, at(60)).await?;
    work.commit().await?;
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_decided_once() -> TestResult {
    let world = World::create().await?;
    let mut won = [0_usize; 3];
    for round in 0..ROUNDS {
        let mut work = world.begin().await?;
        let submitted = world.submit_create(work.as_mut()).await?;
        work.commit().await?;
        let mut decisions = [Decision::Approve, Decision::Reject, Decision::Cancel];
        decisions.rotate_left(round % 3);
        let attempts = decisions.map(|decision| decide(&world, submitted, decision));
        let outcomes: Vec<bool> = join_all(attempts).await.into_iter().collect::<Outcome<_>>()?;
        let winners = outcomes.iter().filter(|won| **won).count();
        assert_eq!(winners, 1, "round {round}: {decisions:?} {outcomes:?}");
        for (decision, won_it) in decisions.into_iter().zip(&outcomes) {
            if *won_it {
                won[decision as usize] += 1;
                is_stored(&world, submitted, decision).await?;
            }
        }
    }
    assert!(won.iter().all(|times| *times > 0), "it was no race: {won:?}");
    Ok(())
}

/// Ticket, event and history tell of one decision, the same.
async fn is_stored(world: &World, submitted: Submitted, decision: Decision) -> TestResult {
    let ticket = world.store.get_ticket(submitted.ticket).await?.ok_or("no ticket")?;
    let decided = decision.of_ticket()?.to();
    assert_eq!(ticket.status, decided);
    let history = world.store.ticket_history(submitted.ticket).await?;
    let history: Vec<TicketStatus> = history.into_iter().map(|step| step.to_status).collect();
    assert_eq!(
        history,
        [TicketStatus::Submitted, TicketStatus::PendingApproval, decided]
    );
    let (_, event) = world.store.ticket_event(submitted.event).await?.ok_or("no event")?;
    assert_eq!(event, decision.of_event()?.to());
    Ok(())
}

/// Submits a creation; `None` when the same one waits already.
async fn submit(world: &World) -> Outcome<Option<Submitted>> {
    let mut work = world.begin().await?;
    match world.submit_create(work.as_mut()).await {
        Ok(submitted) => {
            work.commit().await?;
            Ok(Some(submitted))
        }
        Err(error) => {
            let refused = error.downcast::<shepherd_ports::RepositoryError>()?;
            assert!(refused.is_unique("uq_ticket_pending_create"), "{refused:?}");
            Ok(None)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_is_requested_once() -> TestResult {
    let world = World::create().await?;
    for round in 0..ROUNDS {
        let submissions = [0; 3].map(|_| submit(&world));
        let mut accepted = Vec::new();
        for submission in join_all(submissions).await {
            accepted.extend(submission?);
        }
        let [submitted] = accepted[..] else {
            return Err(format!("round {round}: {accepted:?}").into());
        };
        assert!(decide(&world, submitted, Decision::Cancel).await?);
    }
    Ok(())
}

async fn go(world: &World, vm: VmId, way: Transition<VmStatus>) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let moved = work.vms().transition(vm, way, None, None).await?;
    work.commit().await?;
    Ok(moved)
}

/// A machine goes one way at a time: what was read before somebody else moved it moves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_machine_is_deleted_or_tried_again() -> TestResult {
    let world = World::create().await?;
    for round in 0..ROUNDS {
        let vm = world.vm().await?;
        let mut work = world.begin().await?;
        let failed = VmStatus::Creating.fail_creation()?;
        assert!(work.vms().transition(vm, failed, None, None).await?);
        work.commit().await?;
        let ways = [VmStatus::Failed.delete(false)?, VmStatus::Failed.retry_creation()?];
        let moves = ways.map(|way| go(&world, vm, way));
        let outcomes: Vec<bool> = join_all(moves).await.into_iter().collect::<Outcome<_>>()?;
        let winners: Vec<_> = ways.iter().zip(&outcomes).filter(|(_, moved)| **moved).collect();
        let [(way, _)] = winners[..] else {
            return Err(format!("round {round}: {outcomes:?}").into());
        };
        let found = world.store.get_vm(vm).await?.ok_or("no machine")?;
        assert_eq!(found.status, way.to(), "round {round}");
    }
    Ok(())
}
