//! SIGTERM while there is work: what was accepted is answered, what is in hand is finished or given back, and nothing
//! happens twice.

use reqwest::Method;
use serde_json::{Value, json};
use shepherd_simulator::{FaultEffect, FaultRule};

use crate::client::{Caller, Reply, send};
use crate::crashes::queue;
use crate::server::{PATIENCE, Replica, eventually};
use crate::world::{CARRIED_OUT, User, World, creations, text};

const SIZES: [&str; 4] = ["small", "medium", "large", "xlarge"];
/// How long the cluster takes over the calls that are in hand when the signal comes.
const SLOW: u64 = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_answered_and_balancers_are_told_first() {
    let world = World::start().await;
    let env = [("SERVER_SHUTDOWN_TIMEOUT", "100s".to_owned())];
    let mut stopping = Replica::start_stoppable(&world.home, "api", &env).await;
    assert!(
        world
            .test
            .cluster()
            .put("Namespace", json!({"metadata": {"name": "dev"}}))
    );
    let faults = world.test.faults();
    let slow = FaultEffect::Delay { milliseconds: SLOW };
    faults.inject(FaultRule::next(1, "PATCH", "/virtualmachines", slow));

    let alice = world.as_(User::Alice).at(&stopping);
    let body = world.vm_body("dev");
    let submitted = keyed(&alice, &body);
    let told = async {
        eventually("the request is at the cluster", PATIENCE, async || {
            (faults.rules() == 0).then_some(())
        })
        .await;
        stopping.ask_to_stop();
        let ready = stopping.url("/health/ready");
        let refused = eventually("readiness says that the replica goes", PATIENCE, async || {
            let answer = world.home.client.get(&ready).send().await.ok()?;
            (answer.status() == 503).then_some(answer)
        })
        .await;
        assert_eq!(refused.headers()["connection"], "close");
        let refusal: Value = refused.json().await.expect("a refusal is JSON");
        assert_eq!(refusal["code"], "NOT_READY");
        assert_eq!(refusal["params"]["checks"], json!({"process": "stopping"}));
        // Whoever is impatient changes nothing.
        stopping.ask_to_stop();
    };
    let (accepted, ()) = tokio::join!(submitted, told);
    let ticket = text(&accepted.ok(202)["ticket_id"]);
    assert_eq!(stopping.exit_code().await, Some(0));

    let again = keyed(&world.as_(User::Alice), &body).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.ok(202)["ticket_id"], json!(ticket));
    assert_eq!(world.home.count("approval_tickets").await, 1);
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
}

async fn keyed(caller: &Caller, body: &Value) -> Reply {
    let request = caller.request(Method::POST, "/vms").json(body);
    send(request.header("idempotency-key", "before the end")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_hand_are_finished_or_given_back_and_done_once() {
    let world = World::with("api,controllers", &[]).await;
    let mut tickets = Vec::new();
    for size in SIZES {
        let mut body = world.vm_body("dev");
        body["instance_size_id"] = json!(world.size(size));
        let accepted = world.as_(User::Alice).post("/vms", &body).await.ok(202);
        tickets.push(text(&accepted["ticket_id"]));
    }
    for ticket in &tickets {
        world.approve(ticket).await;
    }
    let faults = world.test.faults();
    // The first one cannot end before the worker has to.
    let never = "/virtualmachines/dev-shop-web-01";
    faults.inject(FaultRule::next(1, "PATCH", never, FaultEffect::Hang));
    let slow = FaultEffect::Delay { milliseconds: SLOW };
    faults.inject(FaultRule::always("PATCH", "/virtualmachines/", slow));
    let mut env = queue();
    env.push(("SERVER_SHUTDOWN_TIMEOUT", "25s".to_owned()));
    let mut worker = Replica::start_stoppable(&world.home, "worker", &env).await;
    let in_hand = "approval_tickets WHERE status = 'EXECUTING'";
    eventually("the work has begun", PATIENCE, async || {
        (faults.rules() == 1 && world.home.count(in_hand).await >= 2).then_some(())
    })
    .await;
    worker.ask_to_stop();
    assert_eq!(worker.exit_code().await, Some(0));
    let locked = "graphile_worker._private_jobs WHERE locked_at IS NOT NULL";
    assert_eq!(
        world.home.count(locked).await,
        0,
        "what was not finished was given back"
    );
    let left = "approval_tickets WHERE status <> 'COMPLETED'";
    let left = world.home.count(left).await;
    assert!(
        (1..4).contains(&left),
        "{left} of 4 were not finished in the time there was"
    );

    let successor = world.start_replica("worker", &queue()).await;
    for ticket in &tickets {
        world.wait_for_ticket(ticket, "COMPLETED").await;
        assert_eq!(world.transitions_of(ticket).await, CARRIED_OUT);
        let audited = ["vm.request", "approval.approve", "vm.execution_started", "vm.create"];
        assert_eq!(world.audit_of(ticket).await, audited);
    }
    world.wait_for_queue().await;
    let made = creations(&world.test, "dev");
    assert!(made.len() == 4 && made.values().all(|times| *times == 1), "{made:?}");
    drop(successor);
}
