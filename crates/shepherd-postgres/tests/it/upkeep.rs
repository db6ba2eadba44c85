//! What goes and what stays, and who is reminded how often.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::try_join_all;
use sea_orm::sqlx;
use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::TicketId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::tickets::TicketQueries;
use shepherd_ports::upkeep::{OverdueTicket, Transient, UpkeepQueries};
use sqlx::AssertSqlSafe;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_binding, insert_role, insert_user};

const WEEK: TimeDelta = TimeDelta::days(7);
/// What the removals are asked about.
const CUTOFF: i64 = 1_000;

async fn run(world: &World, sql: String) -> Outcome<u64> {
    let pool = world.store.connection().get_postgres_connection_pool();
    let done = sqlx::query(AssertSqlSafe(sql)).execute(pool).await?;
    Ok(done.rows_affected())
}

async fn texts(world: &World, sql: &'static str) -> Outcome<Vec<String>> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query_scalar(sql).fetch_all(pool).await?)
}

async fn remove(world: &World, what: Transient, limit: u32) -> Outcome<u64> {
    let mut work = world.begin().await?;
    let removed = work.upkeep().remove(what, at(CUTOFF), limit).await?;
    work.commit().await?;
    Ok(removed)
}

fn sql_time(seconds: i64) -> String {
    format!("'{}'", at(seconds).to_rfc3339())
}

/// Inserts a row that is too old, one at the very moment and a young one, each made by `row` from its name and time;
/// answers the names that `remaining` finds after a removal, which goes in batches of one.
async fn after_removal(
    world: &World,
    what: Transient,
    row: impl Fn(&str, &str) -> String,
    remaining: &'static str,
) -> Outcome<Vec<String>> {
    for (name, moment) in [
        ("older", CUTOFF - 2),
        ("old", CUTOFF - 1),
        ("edge", CUTOFF),
        ("young", CUTOFF + 1),
    ] {
        run(world, row(name, &sql_time(moment))).await?;
    }
    assert_eq!(
        remove(world, what, 1).await?,
        1,
        "{what:?}: a batch is no larger than asked for"
    );
    assert_eq!(remove(world, what, 100).await?, 1, "{what:?}");
    assert_eq!(remove(world, what, 100).await?, 0, "{what:?}");
    texts(world, remaining).await
}

const STAYED: [&str; 2] = ["edge", "young"];

#[tokio::test]
async fn each_kind_of_row_goes_after_its_time_and_not_a_moment_before() -> TestResult {
    let world = World::create().await?;
    let user = world.requester;
    let notification = |name: &str, moment: &str| {
        format!(
            "INSERT INTO notifications (id, user_id, type, severity, title, message, created_at) \
             VALUES (gen_random_uuid(), '{user}', 'SYSTEM_ALERT', 'info', '{name}', '', {moment})"
        )
    };
    let titles = "SELECT title FROM notifications ORDER BY created_at";
    assert_eq!(
        after_removal(&world, Transient::Notifications, notification, titles).await?,
        STAYED
    );

    let attempt = |name: &str, moment: &str| {
        format!(
            "INSERT INTO login_attempts (id, subject_kind, subject, at, succeeded) \
             VALUES (gen_random_uuid(), 'ip', '{name}', {moment}, false)"
        )
    };
    let subjects = "SELECT subject FROM login_attempts ORDER BY at";
    assert_eq!(
        after_removal(&world, Transient::LoginAttempts, attempt, subjects).await?,
        STAYED
    );

    let key = |name: &str, moment: &str| {
        format!(
            "INSERT INTO idempotency_keys (user_id, key, method, path, request_hash, expires_at) \
             VALUES ('{user}', '{name}', 'POST', '/vms', 'hash', {moment})"
        )
    };
    let keys = "SELECT key FROM idempotency_keys ORDER BY expires_at";
    assert_eq!(
        after_removal(&world, Transient::IdempotencyKeys, key, keys).await?,
        STAYED
    );

    let beat = |name: &str, moment: &str| {
        format!("INSERT INTO heartbeats (kind, instance, at) VALUES ('worker', '{name}', {moment})")
    };
    let instances = "SELECT instance FROM heartbeats ORDER BY at";
    assert_eq!(
        after_removal(&world, Transient::Heartbeats, beat, instances).await?,
        STAYED
    );

    let failure = |_: &str, moment: &str| {
        format!("INSERT INTO confirmation_failures (id, user_id, at) VALUES (gen_random_uuid(), '{user}', {moment})")
    };
    let failures = "SELECT extract(epoch FROM at - (SELECT min(at) FROM confirmation_failures))::int::text \
                    FROM confirmation_failures ORDER BY at";
    assert_eq!(
        after_removal(&world, Transient::ConfirmationFailures, failure, failures).await?,
        ["0", "1"]
    );
    Ok(())
}

#[tokio::test]
async fn a_session_ends_when_it_is_revoked_and_at_the_latest_when_it_expires() -> TestResult {
    let world = World::create().await?;
    let user = world.requester;
    for (name, expires, revoked) in [
        ("expired", CUTOFF - 1, None),
        ("revoked", CUTOFF + 50, Some(CUTOFF - 1)),
        ("revoked after its end", CUTOFF - 1, Some(CUTOFF + 50)),
        ("just expired", CUTOFF, None),
        ("just revoked", CUTOFF + 50, Some(CUTOFF)),
    ] {
        let revoked = revoked.map_or_else(|| "NULL".to_owned(), sql_time);
        let expires = sql_time(expires);
        let issued = sql_time(0);
        run(
            &world,
            format!(
                "INSERT INTO user_sessions (id, user_id, issued_at, expires_at, last_seen_at, ip, user_agent, \
                     auth_method, revoked_at) \
                 VALUES (gen_random_uuid(), '{user}', {issued}, {expires}, {issued}, '', '{name}', 'password', \
                     {revoked})"
            ),
        )
        .await?;
    }
    assert_eq!(remove(&world, Transient::Sessions, 100).await?, 3);
    // The one of the world is live.
    assert_eq!(
        texts(&world, "SELECT user_agent FROM user_sessions ORDER BY user_agent").await?,
        ["just expired", "just revoked", "test"]
    );
    Ok(())
}

#[tokio::test]
async fn only_jobs_that_were_given_up_long_ago_go() -> TestResult {
    let world = World::create().await?;
    for (key, attempts, locked, moment) in [
        ("dead", 3, false, CUTOFF - 1),
        ("just dead", 3, false, CUTOFF),
        ("waiting", 2, false, CUTOFF - 1),
        ("running its last attempt", 3, true, CUTOFF - 1),
    ] {
        let add = format!(
            "SELECT graphile_worker.add_job('event_job', payload => '{{}}', job_key => '{key}', max_attempts => 3)"
        );
        run(&world, add).await?;
        let moment = sql_time(moment);
        let locked = if locked { "now()" } else { "NULL" };
        let age = format!(
            "UPDATE graphile_worker._private_jobs SET attempts = {attempts}, locked_at = {locked}, \
                 updated_at = {moment}, run_at = {moment} WHERE key = '{key}'"
        );
        assert_eq!(run(&world, age).await?, 1);
    }
    assert_eq!(remove(&world, Transient::DeadLetters, 100).await?, 1);
    assert_eq!(
        texts(&world, "SELECT key FROM graphile_worker.jobs ORDER BY key").await?,
        ["just dead", "running its last attempt", "waiting"]
    );
    Ok(())
}

#[tokio::test]
async fn rows_that_somebody_holds_are_left_and_not_waited_for() -> TestResult {
    let world = World::create().await?;
    for name in ["held", "free"] {
        let moment = sql_time(CUTOFF - 1);
        run(
            &world,
            format!("INSERT INTO heartbeats (kind, instance, at) VALUES ('worker', '{name}', {moment})"),
        )
        .await?;
    }
    let pool = world.store.connection().get_postgres_connection_pool();
    let mut holder = pool.begin().await?;
    sqlx::query("SELECT FROM heartbeats WHERE instance = 'held' FOR UPDATE")
        .execute(&mut *holder)
        .await?;
    assert_eq!(remove(&world, Transient::Heartbeats, 100).await?, 1);
    holder.rollback().await?;
    assert_eq!(texts(&world, "SELECT instance FROM heartbeats").await?, ["held"]);
    Ok(())
}

/// Tickets that wait, one per machine.
async fn waiting(world: &World, number: usize) -> Outcome<Vec<TicketId>> {
    let mut tickets = Vec::new();
    for _ in 0..number {
        let vm = world.vm().await?;
        let mut work = world.begin().await?;
        tickets.push(world.submit_delete(work.as_mut(), vm).await?.ticket);
        work.commit().await?;
    }
    Ok(tickets)
}

fn reminder(ticket: &OverdueTicket) -> (Audience, NotificationDraft) {
    let audience = Audience::Approvers {
        environment: ticket.environment,
        except: ticket.requester_id.as_user(),
    };
    let draft = NotificationDraft::new(
        NotificationType::ApprovalPending,
        Severity::Urgent,
        &format!("{} waits", ticket.number),
        "please decide",
    );
    (audience, draft.about("approval_ticket", ticket.id))
}

/// What a run of the job does, in small batches.
async fn remind(world: &World, now: DateTime<Utc>) -> Outcome<usize> {
    let mut reminded = 0;
    loop {
        let mut work = world.begin().await?;
        let overdue = work.upkeep().claim_overdue(WEEK, now, 2).await?;
        let messages: Vec<_> = overdue.iter().map(reminder).collect();
        work.notifications().insert_many(&messages, now).await?;
        work.commit().await?;
        reminded += overdue.len();
        if overdue.is_empty() {
            return Ok(reminded);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_runs_at_once_remind_of_each_ticket_once_per_week() -> TestResult {
    const TICKETS: usize = 7;
    const TOLD: &str = "SELECT count(*) || ' of ' || count(DISTINCT resource_id) || ' to ' || \
                        count(DISTINCT user_id) FROM notifications";
    let world = World::create().await?;
    waiting(&world, TICKETS).await?;
    for (days, seconds, reminded, told) in [
        (7, -1, 0, "0 of 0 to 0"),
        (7, 0, TICKETS, "7 of 7 to 1"),
        (8, 0, 0, "7 of 7 to 1"),
        (14, -1, 0, "7 of 7 to 1"),
        // A run that comes late belongs to the week all the same, and the next week begins when it would have.
        (19, 0, TICKETS, "14 of 7 to 1"),
        (21, 0, TICKETS, "21 of 7 to 1"),
    ] {
        let now = at(0) + TimeDelta::days(days) + TimeDelta::seconds(seconds);
        let runs = try_join_all((0..8).map(|_| remind(&world, now))).await?;
        assert_eq!(runs.iter().sum::<usize>(), reminded, "day {days}: {runs:?}");
        assert_eq!(texts(&world, TOLD).await?, [told], "day {days}");
    }
    Ok(())
}

#[tokio::test]
async fn a_reminder_is_about_an_undecided_ticket_that_is_no_child_and_leaves_it_as_it_was() -> TestResult {
    let world = World::create().await?;
    let tickets = waiting(&world, 3).await?;
    let [waits, decided, child] = tickets.as_slice() else {
        return Err("three tickets were expected".into());
    };
    run(
        &world,
        format!("UPDATE approval_tickets SET status = 'CANCELLED' WHERE id = '{decided}'"),
    )
    .await?;
    run(
        &world,
        format!("UPDATE approval_tickets SET parent_ticket_id = '{waits}', sequence_no = 1 WHERE id = '{child}'"),
    )
    .await?;
    let batch = format!(
        "INSERT INTO batch_approval_tickets (id, number, batch_type, environment, child_count, pending_count, request_hash, created_by) \
         VALUES ('{waits}', next_batch_number(now()), 'BATCH_DELETE', 'test', 1, 1, 'hash', 'somebody')"
    );
    run(&world, batch).await?;
    let before = world.store.get_ticket(*waits).await?.ok_or("no ticket")?;
    let now = at(0) + TimeDelta::days(30);
    let mut work = world.begin().await?;
    let overdue = work.upkeep().claim_overdue(WEEK, now, 100).await?;
    work.commit().await?;
    let expected = OverdueTicket {
        id: *waits,
        number: before.number.clone(),
        request_type: RequestType::DeleteVm,
        environment: Environment::Test,
        requester_id: before.requester_id.clone(),
        requester_name: None,
        created_at: at(0),
    };
    assert_eq!(overdue, [expected]);
    let after = world.store.get_ticket(*waits).await?.ok_or("no ticket")?;
    assert_eq!(after.row_version, before.row_version, "the ETag of the ticket");
    Ok(())
}

#[tokio::test]
async fn a_claim_that_is_not_committed_reminds_of_nothing() -> TestResult {
    let world = World::create().await?;
    waiting(&world, 1).await?;
    let now = at(0) + WEEK;
    for _ in 0..2 {
        let mut work = world.begin().await?;
        assert_eq!(work.upkeep().claim_overdue(WEEK, now, 100).await?.len(), 1);
        drop(work);
        // The connection rolls back on its own time; until then the claim holds the row.
        run(&world, "SELECT id FROM approval_tickets FOR UPDATE".to_owned()).await?;
    }
    let centuries = TimeDelta::days(365 * 100_000);
    let mut work = world.begin().await?;
    assert!(work.upkeep().claim_overdue(centuries, now, 100).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_success_is_remembered_once_per_period_when_asked_to() -> TestResult {
    let world = World::create().await?;
    assert_eq!(world.store.last_success("report").await?, None);
    for (unless_since, moment, noted, last) in [
        (Some(0), 5, true, 5),
        (Some(5), 6, false, 5),
        (Some(0), 7, false, 5),
        (None, 8, true, 8),
        (Some(9), 10, true, 10),
    ] {
        let mut work = world.begin().await?;
        let recorded = work
            .upkeep()
            .record_success("report", unless_since.map(at), at(moment))
            .await?;
        work.commit().await?;
        assert_eq!(
            (recorded, world.store.last_success("report").await?),
            (noted, Some(at(last)))
        );
    }
    assert_eq!(world.store.last_success("other").await?, None);
    Ok(())
}

#[tokio::test]
async fn administrators_are_reviewed_when_a_binding_of_theirs_is_granted_or_changed() -> TestResult {
    let world = World::create().await?;
    let role = id();
    let mut work = world.begin().await?;
    insert_role(work.as_mut(), role, "Admin", &[Permission::PlatformAdmin]).await?;
    for name in ["Ada", "Ben", "Cleo"] {
        let user = id();
        insert_user(work.as_mut(), user, name).await?;
        insert_binding(work.as_mut(), user, role, Scope::Global, EnvironmentSet::ALL).await?;
    }
    work.commit().await?;
    run(
        &world,
        "UPDATE users SET enabled = false WHERE username = 'Cleo'".to_owned(),
    )
    .await?;
    let now = texts(&world, "SELECT to_jsonb(now()) #>> '{}'").await?;
    let now: DateTime<Utc> = now.first().ok_or("no time")?.parse()?;
    for (ago, unreviewed) in [(TimeDelta::days(-1), 2), (TimeDelta::days(1), 0)] {
        let review = world.store.review_administrators(now - ago, now).await?;
        assert_eq!((review.administrators, review.unreviewed), (2, unreviewed));
    }
    Ok(())
}
