//! What happens by itself: clean-ups, reminders and alerts, through the queue as in production.

use reqwest::Method;
use serde_json::json;
use shepherd_simulator::{FaultEffect, FaultRule};

use crate::client::{Caller, send};
use crate::server::{Home, PATIENCE, Replica, eventually};
use crate::world::{User, World, text};

const PERIODIC: &str = "graphile_worker.jobs WHERE task_identifier = 'periodic_job'";
const DEAD_LETTERS: &str = "graphile_worker.jobs WHERE task_identifier = 'event_job' AND attempts >= max_attempts";

/// Asks for a run of a periodic job, as the cron does, and waits until nothing periodic is left to do.
pub async fn run(home: &Home, job: &str) {
    let add = format!(
        "SELECT id::text FROM graphile_worker.add_job('periodic_job', payload => '{{\"job\": \"{job}\"}}', \
             queue_name => 'periodic:{job}', job_key => 'periodic:{job}', max_attempts => 1)"
    );
    home.texts(&add).await;
    settled(home).await;
}

async fn settled(home: &Home) {
    eventually("periodic jobs are done", PATIENCE, async || {
        (home.count(PERIODIC).await == 0).then_some(())
    })
    .await;
}

async fn notify_admin(home: &Home, title: &str, age: &str) {
    let insert = format!(
        "INSERT INTO notifications (id, user_id, type, severity, title, message, created_at) \
         SELECT gen_random_uuid(), id, 'SYSTEM_ALERT', 'info', '{title}', '', now() - interval '{age}' \
         FROM users WHERE username = 'admin' RETURNING title"
    );
    assert_eq!(home.texts(&insert).await, [title]);
}

async fn titles(home: &Home) -> Vec<String> {
    home.texts("SELECT title FROM notifications ORDER BY title").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_notifications_go_at_the_first_start_of_a_day_and_every_job_is_on_the_clock() {
    let home = Home::new().await;
    home.seed().await;
    notify_admin(&home, "old", "91 days").await;
    notify_admin(&home, "young", "89 days").await;
    let (one, other) = tokio::join!(
        Replica::start(&home, "api,worker", &[]),
        Replica::start(&home, "api,worker", &[])
    );
    settled(&home).await;
    assert_eq!(titles(&home).await, ["young"]);

    notify_admin(&home, "found by the next day", "91 days").await;
    let third = Replica::start(&home, "api,worker", &[]).await;
    settled(&home).await;
    assert_eq!(titles(&home).await, ["found by the next day", "young"]);

    every_job_is_on_the_clock(&home).await;
    what_is_no_longer_of_use_goes(&home).await;
    a_job_that_nobody_knows_is_no_dead_letter(&home, [&one, &other, &third]).await;
}

async fn every_job_is_on_the_clock(home: &Home) {
    let known = "SELECT identifier FROM graphile_worker._private_known_crontabs ORDER BY identifier";
    let expected = [
        "adoption_scan",
        "approval_reminder",
        "archive",
        "audit_purge",
        "authz_review_report",
        "binding_expiry",
        "bootstrap_expiry",
        "creation_watchdog",
        "dead_letter_cleanup",
        "exemption_purge",
        "key_reencrypt",
        "membership_expiry",
        "notification_cleanup",
        "reconciler_runs",
        "token_cleanup",
    ];
    eventually("the clock knows every job", PATIENCE, async || {
        (home.texts(known).await == expected).then_some(())
    })
    .await;
    // Each of them can be carried out, also when there is nothing to do.
    for job in expected {
        run(home, job).await;
    }
    let done = home.texts("SELECT job FROM periodic_jobs ORDER BY job").await;
    assert_eq!(done, expected);
}

async fn what_is_no_longer_of_use_goes(home: &Home) {
    let insert = "INSERT INTO user_sessions (id, user_id, issued_at, expires_at, last_seen_at, ip, user_agent, auth_method) \
        SELECT gen_random_uuid(), u.id, now() - s.age, now() - s.age, now() - s.age, '', s.name, 'password' \
        FROM users u CROSS JOIN (VALUES ('old', interval '31 days'), ('young', interval '29 days')) AS s (name, age) \
        WHERE u.username = 'admin' RETURNING user_agent";
    assert_eq!(home.texts(insert).await.len(), 2);
    let insert = "INSERT INTO login_attempts (id, subject_kind, subject, at, succeeded) \
        SELECT gen_random_uuid(), 'ip', s.name, now() - s.age, false \
        FROM (VALUES ('old', interval '2 days'), ('young', interval '23 hours')) AS s (name, age) RETURNING subject";
    assert_eq!(home.texts(insert).await.len(), 2);
    run(home, "token_cleanup").await;
    assert_eq!(home.texts("SELECT user_agent FROM user_sessions").await, ["young"]);
    assert_eq!(home.texts("SELECT subject FROM login_attempts").await, ["young"]);
}

async fn a_job_that_nobody_knows_is_no_dead_letter(home: &Home, replicas: [&Replica; 3]) {
    let add = "SELECT id::text FROM graphile_worker.add_job('periodic_job', payload => '{\"job\": \"yodel\"}', \
               max_attempts => 1)";
    home.texts(add).await;
    let failed = "graphile_worker.jobs WHERE task_identifier = 'periodic_job' AND last_error IS NOT NULL";
    eventually("the job failed", PATIENCE, async || {
        (home.count(failed).await == 1).then_some(())
    })
    .await;
    assert_eq!(home.count(DEAD_LETTERS).await, 0);
    let logs = replicas.map(Replica::log_text).concat();
    assert!(logs.contains("yodel"), "the log names the job");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_reminded_of_what_waits_and_told_of_what_failed_for_good() {
    let world = World::with("api,controllers", &[]).await;
    let ticket = world.request_vm("dev").await;
    let worker = world.start_replica("worker", &[]).await;
    approvers_are_reminded_once_a_week(&world, &ticket).await;
    own_notifications_are_read_by_oneself_only(&world).await;
    administrators_are_reviewed_once_a_quarter(&world).await;
    worker.kill().await;
    administrators_hear_of_dead_letters(&world, &ticket).await;
}

async fn approvers_are_reminded_once_a_week(world: &World, ticket: &str) {
    let reminded = "SELECT u.username || ': ' || n.severity || ', ' || (n.params ->> 'days_pending') || ' days' \
                    FROM notifications n JOIN users u ON u.id = n.user_id \
                    WHERE n.type = 'APPROVAL_PENDING' AND n.severity = 'urgent' ORDER BY n.created_at, u.username";
    run(&world.home, "approval_reminder").await;
    assert_eq!(
        world.home.texts(reminded).await,
        Vec::<String>::new(),
        "nothing waits for long"
    );
    let first = ["admin: urgent, 8 days", "bob: urgent, 8 days"];
    submitted(world, ticket, "8 days").await;
    let version = world.ticket_column(ticket, "row_version").await;
    for _ in 0..2 {
        run(&world.home, "approval_reminder").await;
        assert_eq!(world.home.texts(reminded).await, first);
    }
    let since = world.ticket_column(ticket, "row_version").await;
    assert_eq!(since, version, "a reminder does not change the ticket");
    submitted(world, ticket, "14 days").await;
    run(&world.home, "approval_reminder").await;
    assert_eq!(
        world.home.texts(reminded).await,
        [first[0], first[1], "admin: urgent, 14 days", "bob: urgent, 14 days"]
    );
    let listed = world.as_(User::Bob).get("/notifications").await.ok(200);
    let newest = &listed["items"][0];
    assert_eq!(newest["resource_type"], "approval_ticket");
    assert_eq!(text(&newest["resource_id"]), ticket);
    assert_eq!(newest["params"]["operation"], "CREATE");
    assert_eq!(newest["params"]["requester"], "alice");
}

/// Moves the submission of a ticket, and its last reminder with it, into the past.
async fn submitted(world: &World, ticket: &str, ago: &str) {
    let age = format!(
        "UPDATE approval_tickets SET created_at = now() - interval '{ago}', \
             reminded_at = reminded_at - (created_at - (now() - interval '{ago}')) \
         WHERE id = '{ticket}' RETURNING number"
    );
    assert_eq!(world.home.texts(&age).await.len(), 1);
}

async fn own_notifications_are_read_by_oneself_only(world: &World) {
    let (alice, bob) = (world.as_(User::Alice), world.as_(User::Bob));
    let unread = unread(&bob).await;
    let listed = bob.get("/notifications?unread_only=true").await.ok(200);
    assert_eq!(listed["pagination"]["total"], json!(unread));
    let id = text(&listed["items"][0]["id"]);
    let path = format!("/notifications/{id}/read");
    let refused = mark(&alice, &path).await.refused(404, "NOTIFICATION_NOT_FOUND");
    assert_eq!(refused["id"], json!(id));
    for _ in 0..2 {
        mark(&bob, &path).await.ok(204);
    }
    assert_eq!(self::unread(&bob).await, unread - 1);
    let listed = bob.get("/notifications?unread_only=true").await.ok(200);
    assert_eq!(listed["pagination"]["total"], json!(unread - 1));
    send(bob.request(Method::POST, "/notifications/mark-all-read"))
        .await
        .ok(204);
    assert_eq!(self::unread(&bob).await, 0);
    assert!(
        self::unread(&world.as_(User::Admin)).await > 0,
        "everybody reads for oneself"
    );
}

async fn mark(caller: &Caller, path: &str) -> crate::client::Reply {
    send(caller.request(Method::PATCH, path)).await
}

async fn unread(caller: &Caller) -> i64 {
    let answer = caller.get("/notifications/unread-count").await.ok(200);
    answer["count"].as_i64().expect("a number of notifications")
}

async fn administrators_hear_of_dead_letters(world: &World, ticket: &str) {
    world.approve(ticket).await;
    let failing = FaultEffect::status(500, "InternalError");
    let path = "/virtualmachines/dev-shop-web-01";
    world.test.faults().inject(FaultRule::next(1, "PATCH", path, failing));
    let once = ("QUEUE_MAX_ATTEMPTS", "1".to_owned());
    let worker = world.start_replica("worker", &[once]).await;
    world.wait_for_ticket(ticket, "FAILED").await;
    eventually("the job stays as a dead letter", PATIENCE, async || {
        (world.home.count(DEAD_LETTERS).await == 1).then_some(())
    })
    .await;
    let told = format!(
        "SELECT u.username || ': ' || n.type || ', ' || (n.params ->> 'error_code') \
         FROM notifications n JOIN users u ON u.id = n.user_id \
         WHERE n.type IN ('SYSTEM_ALERT', 'VM_STATUS_CHANGE') AND n.params ->> 'ticket_number' = \
             (SELECT number FROM approval_tickets WHERE id = '{ticket}') ORDER BY u.username"
    );
    assert_eq!(
        world.home.texts(&told).await,
        [
            "admin: SYSTEM_ALERT, VM_CREATION_FAILED",
            "alice: VM_STATUS_CHANGE, VM_CREATION_FAILED"
        ]
    );

    a_machine_that_is_gone_is_not_made_again(world, ticket).await;

    let age = "UPDATE graphile_worker._private_jobs SET updated_at = updated_at - interval '9 days', \
               run_at = run_at - interval '9 days' RETURNING id::text";
    run(&world.home, "dead_letter_cleanup").await;
    assert_eq!(
        world.home.count(DEAD_LETTERS).await,
        1,
        "it has not been there for long"
    );
    assert_eq!(world.home.texts(age).await.len(), 1);
    run(&world.home, "dead_letter_cleanup").await;
    assert_eq!(world.home.count(DEAD_LETTERS).await, 0);
    drop(worker);
}

/// As when the worker finds the row gone: the event is called off, so there is nothing to go on with.
async fn a_machine_that_is_gone_is_not_made_again(world: &World, ticket: &str) {
    let admin = world.as_(User::Admin);
    let vm = world.vm_of(ticket).await;
    let event = world.event_of(ticket).await;
    for change in [
        format!("UPDATE domain_events SET status = 'CANCELLED' WHERE id = '{event}' RETURNING id::text"),
        format!("DELETE FROM vms WHERE id = '{vm}' RETURNING id::text"),
    ] {
        assert_eq!(world.home.texts(&change).await.len(), 1, "{change}");
    }
    let letters = admin.get("/admin/dead-letters").await.ok(200);
    let job = &letters["items"][0]["job_id"];
    let retried = admin
        .post(&format!("/admin/dead-letters/{job}/retry"), &json!({}))
        .await;
    assert_eq!(retried.refused(404, "VM_NOT_FOUND"), json!({"id": vm}));
}

async fn administrators_are_reviewed_once_a_quarter(world: &World) {
    let told = "SELECT u.username || ': ' || (n.params ->> 'unreviewed') || ' of ' || (n.params ->> 'administrators') \
                FROM notifications n JOIN users u ON u.id = n.user_id WHERE n.params ->> 'code' = 'AUTHZ_REVIEW'";
    for _ in 0..2 {
        run(&world.home, "authz_review_report").await;
        assert_eq!(world.home.texts(told).await, ["admin: 0 of 1"]);
    }
}
