//! Decisions about a batch and about single children of it, retries and withdrawals, and whose business they are.

use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use super::{
    BATCHES, NOTHING, POWER, about, counters, creation, everything_adds_up, generous, of_children, shown, submit,
    wait_for_batch,
};
use crate::client::Reply;
use crate::power::APPROVED_BY_POLICY;
use crate::server::ALL_ROLES;
use crate::world::{CARRIED_OUT, User, World, text};

const BULK: &str = "/admin/approvals/bulk-approve";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_what_its_children_make_of_it() {
    let mut env = generous();
    env.push(("QUEUE_MAX_ATTEMPTS", "1".to_owned()));
    let world = World::with(ALL_ROLES, &env).await;
    let made = one_child_is_rejected_and_the_rest_approved(&world).await;
    children_are_decided_one_by_one(&world).await;
    a_rejected_parent_takes_its_children_along(&world).await;
    the_last_decision_about_a_child_ends_the_batch(&world).await;
    what_waits_is_withdrawn(&world).await;
    a_batch_is_the_business_of_its_creator(&world, &made).await;
    what_failed_is_tried_again(&world, &made.machines).await;
    but_three_times_at_most(&world, &made.machines).await;
    everything_adds_up(&world).await;
    many_are_approved_at_once(&world).await;
    everything_adds_up(&world).await;
}

async fn created(world: &World, count: usize) -> (String, Vec<String>) {
    let batch = submit(&world.as_(User::Alice), BATCHES, &creation(world, count)).await;
    let tickets = of_children(&shown(world, &batch).await, "ticket_id");
    assert_eq!(tickets.len(), count);
    (batch, tickets)
}

async fn decide(world: &World, ticket: &str, decision: &str) -> Reply {
    let path = format!("/approvals/{ticket}/{decision}");
    let body = match decision {
        "reject" => json!({"reason": "too many"}),
        _ => json!({}),
    };
    world.as_(User::Bob).post(&path, &body).await
}

/// Retries or cancels a batch; answers its status and which children that was done to.
async fn change(world: &World, batch: &str, what: &str, body: Value) -> (String, Vec<String>) {
    let path = format!("{BATCHES}/{batch}/{what}");
    let answer = world.as_(User::Alice).post(&path, &body).await.ok(200);
    assert_eq!(answer["batch_id"], json!(batch));
    let affected: Vec<String> = answer["affected_ticket_ids"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    assert_eq!(answer["affected_count"], json!(affected.len()));
    (text(&answer["status"]), affected)
}

/// A batch that was carried out in part, and its machines.
struct Made {
    batch: String,
    number: String,
    machines: Vec<Machine>,
}

struct Machine {
    id: String,
    name: String,
}

async fn one_child_is_rejected_and_the_rest_approved(world: &World) -> Made {
    let (batch, tickets) = created(world, 3).await;
    decide(world, &tickets[1], "reject").await.ok(204);
    let seen = shown(world, &batch).await;
    assert_eq!(seen["status"], "PENDING_APPROVAL");
    assert_eq!(counters(&seen), [0, 1, 2, 1, 0]);
    everything_adds_up(world).await;

    world.approve(&batch).await;
    let seen = wait_for_batch(world, &batch, "PARTIAL_SUCCESS").await;
    assert_eq!(counters(&seen), [2, 1, 0, 1, 0]);
    assert_eq!(of_children(&seen, "status"), ["COMPLETED", "REJECTED", "COMPLETED"]);
    assert_eq!(seen["children"][1]["reject_reason"], "too many");
    assert_eq!(world.transitions_of(&batch).await, CARRIED_OUT);
    let facts = [
        "BATCH_CREATE_COMPLETED COMPLETED",
        "VM_CREATION_REQUESTED COMPLETED",
        "VM_CREATION_REQUESTED CANCELLED",
        "VM_CREATION_REQUESTED COMPLETED",
    ];
    let mut found = world.facts_of(&batch).await;
    let mut facts: Vec<String> = facts.map(str::to_owned).into();
    facts.sort();
    found.sort();
    assert_eq!(found, facts);
    let nothing = ("PARTIAL_SUCCESS".to_owned(), Vec::new());
    assert_eq!(
        change(world, &batch, "retry", json!({})).await,
        nothing,
        "what was rejected stays so"
    );
    let ids = of_children(&seen, "resource_id");
    let names = of_children(&seen, "resource_name");
    let mut machines = Vec::new();
    for child in [0, 2] {
        world.wait_for_vm_status(&ids[child], "RUNNING").await;
        machines.push(Machine {
            id: ids[child].clone(),
            name: names[child].clone(),
        });
    }
    Made {
        number: text(&seen["batch_number"]),
        batch,
        machines,
    }
}

async fn children_are_decided_one_by_one(world: &World) {
    let (batch, tickets) = created(world, 3).await;
    decide(world, &tickets[0], "approve").await.ok(204);
    let seen = shown(world, &batch).await;
    assert_eq!(seen["status"], "IN_PROGRESS");
    for decision in ["approve", "reject"] {
        let late = decide(world, &batch, decision).await;
        late.refused(409, "TICKET_NOT_PENDING");
    }
    decide(world, &tickets[1], "approve").await.ok(204);
    decide(world, &tickets[1], "reject")
        .await
        .refused(409, "TICKET_NOT_PENDING");
    let (_, affected) = change(world, &batch, "cancel", json!({})).await;
    assert_eq!(affected, tickets[2..], "what is approved goes on");
    let seen = wait_for_batch(world, &batch, "PARTIAL_SUCCESS").await;
    assert_eq!(counters(&seen), [2, 0, 0, 0, 1]);
    assert_eq!(world.transitions_of(&batch).await, CARRIED_OUT);
    assert_eq!(settlements(world, &batch).await, 1);
}

/// Notifications about the end of a batch.
async fn settlements(world: &World, batch: &str) -> i64 {
    let told = format!("notifications WHERE resource_type = 'batch' AND resource_id = '{batch}'");
    world.home.count(&told).await
}

async fn a_rejected_parent_takes_its_children_along(world: &World) {
    let (batch, tickets) = created(world, 3).await;
    decide(world, &batch, "reject").await.ok(204);
    let seen = shown(world, &batch).await;
    assert_eq!(seen["status"], "FAILED");
    assert_eq!(counters(&seen), [0, 3, 0, 3, 0]);
    assert!(seen["completed_at"].is_string(), "{seen}");
    let rejected = ["SUBMITTED", "PENDING_APPROVAL", "REJECTED"];
    for ticket in [&batch, &tickets[0], &tickets[1], &tickets[2]] {
        assert_eq!(world.transitions_of(ticket).await, rejected);
        assert_eq!(world.event_status_of(ticket).await, "CANCELLED");
    }
    let told = format!(
        "notifications WHERE type = 'APPROVAL_REJECTED' AND resource_id IN ('{batch}', '{}', '{}', '{}')",
        tickets[0], tickets[1], tickets[2]
    );
    assert_eq!(world.home.count(&told).await, 1, "she hears of it once");
    decide(world, &tickets[0], "approve")
        .await
        .refused(409, "TICKET_NOT_PENDING");
    for what in ["retry", "cancel"] {
        let nothing = ("FAILED".to_owned(), Vec::new());
        assert_eq!(change(world, &batch, what, json!({})).await, nothing, "{what}");
    }
}

async fn the_last_decision_about_a_child_ends_the_batch(world: &World) {
    let (batch, tickets) = created(world, 2).await;
    decide(world, &tickets[0], "reject").await.ok(204);
    assert_eq!(shown(world, &batch).await["status"], "PENDING_APPROVAL");
    decide(world, &tickets[1], "reject").await.ok(204);
    assert_eq!(shown(world, &batch).await["status"], "FAILED");
    assert_eq!(world.ticket_column(&batch, "status").await, "REJECTED");
    assert_eq!(settlements(world, &batch).await, 1);
}

async fn what_waits_is_withdrawn(world: &World) {
    let (batch, tickets) = created(world, 3).await;
    let some = json!({"ticket_ids": tickets[..2]});
    let first = ("PENDING_APPROVAL".to_owned(), tickets[..2].to_vec());
    assert_eq!(change(world, &batch, "cancel", some.clone()).await, first);
    let again = ("PENDING_APPROVAL".to_owned(), Vec::new());
    assert_eq!(change(world, &batch, "cancel", some).await, again);
    let last = ("CANCELLED".to_owned(), tickets[2..].to_vec());
    assert_eq!(change(world, &batch, "cancel", json!({})).await, last);
    assert_eq!(counters(&shown(world, &batch).await), [0, 0, 0, 0, 3]);
    let audited = world.audit_of(&batch).await;
    assert_eq!(audited, ["vm.batch.submit", "vm.batch.cancel", "vm.batch.cancel"]);

    let (other, children) = created(world, 2).await;
    let strangers = json!({"ticket_ids": [children[0], tickets[0]]});
    for what in ["cancel", "retry"] {
        let path = format!("{BATCHES}/{other}/{what}");
        let reply = world.as_(User::Alice).post(&path, &strangers).await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "VALIDATION_FAILED"),
            "{}",
            reply.text
        );
        let finding = &reply.body["field_errors"][0];
        assert_eq!([&finding["field"], &finding["code"]], ["ticket_ids[1]", "NOT_FOUND"]);
    }
    let path = format!("/approvals/{other}/cancel");
    world.as_(User::Alice).post(&path, &json!({})).await.ok(204);
    assert_eq!(shown(world, &other).await["status"], "CANCELLED");
    let cancelled = ["SUBMITTED", "PENDING_APPROVAL", "CANCELLED"];
    for ticket in [&batch, &other, &children[0], &tickets[2]] {
        assert_eq!(world.transitions_of(ticket).await, cancelled);
    }
    everything_adds_up(world).await;
}

async fn a_batch_is_the_business_of_its_creator(world: &World, made: &Made) {
    for user in [User::Bob, User::Mallory, User::Carol] {
        for what in ["retry", "cancel"] {
            for batch in [
                made.batch.as_str(),
                made.number.as_str(),
                NOTHING,
                "BAT-20200101-001",
                "no-batch%27",
            ] {
                let reply = world
                    .as_(user)
                    .post(&format!("{BATCHES}/{batch}/{what}"), &json!({}))
                    .await;
                let told = reply.refused(404, "BATCH_NOT_FOUND");
                assert!(
                    batch == "no-batch%27" || told == json!({"id": batch}),
                    "{user:?}: {told}"
                );
            }
        }
    }
    for (user, status) in [
        (User::Alice, 200),
        (User::Bob, 200),
        (User::Admin, 200),
        (User::Mallory, 404),
        (User::Carol, 404),
    ] {
        for batch in [&made.batch, &made.number] {
            let reply = world.as_(user).get(&format!("{BATCHES}/{batch}")).await;
            assert_eq!(reply.status, status, "{user:?} {batch}: {}", reply.text);
        }
    }
    let nonsense = world.as_(User::Alice).get(&format!("{BATCHES}/%00")).await;
    nonsense.refused(400, "INVALID_REQUEST");
    let all = world.home.count("batch_approval_tickets").await;
    for (user, total) in [
        (User::Alice, all),
        (User::Admin, all),
        (User::Mallory, 0),
        (User::Bob, 0),
    ] {
        let listed = world.as_(user).get(BATCHES).await.ok(200);
        assert_eq!(listed["pagination"]["total"], total, "{user:?}");
    }
    let query = format!("{BATCHES}?status=CANCELLED&batch_type=BATCH_CREATE");
    let listed = world.as_(User::Alice).get(&query).await.ok(200);
    assert_eq!(listed["pagination"]["total"], 2);
    assert_eq!(listed["items"][0].get("children"), None);
    let path = format!("{BATCHES}/{}/retry", made.number);
    let answer = world.as_(User::Admin).post(&path, &json!({})).await.ok(200);
    assert_eq!(answer["affected_count"], 0);
}

/// What the cluster does with the action on one machine from now on.
fn failing(world: &World, times: Option<u32>, machine: &Machine, action: &str) {
    let path = format!("/virtualmachines/{}/{action}", machine.name);
    let effect = FaultEffect::status(500, "InternalError");
    let rule = FaultRule {
        times,
        ..FaultRule::always("PUT", &path, effect)
    };
    world.test.faults().inject(rule);
}

async fn what_failed_is_tried_again(world: &World, machines: &[Machine]) {
    failing(world, Some(1), &machines[0], "stop");
    let ids: Vec<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
    let batch = submit(&world.as_(User::Alice), POWER, &about("STOP", &ids)).await;
    let seen = wait_for_batch(world, &batch, "PARTIAL_SUCCESS").await;
    assert_eq!(counters(&seen), [1, 1, 0, 0, 0]);
    let failed = &seen["children"][0];
    assert_eq!(
        [&failed["status"], &failed["error_code"]],
        ["FAILED", "VM_POWER_FAILED"]
    );
    let last_error = text(&failed["last_error"]);
    assert!(!last_error.is_empty() && last_error.chars().count() <= 512);
    assert_eq!(letters(world).await, 1);

    let (status, affected) = change(world, &batch, "retry", json!({})).await;
    assert_eq!(
        (status.as_str(), &affected[..]),
        ("IN_PROGRESS", &[text(&failed["ticket_id"])][..])
    );
    let seen = wait_for_batch(world, &batch, "COMPLETED").await;
    assert_eq!(counters(&seen), [2, 0, 0, 0, 0]);
    let steps = [&APPROVED_BY_POLICY[..], &["EXECUTING", "COMPLETED"]].concat();
    assert_eq!(world.transitions_of(&batch).await, steps);
    let again = format!("ticket_transitions WHERE ticket_id = '{batch}' AND reason = 'batch_retry'");
    assert_eq!(world.home.count(&again).await, 1);
    assert_eq!(letters(world).await, 0, "the retried job is no dead letter any more");
    let audited = world.audit_of(&batch).await;
    assert_eq!(audited, ["vm.batch.power.submit", "approval.approve", "vm.batch.retry"]);
    for vm in ids {
        world.wait_for_vm_status(vm, "STOPPED").await;
    }
}

async fn letters(world: &World) -> i64 {
    let listed = world.as_(User::Admin).get("/admin/dead-letters").await.ok(200);
    listed["pagination"]["total"].as_i64().expect("a number")
}

async fn but_three_times_at_most(world: &World, machines: &[Machine]) {
    failing(world, None, &machines[1], "start");
    let ids: Vec<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
    let batch = submit(&world.as_(User::Alice), POWER, &about("START", &ids)).await;
    let seen = wait_for_batch(world, &batch, "PARTIAL_SUCCESS").await;
    let failed = text(&seen["children"][1]["ticket_id"]);
    for retry in 1..=3 {
        let (_, affected) = change(world, &batch, "retry", json!({"ticket_ids": [failed]})).await;
        assert_eq!(affected, [failed.as_str()], "retry {retry}");
        wait_for_batch(world, &batch, "PARTIAL_SUCCESS").await;
        assert_eq!(letters(world).await, 1, "after retry {retry}");
    }
    world.test.faults().clear();
    let nothing = ("PARTIAL_SUCCESS".to_owned(), Vec::new());
    assert_eq!(change(world, &batch, "retry", json!({})).await, nothing);
    assert_eq!(world.ticket_column(&failed, "retry_count").await, "3");
    let listed = world.as_(User::Admin).get("/admin/dead-letters").await.ok(200);
    let path = format!("/admin/dead-letters/{}/retry", listed["items"][0]["job_id"]);
    let reply = world.as_(User::Admin).post(&path, &json!({})).await;
    reply.refused(409, "RETRY_LIMIT_REACHED");
    world.wait_for_vm_status(&machines[0].id, "RUNNING").await;
}

/// The administrator may decide everything but the own request in prod.
async fn many_are_approved_at_once(world: &World) {
    let admin = world.as_(User::Admin);
    let own = text(&admin.post("/vms", &world.vm_body("prod-shop")).await.ok(202)["ticket_id"]);
    let fine = world.request_vm("dev").await;
    let (decided, _) = created(world, 1).await;
    decide(world, &decided, "reject").await.ok(204);
    let (parent, children) = created(world, 2).await;
    let tickets = json!([own, fine, NOTHING, decided, parent, children[0]]);
    let answer = admin.post(BULK, &json!({"ticket_ids": tickets})).await.ok(200);
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    let found: Vec<(&str, bool, &str)> = results
        .iter()
        .map(|result| {
            (
                result["ticket_id"].as_str().unwrap_or_default(),
                result["ok"] == json!(true),
                result["error"]["code"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        (own.as_str(), false, "SELF_APPROVAL_FORBIDDEN"),
        (fine.as_str(), true, ""),
        (NOTHING, false, "TICKET_NOT_FOUND"),
        (decided.as_str(), false, "TICKET_NOT_PENDING"),
        (parent.as_str(), true, ""),
        // Its parent came before it.
        (children[0].as_str(), false, "TICKET_NOT_PENDING"),
    ];
    assert_eq!(found, expected, "{answer}");
    world.wait_for_ticket(&fine, "COMPLETED").await;
    wait_for_batch(world, &parent, "COMPLETED").await;
    assert_eq!(world.ticket_column(&own, "status").await, "PENDING_APPROVAL");

    let many: Vec<String> = (0..21).map(|n| format!("01983f0e-0000-7000-8000-{n:012}")).collect();
    let told = admin.post(BULK, &json!({"ticket_ids": many})).await;
    assert_eq!(
        told.refused(400, "BATCH_SIZE_EXCEEDED"),
        json!({"operation": "APPROVE", "size": 21, "max_size": 20})
    );
    for wrong in [json!([]), json!([own, own])] {
        let reply = admin.post(BULK, &json!({"ticket_ids": wrong})).await;
        assert_eq!(
            (reply.status, reply.code()),
            (400, "VALIDATION_FAILED"),
            "{}",
            reply.text
        );
    }
    let alice = world.as_(User::Alice);
    let refused = alice.post(BULK, &json!({"ticket_ids": [own]})).await;
    assert_eq!(
        refused.refused(403, "FORBIDDEN")["required_permission"],
        "approval:approve"
    );
}
