//! Jobs that were given up: listed, tried again as they were approved, or dropped; and tickets that nothing could be
//! recorded about.

use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use crate::client::Reply;
use crate::server::{Home, PATIENCE, Replica, eventually};
use crate::world::{User, World, creations, text};

const LETTERS: &str = "/admin/dead-letters";

/// Makes a job of an event that looks as if its last attempt had failed; answers its number.
pub async fn bury(home: &Home, event: &str) -> String {
    let add = format!(
        "SELECT (graphile_worker.add_job('event_job', payload => json_build_object('event_id', '{event}'), \
             run_at => now() + interval '1 day', max_attempts => 3)).id::text"
    );
    let job = home.texts(&add).await.pop().unwrap();
    let give_up = format!(
        "UPDATE graphile_worker._private_jobs SET attempts = max_attempts, last_error = 'buried' \
         WHERE id = {job} RETURNING id::text"
    );
    assert_eq!(home.texts(&give_up).await, std::slice::from_ref(&job));
    job
}

/// A worker that tries everything once.
async fn hasty_worker(world: &World) -> Replica {
    world
        .start_replica("worker", &[("QUEUE_MAX_ATTEMPTS", "1".to_owned())])
        .await
}

/// The dead letter of a ticket, as soon as it is listed.
async fn letter_of(world: &World, ticket: &str) -> Value {
    let admin = world.as_(User::Admin);
    eventually("the dead letter is listed", PATIENCE, async || {
        let listed = admin.get(LETTERS).await.ok(200);
        let items = listed["items"].as_array()?;
        items.iter().find(|letter| letter["ticket_id"] == ticket).cloned()
    })
    .await
}

async fn retry(world: &World, job: &Value) -> Reply {
    let path = format!("{LETTERS}/{job}/retry");
    world.as_(User::Admin).post(&path, &json!({})).await
}

async fn discard(world: &World, job: &Value) -> Reply {
    world.as_(User::Admin).delete(&format!("{LETTERS}/{job}")).await
}

/// A creation that was approved while no worker ran.
async fn approved(world: &World) -> String {
    let ticket = world.request_vm("dev").await;
    world.approve(&ticket).await;
    ticket
}

/// The job of an approved ticket runs out of attempts without anything being recorded.
async fn run_out(world: &World, ticket: &str) {
    let event = world.event_of(ticket).await;
    let run_out = format!(
        "UPDATE graphile_worker._private_jobs SET attempts = max_attempts WHERE key = '{event}' RETURNING id::text"
    );
    assert_eq!(world.home.texts(&run_out).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_was_given_up_is_tried_again_as_it_was_approved() {
    let world = World::with("api,controllers", &[]).await;
    let ticket = approved(&world).await;
    let failing = FaultEffect::status(500, "InternalError");
    let path = "/virtualmachines/dev-shop-web-0";
    world.test.faults().inject(FaultRule::next(2, "PATCH", path, failing));
    let worker = hasty_worker(&world).await;
    world.wait_for_ticket(&ticket, "FAILED").await;
    let first = letter_of(&world, &ticket).await;
    it_says_what_happened(&world, &ticket, &first).await;
    only_managers_of_jobs_may(&world, &first).await;

    // The cluster still fails: the ticket fails once more, with a letter of its own.
    let (one, other) = tokio::join!(retry(&world, &first["job_id"]), retry(&world, &first["job_id"]));
    let mut answers = [one.status, other.status];
    answers.sort_unstable();
    assert_eq!(answers, [202, 404], "{} {}", one.text, other.text);
    eventually("the second failure is recorded", PATIENCE, async || {
        let steps = world.transitions_of(&ticket).await;
        (steps.iter().filter(|step| *step == "FAILED").count() == 2).then_some(())
    })
    .await;
    let second = letter_of(&world, &ticket).await;
    assert_ne!(second["job_id"], first["job_id"]);
    retry(&world, &first["job_id"]).await.refused(404, "JOB_NOT_FOUND");

    it_succeeds_once_the_cluster_does(&world, &ticket, &second).await;
    worker.kill().await;
    a_ticket_is_retried_three_times_at_most(&world).await;
}

async fn it_says_what_happened(world: &World, ticket: &str, letter: &Value) {
    assert_eq!(letter["event_type"], "VM_CREATION_REQUESTED");
    assert_eq!(text(&letter["event_id"]), world.event_of(ticket).await);
    assert_eq!(letter["attempts"], 1);
    assert!(letter["finalized_at"].is_string() && letter["last_error"].is_string());
    let admin = world.as_(User::Admin);
    for (filter, total) in [("VM_CREATION_REQUESTED", 1), ("VM_START_REQUESTED", 0)] {
        let listed = admin.get(&format!("{LETTERS}?event_type={filter}")).await.ok(200);
        assert_eq!(listed["pagination"]["total"], total, "{filter}");
    }
    let unknown = admin.get(&format!("{LETTERS}?event_type=YODEL")).await;
    unknown.refused(400, "VALIDATION_FAILED");
}

async fn only_managers_of_jobs_may(world: &World, letter: &Value) {
    let job = &letter["job_id"];
    for user in [User::Alice, User::Bob] {
        let caller = world.as_(user);
        for reply in [
            caller.get(LETTERS).await,
            caller.post(&format!("{LETTERS}/{job}/retry"), &json!({})).await,
            caller.delete(&format!("{LETTERS}/{job}")).await,
        ] {
            let refused = reply.refused(403, "FORBIDDEN");
            assert_eq!(refused["required_permission"], "job:manage");
        }
    }
}

async fn it_succeeds_once_the_cluster_does(world: &World, ticket: &str, letter: &Value) {
    let vm = world.vm_of(ticket).await;
    let named = "SELECT name || ' ' || instance FROM vms";
    let before = world.home.texts(named).await;
    let decided = world.ticket_column(ticket, "decided_at").await;
    let reply = retry(world, &letter["job_id"]).await;
    let event = format!("/api/v1/events/{}", world.event_of(ticket).await);
    assert_eq!(reply.header("location"), event);
    let accepted = reply.ok(202);
    assert_eq!(
        (&accepted["ticket_id"], &accepted["status"]),
        (&json!(ticket), &json!("PROCESSING"))
    );

    world.wait_for_ticket(ticket, "COMPLETED").await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    assert_eq!(world.home.texts(named).await, before, "the same name and number");
    assert_eq!(world.vm_of(ticket).await, vm, "the same row");
    let made = creations(&world.test, "dev");
    assert!(made.len() == 1 && made.values().all(|times| *times == 1), "{made:?}");
    assert_eq!(world.ticket_column(ticket, "retry_count").await, "2");
    assert_eq!(world.ticket_column(ticket, "attempt_count").await, "1");
    assert_eq!(world.ticket_column(ticket, "decided_at").await, decided);
    assert_eq!(world.ticket_column(ticket, "approver_id").await, world.id(User::Bob));
    assert_eq!(world.event_status_of(ticket).await, "COMPLETED");
    let again = ["APPROVED", "EXECUTING", "FAILED"];
    let done = ["APPROVED", "EXECUTING", "COMPLETED"];
    let steps = [&["SUBMITTED", "PENDING_APPROVAL"][..], &again, &again, &done].concat();
    assert_eq!(world.transitions_of(ticket).await, steps);
    let retried = format!(
        "SELECT performed_by || ' ' || outcome FROM audit_logs WHERE action = 'job.retry' AND ticket_id = '{ticket}'"
    );
    let by = format!("{} success", world.id(User::Admin));
    assert_eq!(world.home.texts(&retried).await, [by.clone(), by]);
}

async fn a_ticket_is_retried_three_times_at_most(world: &World) {
    let ticket = approved(world).await;
    let failing = FaultEffect::status(500, "InternalError");
    let path = "/virtualmachines/dev-shop-web-0";
    world.test.faults().inject(FaultRule::next(1, "PATCH", path, failing));
    let _worker = hasty_worker(world).await;
    world.wait_for_ticket(&ticket, "FAILED").await;
    let letter = letter_of(world, &ticket).await;
    let spent = format!("UPDATE approval_tickets SET retry_count = 3 WHERE id = '{ticket}' RETURNING number");
    world.home.texts(&spent).await;
    let refused = retry(world, &letter["job_id"])
        .await
        .refused(409, "RETRY_LIMIT_REACHED");
    assert_eq!(refused, json!({"retry_count": 3, "max": 3}));

    discard(world, &letter["job_id"]).await.ok(204);
    discard(world, &letter["job_id"]).await.refused(404, "JOB_NOT_FOUND");
    assert_eq!(world.ticket_column(&ticket, "status").await, "FAILED");
    let listed = world.as_(User::Admin).get(LETTERS).await.ok(200);
    assert_eq!(listed["pagination"]["total"], 0);
    let dropped = format!("audit_logs WHERE action = 'job.discard' AND ticket_id = '{ticket}'");
    assert_eq!(world.home.count(&dropped).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_never_stuck_for_ever() {
    let world = World::with("api,controllers", &[]).await;
    let worker = hasty_worker(&world).await;
    let vm = what_cannot_be_recorded_is_not_done_again_and_again(&world).await;
    let stop = a_stop_that_was_given_up(&world, &vm).await;
    worker.kill().await;
    another_open_request_is_in_the_way(&world, &vm, &stop).await;
    a_stuck_ticket_fails_with_its_job(&world).await;
    a_stuck_ticket_gets_another_job(&world).await;
}

/// Neither success nor failure can be recorded as they should be: the ticket fails all the same, and the cluster was
/// asked once. When the reason is gone, a retry finds its object and is done. Answers the machine.
async fn what_cannot_be_recorded_is_not_done_again_and_again(world: &World) -> String {
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                  $$ BEGIN RAISE EXCEPTION 'not this one'; END $$";
    world.home.texts(refuse).await;
    let guard = "CREATE TRIGGER refuse BEFORE INSERT ON audit_logs FOR EACH ROW \
                 WHEN (NEW.action IN ('vm.create', 'vm.create_failed')) EXECUTE FUNCTION refuse()";
    world.home.texts(guard).await;
    let ticket = approved(world).await;
    world.wait_for_ticket(&ticket, "FAILED").await;
    assert_eq!(world.ticket_column(&ticket, "error_code").await, "INTERNAL_ERROR");
    assert_eq!(world.ticket_column(&ticket, "attempt_count").await, "1");
    assert_eq!(world.event_status_of(&ticket).await, "FAILED");
    // The namespace was made before anything was refused; of the machine the least that is needed is recorded.
    let facts = ["NAMESPACE_CREATED COMPLETED"];
    assert_eq!(world.facts_of(&ticket).await, facts);
    let letter = letter_of(world, &ticket).await;

    world.home.texts("DROP TRIGGER refuse ON audit_logs").await;
    retry(world, &letter["job_id"]).await.ok(202);
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    let facts = ["NAMESPACE_CREATED COMPLETED", "VM_CREATION_COMPLETED COMPLETED"];
    assert_eq!(world.facts_of(&ticket).await, facts);
    let made = creations(&world.test, "dev");
    assert!(made.len() == 1 && made.values().all(|times| *times == 1), "{made:?}");
    let vm = world.vm_of(&ticket).await;
    world.wait_for_vm_status(&vm, "RUNNING").await;
    vm
}

/// Answers its dead letter.
async fn a_stop_that_was_given_up(world: &World, vm: &str) -> Value {
    let failing = FaultEffect::status(500, "InternalError");
    let stop = FaultRule::next(1, "PUT", "/stop", failing);
    world.test.faults().inject(stop);
    let ticket = world.operate(&format!("/vms/{vm}/stop"), &json!({})).await;
    world.wait_for_ticket(&ticket, "FAILED").await;
    letter_of(world, &ticket).await
}

async fn another_open_request_is_in_the_way(world: &World, vm: &str, letter: &Value) {
    let open = world.operate(&format!("/vms/{vm}/stop"), &json!({})).await;
    let refused = retry(world, &letter["job_id"])
        .await
        .refused(409, "DUPLICATE_PENDING_REQUEST");
    assert_eq!(text(&refused["existing_ticket_id"]), open);
    assert_eq!(refused["operation"], "STOP");
    assert_eq!(text(&refused["resource_id"]), vm);
    let failed = text(&letter["ticket_id"]);
    assert_eq!(letter_of(world, &failed).await["job_id"], letter["job_id"], "it stays");
    assert_eq!(world.ticket_column(&failed, "retry_count").await, "0");
}

async fn a_stuck_ticket_fails_with_its_job(world: &World) {
    let ticket = approved(world).await;
    run_out(world, &ticket).await;
    let letter = letter_of(world, &ticket).await;
    discard(world, &letter["job_id"]).await.ok(204);
    let shown = world
        .as_(User::Alice)
        .get(&format!("/approvals/{ticket}"))
        .await
        .ok(200);
    assert_eq!(
        (&shown["status"], &shown["error_code"]),
        (&json!("FAILED"), &json!("INTERNAL_ERROR"))
    );
    assert_eq!(world.event_status_of(&ticket).await, "FAILED");
    assert_eq!(world.facts_of(&ticket).await, ["VM_CREATION_FAILED COMPLETED"]);
    let steps = ["SUBMITTED", "PENDING_APPROVAL", "APPROVED", "FAILED"];
    assert_eq!(world.transitions_of(&ticket).await, steps);
    let audited = ["vm.request", "approval.approve", "vm.create_failed", "job.discard"];
    assert_eq!(world.audit_of(&ticket).await, audited);
    let vm = world.vm_of(&ticket).await;
    world.wait_for_vm_status(&vm, "FAILED").await;
    let told = format!("notifications WHERE type = 'VM_STATUS_CHANGE' AND resource_id = '{vm}'");
    assert_eq!(world.home.count(&told).await, 1);
}

async fn a_stuck_ticket_gets_another_job(world: &World) {
    let ticket = approved(world).await;
    run_out(world, &ticket).await;
    let letter = letter_of(world, &ticket).await;
    retry(world, &letter["job_id"]).await.ok(202);
    assert_eq!(world.ticket_column(&ticket, "retry_count").await, "0");
    let worker = hasty_worker(world).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    drop(worker);
}
