//! Batches: one request for several machines (batch.md).
//!
//! What is written for all children of a batch is one statement per table: they travel as one JSON array, and
//! `jsonb_to_recordset` makes rows of it.

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shepherd_domain::batch::{BatchKind, BatchStatus, Tally};
use shepherd_domain::ids::{BatchRequestId, TicketId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::transition::Transition;
use shepherd_ports::RepositoryError;
use shepherd_ports::batches::{
    BatchAudience, BatchChild, BatchFilter, BatchQueries, BatchRecord, BatchRepository, NewBatch, ParentMover,
};
use shepherd_ports::events::NewEvent;
use shepherd_ports::tickets::{NewStep, NewTicket, TicketRecord};

use crate::errors::mismatch;
use crate::statement::{Filter, List, Texts, execute, fetch_one, select_all, select_one, uuid_in, uuid_v7, values};
use crate::store::PgStore;
use crate::tickets::{step_document, ticket_rows};
use crate::unit_of_work::PgUnitOfWork;

macro_rules! batch_rows {
    () => {
        "SELECT b.id, b.number, b.batch_type, b.power_action, b.status, b.environment, b.child_count, \
         b.success_count, b.failed_count, b.pending_count, b.rejected_count, b.cancelled_count, b.request_id, \
         b.request_hash, b.reason, b.created_by, b.completed_at, b.archived_at, b.created_at, b.updated_at, \
         b.row_version FROM batch_approval_tickets b"
    };
}

const TALLY: &str = "SELECT count(*) AS children, \
         count(*) FILTER (WHERE status = 'COMPLETED') AS completed, \
         count(*) FILTER (WHERE status = 'FAILED') AS failed, \
         count(*) FILTER (WHERE status = 'REJECTED') AS rejected, \
         count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled, \
         count(*) FILTER (WHERE status IN ('SUBMITTED', 'PENDING_APPROVAL')) AS pending, \
         count(*) FILTER (WHERE status = 'APPROVED') AS approved, \
         count(*) FILTER (WHERE status = 'EXECUTING') AS executing \
     FROM approval_tickets WHERE parent_ticket_id = $1";

/// Most moves of a child change none of these; then nothing is written. What is open again is not archived.
const SETTLE: &str = "UPDATE batch_approval_tickets SET status = $2, success_count = $3, failed_count = $4, \
         pending_count = $5, rejected_count = $6, cancelled_count = $7, completed_at = $8, \
         archived_at = CASE WHEN $8::timestamptz IS NULL THEN NULL ELSE archived_at END \
     WHERE id = $1 AND (status, success_count, failed_count, pending_count, rejected_count, cancelled_count, \
         completed_at) IS DISTINCT FROM ($2::text, $3::integer, $4::integer, $5::integer, $6::integer, $7::integer, \
         $8::timestamptz)";

const INSERT: &str = "WITH batch AS ( \
         INSERT INTO batch_approval_tickets (id, number, batch_type, power_action, environment, child_count, \
             pending_count, request_id, request_hash, reason, created_by, created_at, updated_at) \
         VALUES ($1, next_batch_number($2), $3, $4, $5, $6, $6, $7, $8, $9, $10, $2, $2) \
         RETURNING number \
     ) SELECT to_jsonb(number) AS doc FROM batch";

const INSERT_EVENTS: &str = "INSERT INTO domain_events (id, event_type, aggregate_type, aggregate_id, payload, \
         status, causation_id, environment, created_by, created_at, updated_at, trace_id, trace_parent, \
         processed_at) \
     SELECT e.id, e.event_type, e.aggregate_type, e.aggregate_id, e.payload, e.status, e.causation_id, \
         e.environment, e.created_by, e.at, e.at, e.trace_id, e.trace_parent, \
         CASE WHEN e.status = 'COMPLETED' THEN e.at END \
     FROM jsonb_to_recordset($1) AS e (id uuid, event_type text, aggregate_type text, aggregate_id text, \
         payload jsonb, status text, causation_id uuid, environment text, created_by text, at timestamptz, \
         trace_id text, trace_parent text)";

/// The rows are sorted before their defaults are made, so the numbers ascend with `sequence_no`.
const INSERT_TICKETS: &str = "WITH ticket AS ( \
         INSERT INTO approval_tickets (id, event_id, request_type, status, environment, requester_id, reason, \
             system_id, service_id, vm_id, template_id, instance_size_id, namespace, context_snapshot, policy_id, \
             eligible_approvers, external_system_id, parent_ticket_id, sequence_no, created_at, updated_at) \
         SELECT c.id, c.event_id, c.request_type, c.status, c.environment, c.requester_id, c.reason, \
             c.system_id, c.service_id, c.vm_id, c.template_id, c.instance_size_id, c.namespace, c.context, c.policy, \
             c.approvers, c.external_system, c.parent, c.sequence_no, c.at, c.at \
         FROM jsonb_to_recordset($1) AS c (id uuid, event_id uuid, request_type text, status text, \
             environment text, requester_id text, reason text, system_id uuid, service_id uuid, vm_id uuid, \
             template_id uuid, instance_size_id uuid, namespace text, context jsonb, policy uuid, approvers text[], \
             external_system uuid, parent uuid, sequence_no integer, at timestamptz) \
         ORDER BY c.sequence_no \
         RETURNING number, sequence_no \
     ) SELECT coalesce(jsonb_agg(number ORDER BY sequence_no), '[]') AS doc FROM ticket";

const INSERT_STEPS: &str = concat!(
    "INSERT INTO ticket_transitions (id, ticket_id, seq, from_status, to_status, actor_id, actor_kind, reason, at) \
     SELECT ",
    uuid_v7!(),
    ", c.id, step.seq, step.doc ->> 'from', step.doc ->> 'to', step.doc ->> 'actor', step.doc ->> 'kind', \
         step.doc ->> 'reason', c.at \
     FROM jsonb_to_recordset($1) AS c (id uuid, at timestamptz), \
         jsonb_array_elements($2) WITH ORDINALITY AS step (doc, seq)"
);

/// The decision about a parent is its own, if there was one; else that of its children.
const MOVE_PARENT: &str = "UPDATE approval_tickets t SET status = $3, archived_at = NULL, \
         approver_id = COALESCE(t.approver_id, CASE WHEN $3 = 'REJECTED' THEN refused.approver_id \
             WHEN $3 IN ('APPROVED', 'EXECUTING', 'COMPLETED', 'FAILED') THEN $4 END), \
         decided_by_kind = COALESCE(t.decided_by_kind, CASE WHEN $3 = 'REJECTED' THEN refused.decided_by_kind \
             WHEN $3 IN ('APPROVED', 'EXECUTING', 'COMPLETED', 'FAILED') THEN $5 END), \
         decided_at = COALESCE(t.decided_at, CASE WHEN $3 = 'REJECTED' THEN refused.decided_at \
             WHEN $3 <> 'PENDING_APPROVAL' THEN $6 END), \
         reject_reason = COALESCE(t.reject_reason, CASE WHEN $3 = 'REJECTED' THEN refused.reject_reason END) \
     FROM (SELECT) AS one LEFT JOIN LATERAL ( \
         SELECT c.approver_id, c.decided_by_kind, c.decided_at, c.reject_reason FROM approval_tickets c \
         WHERE c.parent_ticket_id = $1 AND c.status = 'REJECTED' \
         ORDER BY c.decided_at DESC, c.sequence_no DESC LIMIT 1) AS refused ON true \
     WHERE t.id = $1 AND t.status = $2";

const CHILDREN: &str = "SELECT t.id AS ticket_id, t.number AS ticket_number, t.event_id, t.request_type, t.status, \
         t.sequence_no, t.vm_id, t.service_id, \
         COALESCE((SELECT v.name FROM vms v WHERE v.id = t.vm_id), t.context_snapshot #>> '{vm,name}', \
             t.context_snapshot #>> '{service,name}') AS resource_name, \
         t.error_code, t.last_error, t.reject_reason, t.attempt_count, t.retry_count \
     FROM approval_tickets t WHERE t.parent_ticket_id = $1 ORDER BY t.sequence_no";

/// To the microsecond, as a bound parameter is.
fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn event_document(event: &NewEvent) -> Value {
    json!({
        "id": event.id, "event_type": event.event_type, "aggregate_type": event.aggregate_type,
        "aggregate_id": event.aggregate_id, "payload": event.payload, "status": event.status,
        "causation_id": event.causation_id, "environment": event.environment, "created_by": event.created_by,
        "at": moment(event.at), "trace_id": event.trace_id,
        "trace_parent": event.trace_parent,
    })
}

fn ticket_document(ticket: &NewTicket) -> Result<Value, RepositoryError> {
    let context = serde_json::to_value(&ticket.context).map_err(mismatch)?;
    Ok(json!({
        "id": ticket.id, "event_id": ticket.event_id, "request_type": ticket.request_type, "status": ticket.status,
        "environment": ticket.environment, "requester_id": ticket.requester, "reason": ticket.reason,
        "system_id": ticket.system_id, "service_id": ticket.service_id, "vm_id": ticket.vm_id,
        "template_id": ticket.template_id, "instance_size_id": ticket.instance_size_id,
        "namespace": ticket.namespace, "context": context, "policy": ticket.policy, "approvers": ticket.approvers,
        "external_system": ticket.external_system, "parent": ticket.parent.map(|(parent, _)| parent),
        "sequence_no": ticket.parent.map(|(_, number)| number), "at": moment(ticket.at),
    }))
}

#[async_trait]
impl BatchRepository for PgUnitOfWork {
    async fn lock(&mut self, id: TicketId) -> Result<Option<BatchRecord>, RepositoryError> {
        let sql = concat!(batch_rows!(), " WHERE b.id = $1 FOR UPDATE OF b");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn tally(&mut self, id: TicketId) -> Result<Tally, RepositoryError> {
        Ok(select_one(&self.tx, TALLY, values![id]).await?.unwrap_or_default())
    }

    async fn settle(
        &mut self,
        id: TicketId,
        tally: &Tally,
        status: BatchStatus,
        completed_at: Option<DateTime<Utc>>,
    ) -> Result<(), RepositoryError> {
        let counters = tally.counters();
        let values = values![
            id,
            status,
            counters.success,
            counters.failed,
            counters.pending,
            counters.rejected,
            counters.cancelled,
            completed_at,
        ];
        execute(&self.tx, SETTLE, values).await.map(drop)
    }

    async fn insert(&mut self, batch: &NewBatch) -> Result<String, RepositoryError> {
        let values = values![
            batch.id,
            batch.at,
            batch.kind,
            batch.power_action,
            batch.environment,
            batch.child_count,
            batch.request_id,
            batch.request_hash,
            batch.reason,
            batch.created_by.to_string(),
        ];
        let number: Option<String> = fetch_one(&self.tx, INSERT, values).await?;
        number.ok_or_else(|| RepositoryError::Other("an INSERT answered no row".into()))
    }

    async fn insert_children(
        &mut self,
        children: &[(NewEvent, NewTicket)],
        steps: &[NewStep],
    ) -> Result<Vec<String>, RepositoryError> {
        let events = Value::Array(children.iter().map(|(event, _)| event_document(event)).collect());
        let tickets: Result<Vec<Value>, _> = children.iter().map(|(_, ticket)| ticket_document(ticket)).collect();
        let tickets = Value::Array(tickets?);
        let history = Value::Array(steps.iter().map(step_document).collect());
        execute(&self.tx, INSERT_EVENTS, values![events]).await?;
        let numbers: Option<Vec<String>> = fetch_one(&self.tx, INSERT_TICKETS, values![tickets]).await?;
        execute(&self.tx, INSERT_STEPS, values![tickets, history]).await?;
        Ok(numbers.unwrap_or_default())
    }

    async fn move_parent(
        &mut self,
        id: TicketId,
        path: &[Transition<TicketStatus>],
        by: &ParentMover,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let (Some(first), Some(last)) = (path.first(), path.last()) else {
            return Ok(true);
        };
        let values = values![id, first.from(), last.to(), by.actor, by.decided_by, at];
        Ok(execute(&self.tx, MOVE_PARENT, values).await? > 0)
    }

    async fn children_in(
        &mut self,
        id: TicketId,
        statuses: &[TicketStatus],
    ) -> Result<Vec<TicketRecord>, RepositoryError> {
        let sql = concat!(
            ticket_rows!(),
            " WHERE t.parent_ticket_id = $1 AND t.status = ANY($2) ORDER BY t.sequence_no"
        );
        let names = statuses.iter().map(|status| status.as_str().to_owned()).collect();
        select_all(&self.tx, sql, values![id, Texts(names)]).await
    }
}

fn visible_to(audience: &BatchAudience) -> Filter {
    let mut shown = Filter::default();
    if !audience.all {
        let values = values![audience.user.to_string(), Texts::environments(audience.approvals)];
        shown.and("(b.created_by = ? OR b.environment = ANY(?))", values);
    }
    shown
}

#[async_trait]
impl BatchQueries for PgStore {
    async fn get_batch(&self, audience: &BatchAudience, id: TicketId) -> Result<Option<BatchRecord>, RepositoryError> {
        let mut shown = visible_to(audience);
        shown.and("b.id = ?", values![id]);
        shown.first(&self.db, concat!(batch_rows!(), " WHERE {where}")).await
    }

    async fn batch_by_number(
        &self,
        audience: &BatchAudience,
        number: &str,
    ) -> Result<Option<BatchRecord>, RepositoryError> {
        let mut shown = visible_to(audience);
        shown.and("b.number = ?", values![number]);
        shown.first(&self.db, concat!(batch_rows!(), " WHERE {where}")).await
    }

    async fn batch_by_request(
        &self,
        user: UserId,
        kind: BatchKind,
        request: BatchRequestId,
    ) -> Result<Option<BatchRecord>, RepositoryError> {
        let sql = concat!(
            batch_rows!(),
            " WHERE b.created_by = $1 AND b.batch_type = $2 AND b.request_id = $3"
        );
        select_one(&self.db, sql, values![user.to_string(), kind, request]).await
    }

    async fn list_batches(
        &self,
        audience: &BatchAudience,
        filter: &BatchFilter,
        page: PageRequest,
    ) -> Result<Page<BatchRecord>, RepositoryError> {
        let BatchFilter {
            status,
            kind,
            include_archived,
        } = *filter;
        let mut shown = Filter::default();
        if !audience.all {
            shown.and("b.created_by = ?", values![audience.user.to_string()]);
        }
        shown.and_some("b.status = ?", status);
        shown.and_some("b.batch_type = ?", kind);
        if !include_archived {
            shown.and("b.archived_at IS NULL", values![]);
        }
        let rows = concat!(
            batch_rows!(),
            " WHERE {where} ORDER BY b.created_at DESC, b.id DESC {limit}"
        );
        List {
            rows,
            counted: "batch_approval_tickets b",
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }

    async fn batch_children(&self, id: TicketId) -> Result<Vec<BatchChild>, RepositoryError> {
        select_all(&self.db, CHILDREN, values![id]).await
    }
}
