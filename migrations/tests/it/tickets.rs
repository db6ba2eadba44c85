//! What a ticket must carry in each state, and the duplicates that it keeps away.

use crate::{Database, TestResult};

const APPROVE: &str = r#"
    UPDATE approval_tickets SET
        status = 'APPROVED', approver_id = 'someone', decided_at = now(), decided_by_kind = 'USER',
        selected_cluster_id = '00000000-0000-7000-8000-000000000011',
        template_snapshot = '{"version": 1}', instance_size_snapshot = '{"cpu_cores": 2}'"#;

#[tokio::test]
async fn an_approval_names_its_approver_and_its_place() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            (
                "ck_approval_tickets_decided",
                r#"UPDATE approval_tickets SET
                    status = 'APPROVED', decided_at = now(), selected_cluster_id = gen_random_uuid(),
                    template_snapshot = '{}', instance_size_snapshot = '{}'"#,
            ),
            (
                "ck_approval_tickets_create_placed",
                r#"UPDATE approval_tickets SET
                    status = 'APPROVED', approver_id = 'someone', decided_at = now(),
                    template_snapshot = '{}', instance_size_snapshot = '{}'"#,
            ),
            (
                "ck_approval_tickets_create_placed",
                "UPDATE approval_tickets SET
                    status = 'APPROVED', approver_id = 'someone', decided_at = now(),
                    selected_cluster_id = gen_random_uuid()",
            ),
            (
                "ck_approval_tickets_rejected",
                "UPDATE approval_tickets SET status = 'REJECTED'",
            ),
            (
                "ck_approval_tickets_modification_reason",
                "UPDATE approval_tickets SET modified_spec = '{}'",
            ),
            (
                "ck_approval_tickets_target",
                "UPDATE approval_tickets SET namespace = NULL",
            ),
            (
                "ck_approval_tickets_child",
                "UPDATE approval_tickets SET sequence_no = 1",
            ),
            (
                "ck_approval_tickets_status",
                "UPDATE approval_tickets SET status = 'DONE'",
            ),
            (
                "trg_approval_tickets_immutable",
                "UPDATE approval_tickets SET number = 'TKT-999999'",
            ),
        ])
        .await?;
    database.run(APPROVE).await?;
    Ok(())
}

#[tokio::test]
async fn snapshots_are_written_once() -> TestResult {
    let database = Database::filled().await?;
    database.run(APPROVE).await?;
    database
        .run("UPDATE approval_tickets SET status = 'EXECUTING', attempt_count = 1, last_attempt_at = now()")
        .await?;
    database
        .refuses(&[
            (
                "trg_approval_tickets_snapshots",
                r#"UPDATE approval_tickets SET template_snapshot = '{"version": 2}'"#,
            ),
            (
                "trg_approval_tickets_snapshots",
                "UPDATE approval_tickets SET instance_size_snapshot = NULL",
            ),
        ])
        .await
}

/// Writes an event and a ticket for it, all values but these being those of the first ticket.
const SECOND_TICKET: &str = "
    INSERT INTO domain_events (id, event_type, aggregate_type, aggregate_id, payload, status, created_by)
    VALUES
        ('00000000-0000-7000-8000-0000000000a1', 'VM_START_REQUESTED', 'vm', 'x', '{}', 'PENDING', 'x'),
        ('00000000-0000-7000-8000-0000000000a2', 'VM_STOP_REQUESTED', 'vm', 'x', '{}', 'PENDING', 'x'),
        ('00000000-0000-7000-8000-0000000000a3', 'VNC_ACCESS_REQUESTED', 'vm', 'x', '{}', 'PENDING', 'x'),
        ('00000000-0000-7000-8000-0000000000a4', 'VNC_ACCESS_REQUESTED', 'vm', 'x', '{}', 'PENDING', 'x');
    INSERT INTO approval_tickets
        (id, event_id, request_type, status, environment, requester_id, vm_id, context_snapshot)
    VALUES
        ('00000000-0000-7000-8000-0000000000b1', '00000000-0000-7000-8000-0000000000a1', 'START_VM',
         'PENDING_APPROVAL', 'prod', 'ada', '00000000-0000-7000-8000-000000000014', '{}'),
        ('00000000-0000-7000-8000-0000000000b3', '00000000-0000-7000-8000-0000000000a3', 'VNC_ACCESS',
         'PENDING_APPROVAL', 'prod', 'ada', '00000000-0000-7000-8000-000000000014', '{}')";

#[tokio::test]
async fn open_duplicates_are_refused() -> TestResult {
    let database = Database::filled().await?;
    database.run(SECOND_TICKET).await?;
    database
        .refuses(&[
            (
                "uq_ticket_pending_create",
                "INSERT INTO approval_tickets (
                    id, event_id, request_type, status, environment, requester_id, service_id, template_id,
                    instance_size_id, namespace, context_snapshot
                 )
                 SELECT gen_random_uuid(), '00000000-0000-7000-8000-0000000000a2', request_type, status, environment,
                    requester_id, service_id, template_id, instance_size_id, namespace, '{}'
                 FROM approval_tickets WHERE request_type = 'CREATE_VM'",
            ),
            (
                "uq_ticket_active_vm_op",
                "INSERT INTO approval_tickets
                    (id, event_id, request_type, status, environment, requester_id, vm_id, context_snapshot)
                 SELECT gen_random_uuid(), '00000000-0000-7000-8000-0000000000a2', 'STOP_VM', status, environment,
                    'somebody-else', vm_id, '{}'
                 FROM approval_tickets WHERE request_type = 'START_VM'",
            ),
            (
                "uq_ticket_pending_vnc",
                "INSERT INTO approval_tickets
                    (id, event_id, request_type, status, environment, requester_id, vm_id, context_snapshot)
                 SELECT gen_random_uuid(), '00000000-0000-7000-8000-0000000000a4', request_type, status, environment,
                    requester_id, vm_id, '{}'
                 FROM approval_tickets WHERE request_type = 'VNC_ACCESS'",
            ),
            (
                "uq_approval_tickets_event_id",
                "UPDATE approval_tickets SET status = 'CANCELLED';
                 INSERT INTO approval_tickets
                    (id, event_id, request_type, status, environment, requester_id, vm_id, context_snapshot)
                 SELECT gen_random_uuid(), event_id, request_type, status, environment, requester_id, vm_id, '{}'
                 FROM approval_tickets WHERE request_type = 'START_VM'",
            ),
        ])
        .await
}

#[tokio::test]
async fn a_closed_request_makes_room_for_the_next() -> TestResult {
    let database = Database::filled().await?;
    database.run(SECOND_TICKET).await?;
    database
        .run(
            "UPDATE approval_tickets SET status = 'CANCELLED';
             INSERT INTO approval_tickets
                (id, event_id, request_type, status, environment, requester_id, vm_id, context_snapshot)
             SELECT gen_random_uuid(), '00000000-0000-7000-8000-0000000000a2', 'STOP_VM', 'PENDING_APPROVAL',
                environment, requester_id, vm_id, '{}'
             FROM approval_tickets WHERE request_type = 'START_VM'",
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn ticket_numbers_grow_past_six_digits() -> TestResult {
    const NUMBERED: &str = "
        SELECT count(*) FROM (SELECT setval('ticket_number_seq', 999998)) AS set,
            LATERAL (SELECT next_ticket_number() AS last, next_ticket_number() AS first_of_seven) AS numbers
        WHERE last = 'TKT-999999' AND first_of_seven = 'TKT-1000000'";
    let database = Database::filled().await?;
    assert_eq!(
        database
            .number("SELECT count(*) FROM approval_tickets WHERE number = 'TKT-000001'")
            .await?,
        1
    );
    assert_eq!(database.number(NUMBERED).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_history_starts_with_the_submission() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            (
                "ck_ticket_transitions_first",
                "INSERT INTO ticket_transitions (id, ticket_id, seq, from_status, to_status, actor_id, actor_kind)
                 VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000031', 3, NULL, 'APPROVED', 'x', 'USER')",
            ),
            (
                "uq_ticket_transitions_seq",
                "INSERT INTO ticket_transitions (id, ticket_id, seq, from_status, to_status, actor_id, actor_kind)
                 VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000031', 2, 'SUBMITTED', 'APPROVED', 'x',
                    'POLICY')",
            ),
        ])
        .await
}
