//! Decisions and requests that meet: whoever comes second is told so, and what is stored is what one of them wrote.
//!
//! Every race is run [`ROUNDS`] times, on several connections of one PostgreSQL. One side begins a varying number of
//! queries later than the other, so that both get to be first.

use futures::future::{join, join3};
use shepherd_domain::Environment;
use shepherd_domain::ids::{ClusterId, NamespaceId, ServiceId, TicketId, VmId};
use shepherd_domain::problem::ErrorCode;
use shepherd_ports::namespaces::NamespacePatch;
use shepherd_usecases::approval::{TicketRef, cancel, reject};
use shepherd_usecases::confirmation::Confirmation;
use shepherd_usecases::vm::power::{self, PowerAction};
use shepherd_usecases::vm::{Submitted, request_deletion};
use shepherd_usecases::{UseCaseError, cluster, namespace, template};

use crate::in_process::InProcess;

const ROUNDS: usize = 500;
/// The longest head start, in queries: about as long as an approval takes.
const HEAD_STARTS: usize = 48;
/// In another order than 0, 1, 2: a slow drift of the machine must not look like a head start.
const STRIDE: usize = 7;

const NAMESPACE: &str = "dev";

/// Why somebody was refused; `None` when nobody was.
fn refusal<T>(outcome: Result<T, UseCaseError>) -> Option<ErrorCode> {
    match outcome {
        Ok(_) => None,
        Err(UseCaseError::Problem(problem)) => Some(problem.code),
        Err(error) => panic!("neither done nor refused: {error:?}"),
    }
}

/// Lets the other side begin first, by a number of queries.
async fn dawdle(world: &InProcess, ticket: TicketId, round: usize) {
    for _ in 0..(round * STRIDE) % HEAD_STARTS {
        world
            .platform
            .read
            .get_ticket(ticket)
            .await
            .expect("the ticket is read");
    }
}

async fn submitted(world: &InProcess, service: ServiceId) -> TicketId {
    let asked = world.request_vm(service, NAMESPACE).await;
    asked.expect("a request").ticket_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_approval_rejection_and_cancellation_wins() {
    let world = InProcess::start().await;
    let service = world.place(NAMESPACE).await;
    let mut won = [0_usize; 3];
    for round in 0..ROUNDS {
        let id = submitted(&world, service).await;
        let ticket = TicketRef::Id(id);
        let rejection = async {
            dawdle(&world, id, round).await;
            reject::execute(&world.platform, &world.ben, &ticket, "no room").await
        };
        let cancellation = async {
            dawdle(&world, id, round + 1).await;
            cancel::execute(&world.platform, &world.admin, &ticket, None).await
        };
        let (approved, rejected, cancelled) = join3(world.approve(id), rejection, cancellation).await;
        let outcomes = [refusal(approved), refusal(rejected), refusal(cancelled)];
        let winners: Vec<usize> = (0..3).filter(|side| outcomes[*side].is_none()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        let losers = outcomes.iter().flatten();
        assert!(
            losers.copied().all(|code| code == ErrorCode::TicketNotPending),
            "round {round}: {outcomes:?}"
        );
        won[winners[0]] += 1;
    }
    assert!(won[0] > 0 && won[1] + won[2] > 0, "it was no race: {won:?}");
    decided_once(&world, won).await;
}

/// What is stored is one decision of each ticket, and nothing of the others.
async fn decided_once(world: &InProcess, won: [usize; 3]) {
    let decisions = "'APPROVED', 'REJECTED', 'CANCELLED'";
    let history = format!(
        "approval_tickets t WHERE (SELECT string_agg(s.to_status, ' ' ORDER BY s.seq) FROM ticket_transitions s \
         WHERE s.ticket_id = t.id) <> 'SUBMITTED PENDING_APPROVAL ' || t.status OR t.status NOT IN ({decisions})"
    );
    assert_eq!(world.count(&history).await, 0, "histories with another decision");
    let events = "approval_tickets t JOIN domain_events e ON e.id = t.event_id \
         WHERE e.status <> CASE t.status WHEN 'APPROVED' THEN 'PROCESSING' ELSE 'CANCELLED' END";
    assert_eq!(world.count(events).await, 0, "events that do not fit their ticket");
    let audited = "approval_tickets t WHERE (SELECT count(*) FROM audit_logs a WHERE a.ticket_id = t.id \
         AND a.action IN ('approval.approve', 'approval.reject', 'approval.cancel')) <> 1";
    assert_eq!(
        world.count(audited).await,
        0,
        "tickets without exactly one audited decision"
    );
    let told = "(SELECT FROM notifications WHERE type IN ('APPROVAL_COMPLETED', 'APPROVAL_REJECTED') \
         GROUP BY user_id, resource_id HAVING count(*) > 1) AS twice";
    assert_eq!(world.count(told).await, 0, "requesters who were told twice");
    let by_status = ["APPROVED", "REJECTED", "CANCELLED"];
    for (status, won) in by_status.into_iter().zip(won) {
        let found = world
            .count(&format!("approval_tickets WHERE status = '{status}'"))
            .await;
        assert_eq!(found, won, "{status}");
    }
    assert_eq!(world.count("vms").await, won[0], "machines");
    let jobs = "graphile_worker.jobs WHERE task_identifier = 'event_job'";
    assert_eq!(world.count(jobs).await, won[0], "jobs");
    let facts = "domain_events WHERE event_type = 'REQUEST_CANCELLED'";
    assert_eq!(world.count(facts).await, won[2], "cancellations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_identical_requests_are_one_ticket() {
    let world = InProcess::start().await;
    let service = world.place(NAMESPACE).await;
    for round in 0..ROUNDS {
        let (one, other) = join(
            world.request_vm(service, NAMESPACE),
            world.request_vm(service, NAMESPACE),
        )
        .await;
        let (accepted, refused) = match (one, other) {
            (Ok(accepted), Err(refused)) | (Err(refused), Ok(accepted)) => (accepted, refused),
            both => panic!("round {round}: {both:?}"),
        };
        let UseCaseError::Problem(problem) = refused else {
            panic!("round {round}: {refused:?}");
        };
        assert_eq!(problem.code, ErrorCode::DuplicatePendingRequest);
        let existing = problem.params.get("existing_ticket_id").and_then(|id| id.as_str());
        assert_eq!(existing, Some(accepted.ticket_id.to_string().as_str()), "round {round}");
        let ticket = TicketRef::Id(accepted.ticket_id);
        let cancelled = cancel::execute(&world.platform, &world.admin, &ticket, None).await;
        cancelled.expect("the ticket is cancelled");
    }
    assert_eq!(world.count("approval_tickets").await, ROUNDS);
    let requested = "domain_events WHERE event_type = 'VM_CREATION_REQUESTED'";
    assert_eq!(world.count(requested).await, ROUNDS);
    let audited = "audit_logs WHERE action = 'vm.request'";
    assert_eq!(world.count(audited).await, ROUNDS);
}

/// A deletion and a stop belong to different groups, so neither keeps the other from being asked for. Once the
/// deletion is approved nothing else is accepted; what was accepted before ends in order, and the machine is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_to_go_takes_no_power_action_any_more() {
    let world = InProcess::start().await;
    let service = world.place(NAMESPACE).await;
    let mut stopped = 0;
    for (round, vm) in machines(&world, service).await.into_iter().enumerate() {
        let deletion = deletion_of(&world, vm).await;
        let stop = async {
            dawdle(&world, deletion.ticket_id, round).await;
            power::execute(
                &world.platform,
                &world.operations,
                &world.admin,
                vm,
                PowerAction::Stop,
                None,
                None,
            )
            .await
        };
        let (approved, stop) = join(world.approve(deletion.ticket_id), stop).await;
        assert_eq!(refusal(approved), None, "round {round}: the deletion");
        let status = world.text(&format!("SELECT status FROM vms WHERE id = '{vm}'")).await;
        assert_eq!(status, "DELETING", "round {round}");
        let stop = match stop {
            Ok(answer) => Some(answer.outcome),
            refused => {
                assert_eq!(
                    refusal(refused),
                    Some(ErrorCode::InvalidStateTransition),
                    "round {round}"
                );
                None
            }
        };
        stopped += usize::from(stop.is_some());
        both_end(&world, vm, &deletion, stop.as_ref(), round).await;
    }
    assert!(stopped > 0 && stopped < ROUNDS, "it was no race: {stopped} stops");
    let power = "approval_tickets WHERE request_type = 'STOP_VM'";
    assert_eq!(world.count(power).await, stopped, "a refused stop leaves nothing");
    assert_eq!(world.count("vms").await, 1, "only the pattern is left");
}

/// The lane of the machine runs one job after the other, in either order.
async fn both_end(world: &InProcess, vm: VmId, deletion: &Submitted, stop: Option<&Submitted>, round: usize) {
    let jobs: Vec<&Submitted> = if round.is_multiple_of(2) {
        stop.into_iter().chain([deletion]).collect()
    } else {
        std::iter::once(deletion).chain(stop).collect()
    };
    for job in jobs {
        world.finish(job).await;
    }
    assert_eq!(world.count(&format!("vms WHERE id = '{vm}'")).await, 0, "round {round}");
    let done = format!(
        "SELECT status FROM approval_tickets WHERE id = '{}'",
        deletion.ticket_id
    );
    assert_eq!(world.text(&done).await, "COMPLETED", "round {round}");
    let open =
        format!("approval_tickets WHERE vm_id = '{vm}' AND status IN ('PENDING_APPROVAL', 'APPROVED', 'EXECUTING')");
    assert_eq!(world.count(&open).await, 0, "round {round}");
}

/// Rows of machines that run, made from the row of one.
async fn machines(world: &InProcess, service: ServiceId) -> Vec<VmId> {
    let ticket = submitted(world, service).await;
    world.approve(ticket).await.expect("an approval");
    let copies = format!(
        "INSERT INTO vms SELECT (jsonb_populate_record(v, jsonb_build_object('id', gen_random_uuid(), 'status', 'RUNNING', 'ticket_id', NULL, \
         'name', 'copy-' || n, 'hostname', 'copy-' || n, 'instance_index', 1000 + n, 'instance', (1000 + n)::text))).* \
         FROM vms v, generate_series(1, {ROUNDS}) AS n RETURNING id::text"
    );
    let made = world.texts(&copies).await;
    made.iter().map(|id| id.parse().expect("an id")).collect()
}

async fn deletion_of(world: &InProcess, vm: VmId) -> Submitted {
    let confirmed = Confirmation {
        confirm: true,
        confirm_name: None,
    };
    request_deletion::execute(&world.platform, &world.operations, &world.admin, vm, &confirmed, None)
        .await
        .expect("a request")
}

/// Takes back what a round left, so that the next one begins like it.
async fn clear(world: &InProcess) {
    world.change("DELETE FROM vms").await;
    world
        .change("UPDATE approval_tickets SET status = 'COMPLETED' WHERE status = 'APPROVED'")
        .await;
}

/// Withdraws what was not approved.
async fn withdraw(world: &InProcess, ticket: TicketId) {
    let cancelled = cancel::execute(&world.platform, &world.admin, &TicketRef::Id(ticket), None).await;
    cancelled.expect("what was refused still waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placement_and_a_move_of_its_cluster_exclude_each_other() {
    let world = InProcess::start().await;
    let service = world.place(NAMESPACE).await;
    let id: ClusterId = world
        .text("SELECT id::text FROM clusters")
        .await
        .parse()
        .expect("an id");
    let mut placed = 0;
    for round in 0..ROUNDS {
        let ticket = submitted(&world, service).await;
        let moving = async {
            dawdle(&world, ticket, round).await;
            cluster::environment::execute(&world.platform, &world.admin, id, Environment::Prod, None).await
        };
        let (approved, moved) = join(world.approve(ticket), moving).await;
        let (approved, moved) = (refusal(approved), refusal(moved));
        assert!(
            approved.is_none() ^ moved.is_none(),
            "round {round}: {approved:?}, {moved:?}"
        );
        misplaced(&world, round).await;
        if approved.is_none() {
            assert_eq!(moved, Some(ErrorCode::ClusterHasVms), "round {round}");
            placed += 1;
        } else {
            withdraw(&world, ticket).await;
            let back = Environment::Test;
            let moved = cluster::environment::execute(&world.platform, &world.admin, id, back, None).await;
            moved.expect("the cluster is moved back");
        }
        clear(&world).await;
    }
    assert!(placed > 0 && placed < ROUNDS, "it was no race: {placed} placed");
}

/// Nothing approved may be where the rules of another environment hold.
async fn misplaced(world: &InProcess, round: usize) {
    let misplaced = "approval_tickets t JOIN clusters c ON c.id = t.selected_cluster_id \
         LEFT JOIN namespace_registry n ON n.name = t.namespace \
         WHERE t.status = 'APPROVED' AND (c.environment <> t.environment OR n.environment IS DISTINCT FROM t.environment)";
    assert_eq!(world.count(misplaced).await, 0, "round {round}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_sees_its_namespace_before_or_after_a_change() {
    let world = InProcess::start().await;
    let service = world.place(NAMESPACE).await;
    let id: NamespaceId = world
        .text("SELECT id::text FROM namespace_registry")
        .await
        .parse()
        .expect("an id");
    let mut placed = 0;
    for round in 0..ROUNDS {
        let ticket = submitted(&world, service).await;
        let changes = async {
            dawdle(&world, ticket, round).await;
            let disabled = enable(&world, id, false).await;
            // What waits for a decision, or was placed, holds the entry: nobody can register it anew as prod.
            let confirmed = Confirmation {
                confirm: false,
                confirm_name: Some(NAMESPACE.to_owned()),
            };
            let deleted = namespace::delete::execute(&world.platform, &world.admin, id, &confirmed).await;
            (disabled, deleted)
        };
        let (approved, (disabled, deleted)) = join(world.approve(ticket), changes).await;
        assert_eq!(refusal(disabled), None, "round {round}");
        assert_eq!(refusal(deleted), Some(ErrorCode::NamespaceInUse), "round {round}");
        misplaced(&world, round).await;
        match refusal(approved) {
            None => placed += 1,
            Some(code) => {
                assert_eq!(code, ErrorCode::NamespaceDisabled, "round {round}");
                withdraw(&world, ticket).await;
            }
        }
        enable(&world, id, true).await.expect("the namespace is enabled");
        clear(&world).await;
    }
    assert!(placed > 0 && placed < ROUNDS, "it was no race: {placed} placed");
}

async fn enable(world: &InProcess, id: NamespaceId, enabled: bool) -> Result<(), UseCaseError> {
    let patch = NamespacePatch {
        enabled: Some(enabled),
        ..NamespacePatch::default()
    };
    namespace::update::execute(&world.platform, &world.admin, id, patch, None).await
}

/// A template that was deprecated since the request is still the one that was asked for; one that is asked for cannot
/// be archived. An approval that saw it active and finds it deprecated is refused, and may be given again. Whenever it
/// is given, it freezes the version of the request, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_freezes_the_template_it_was_given() {
    let world = InProcess::start().await;
    let service = world.place(NAMESPACE).await;
    let id = world.template;
    let mut overtaken = 0;
    let restored = format!("UPDATE templates SET status = 'active' WHERE id = '{id}'");
    for round in 0..ROUNDS {
        let ticket = submitted(&world, service).await;
        let changes = async {
            dawdle(&world, ticket, round).await;
            let deprecated = template::deprecate::execute(&world.platform, &world.admin, id).await;
            let archived = template::archive::execute(&world.platform, &world.admin, id).await;
            (deprecated, archived)
        };
        let (approved, (deprecated, archived)) = join(world.approve(ticket), changes).await;
        if let Some(code) = refusal(approved) {
            assert_eq!(code, ErrorCode::TemplateNotActive, "round {round}");
            overtaken += 1;
            world
                .approve(ticket)
                .await
                .expect("it is still the version of the request");
        }
        assert_eq!(refusal(deprecated), None, "round {round}");
        assert_eq!(refusal(archived), Some(ErrorCode::TemplateInUse), "round {round}");
        let frozen = format!(
            "approval_tickets t JOIN templates m ON m.id = t.template_id JOIN vms v ON v.ticket_id = t.id \
             WHERE t.id = '{ticket}' AND t.template_snapshot -> 'spec' = m.spec AND v.template_id = m.id \
             AND t.selected_template_version = m.version AND v.template_version = m.version AND m.status = 'deprecated'"
        );
        assert_eq!(world.count(&frozen).await, 1, "round {round}");
        world.change(&restored).await;
        clear(&world).await;
    }
    assert!(overtaken < ROUNDS, "it was no race: the approval never came first");
}
