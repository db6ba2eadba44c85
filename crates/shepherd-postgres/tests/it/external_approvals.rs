//! Tickets that were handed to external systems: claimed once, and whoever ends a submission first wins.

use shepherd_domain::external_approval::{Answer, Meaning, StatusMapping, SubmissionState, SystemType, Verdict};
use shepherd_domain::ids::{ExternalSystemId, TicketId};
use shepherd_domain::page::PageRequest;
use shepherd_ports::audit_webhooks::SealedHeaders;
use shepherd_ports::crypto::Sealed;
use shepherd_ports::external_approvals::{
    ExternalApprovalQueries as _, ExternalSystemPatch, FailedAttempt, NewExternalSystem, SubmissionRecord,
};
use shepherd_ports::systems::Changed;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor};

const PLENTY: i64 = 100;

fn sealed(byte: u8, key: &str) -> Sealed {
    Sealed {
        bytes: vec![byte],
        key_id: key.to_owned(),
    }
}

fn system(name: &str) -> Outcome<NewExternalSystem> {
    Ok(NewExternalSystem {
        id: id(),
        name: name.to_owned(),
        system_type: SystemType::Webhook,
        webhook_url: "https://board.example.org/tickets".to_owned(),
        secret: sealed(1, "k-secret"),
        headers: Some(SealedHeaders {
            names: vec!["X-Key".to_owned()],
            values: sealed(2, "k-headers"),
        }),
        status_mapping: StatusMapping::new([("Done".to_owned(), Meaning::Approved)])?,
        timeout_seconds: 30,
        retry_count: 3,
        poll_interval_seconds: 60,
        enabled: true,
        created_by: system_actor(),
    })
}

async fn inserted(world: &World, system: &NewExternalSystem) -> TestResult {
    let mut work = world.begin().await?;
    work.external_approvals().insert(system).await?;
    Ok(work.commit().await?)
}

/// A ticket that was handed to a system and is due.
async fn handed_over(world: &World, system: ExternalSystemId) -> Outcome<SubmissionRecord> {
    let mut work = world.begin().await?;
    let ticket = world.submit_create(work.as_mut()).await?.ticket;
    assert!(work.external_approvals().queue(ticket, system, at(0)).await?);
    assert!(!work.external_approvals().queue(ticket, system, at(0)).await?, "once");
    work.commit().await?;
    of(world, ticket).await
}

async fn of(world: &World, ticket: TicketId) -> Outcome<SubmissionRecord> {
    Ok(world.store.submission_of(ticket).await?.ok_or("it should be there")?)
}

async fn claimed(world: &World, submission: &SubmissionRecord) -> Outcome<Option<SubmissionRecord>> {
    let mut work = world.begin().await?;
    let claimed = work.external_approvals().claim(submission, at(1), at(60)).await?;
    work.commit().await?;
    Ok(claimed)
}

fn verdict() -> Verdict {
    Verdict {
        answer: Answer::Rejected,
        approver: Some("dora".to_owned()),
        comment: None,
        decided_at: None,
    }
}

#[tokio::test]
async fn what_is_due_is_claimed_once_and_written_by_whoever_claimed_it() -> TestResult {
    let world = World::create().await?;
    let board = system("board")?;
    inserted(&world, &board).await?;
    let submission = handed_over(&world, board.id).await?;
    assert!(world.store.due_submissions(at(-1), PLENTY).await?.is_empty());
    assert_eq!(world.store.due_submissions(at(1), PLENTY).await?.len(), 1);

    let claim = claimed(&world, &submission).await?.ok_or("it was due")?;
    assert!(claimed(&world, &submission).await?.is_none(), "somebody else has it");
    assert!(world.store.due_submissions(at(1), PLENTY).await?.is_empty());
    let failure = FailedAttempt {
        error: "no answer",
        counts: true,
        next_attempt_at: Some(at(2)),
    };
    let mut work = world.begin().await?;
    assert!(
        !work.external_approvals().failed(&submission, failure).await?,
        "not claimed"
    );
    assert!(work.external_approvals().failed(&claim, failure).await?);
    work.commit().await?;
    let again = of(&world, submission.ticket_id).await?;
    assert_eq!((again.attempts, again.last_error.as_deref()), (1, Some("no answer")));

    let step = again.state.submit()?;
    let mut work = world.begin().await?;
    let taken = work
        .external_approvals()
        .submitted(&again, step, "CHG-1", at(9))
        .await?;
    assert!(taken);
    work.commit().await?;
    let there = of(&world, submission.ticket_id).await?;
    assert_eq!((there.state, there.attempts), (SubmissionState::Submitted, 0));
    assert_eq!(there.external_id.as_deref(), Some("CHG-1"));
    Ok(())
}

#[tokio::test]
async fn a_submission_ends_once() -> TestResult {
    let world = World::create().await?;
    let board = system("board")?;
    inserted(&world, &board).await?;
    let submission = handed_over(&world, board.id).await?;
    let claim = claimed(&world, &submission).await?.ok_or("it was due")?;

    let mut work = world.begin().await?;
    assert!(work.external_approvals().cancel(submission.ticket_id).await?);
    assert!(
        !work.external_approvals().cancel(submission.ticket_id).await?,
        "it has ended"
    );
    let decide = claim.state.decide(Answer::Rejected)?;
    let decided = work
        .external_approvals()
        .decide(claim.id, decide, &verdict(), at(2))
        .await?;
    let fell_back = work
        .external_approvals()
        .fall_back(claim.id, claim.state.fall_back()?, "gone", at(2))
        .await?;
    assert!(!decided && !fell_back);
    let submitted = work
        .external_approvals()
        .submitted(&claim, claim.state.submit()?, "CHG-1", at(9))
        .await?;
    assert!(!submitted, "it was cancelled under way");
    work.commit().await?;
    let told_at = of(&world, submission.ticket_id).await?.next_attempt_at;
    assert!(told_at.is_some_and(|told_at| told_at >= at(60)), "it may have arrived");

    let mut work = world.begin().await?;
    assert!(
        work.external_approvals()
            .submitted_late(claim.id, "CHG-1", at(2))
            .await?
    );
    work.commit().await?;
    let due = world.store.due_submissions(at(3), PLENTY).await?;
    let states: Vec<SubmissionState> = due.iter().map(|submission| submission.state).collect();
    assert_eq!(states, [SubmissionState::Cancelled], "the system hears of it now");
    Ok(())
}

#[tokio::test]
async fn a_cancellation_is_told_to_whoever_may_have_the_ticket() -> TestResult {
    let world = World::create().await?;
    let board = system("board")?;
    inserted(&world, &board).await?;
    for offered in [false, true] {
        let vm = world.vm().await?;
        let mut work = world.begin().await?;
        let ticket = world.submit_delete(work.as_mut(), vm).await?.ticket;
        assert!(work.external_approvals().queue(ticket, board.id, at(0)).await?);
        work.commit().await?;
        if offered {
            let claim = claimed(&world, &of(&world, ticket).await?).await?.ok_or("it was due")?;
            let timeout = FailedAttempt {
                error: "no answer",
                counts: true,
                next_attempt_at: Some(at(2)),
            };
            let mut work = world.begin().await?;
            assert!(work.external_approvals().failed(&claim, timeout).await?);
            work.commit().await?;
        }
        let mut work = world.begin().await?;
        assert!(work.external_approvals().cancel(ticket).await?);
        work.commit().await?;
        let cancelled = of(&world, ticket).await?;
        assert_eq!(cancelled.state, SubmissionState::Cancelled);
        assert_eq!((cancelled.external_id, cancelled.attempts), (None, 0));
        assert_eq!(cancelled.next_attempt_at.is_some(), offered);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_left_of_a_system_that_is_disabled_or_gone_is_found() -> TestResult {
    let world = World::create().await?;
    let board = system("board")?;
    inserted(&world, &board).await?;
    handed_over(&world, board.id).await?;
    assert!(world.store.abandoned_submissions(PLENTY).await?.is_empty());
    let disable = ExternalSystemPatch {
        enabled: Some(false),
        headers: Some(None),
        ..ExternalSystemPatch::default()
    };
    let mut work = world.begin().await?;
    let changed = work.external_approvals().update(board.id, &disable, Some(1)).await?;
    assert_eq!(changed, Changed::Yes);
    work.commit().await?;
    assert_eq!(world.store.abandoned_submissions(PLENTY).await?.len(), 1);
    let page = PageRequest::new(1, 20).ok_or("a page")?;
    let listed = world.store.list_external_systems(page).await?;
    assert!(
        listed
            .items
            .iter()
            .all(|system| system.header_names.is_empty() && !system.enabled)
    );
    assert_eq!(listed.items[0].status_mapping.meaning("done"), Some(Meaning::Approved));
    let kept = world
        .store
        .sealed_external_system(board.id)
        .await?
        .ok_or("it is there")?;
    assert_eq!((kept.secret, kept.headers), (vec![1], None));

    let mut work = world.begin().await?;
    assert_eq!(work.external_approvals().count_references(board.id).await?, 0);
    assert!(work.external_approvals().hold(board.id).await?.is_some());
    assert!(work.external_approvals().delete(board.id).await?);
    work.commit().await?;
    assert_eq!(
        world.store.abandoned_submissions(PLENTY).await?.len(),
        1,
        "it outlives the system"
    );
    assert!(!world.store.decided_elsewhere().await?);
    let mut work = world.begin().await?;
    assert_eq!(work.external_approvals().cancel_decided().await?, 0);
    Ok(())
}
