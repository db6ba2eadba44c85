//! Approval tickets, their history, and what the checks of a create request need to know.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;
use serde::Deserialize;
use serde_json::{Value, json};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::EventStatus;
use shepherd_domain::ids::{EventId, InstanceSizeId, ServiceId, TemplateId, TicketId, UserId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::transition::Transition;
use shepherd_domain::{ActorId, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::namespaces::NamespaceRecord;
use shepherd_ports::sizes::SizeRecord;
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::tickets::{
    ApprovalColumns, CreateFacts, ExistingTicket, HeldReferences, HistoryStep, NewStep, NewTicket, ServiceFacts,
    SpecChange, TicketFilter, TicketQueries, TicketRecord, TicketRepository,
};

use crate::errors::mismatch;
use crate::events::error_columns;
use crate::namespaces::namespace_rows;
use crate::sizes::size_rows;
use crate::statement::{
    Filter, List, Texts, empty_page, execute, fetch_one, select_all, select_one, uuid_in, uuid_v7, values,
};
use crate::store::PgStore;
use crate::templates::template_rows;
use crate::unit_of_work::PgUnitOfWork;

/// Most characters of `last_error`.
const MAX_ERROR: usize = 512;

/// One statement for both, since every submission sends it. The lock on the Service is the weakest that stops a delete:
/// numbers can still be taken and texts edited meanwhile.
const HOLD_REFERENCES: &str = concat!(
    "SELECT jsonb_build_object( \
         'service', EXISTS (SELECT FROM (SELECT s.id FROM services s WHERE s.id = $1 FOR KEY SHARE OF s) held), \
         'namespace', (SELECT to_jsonb(held) FROM (",
    namespace_rows!("0"),
    " WHERE n.name = $2 FOR SHARE OF n) held)) AS doc"
);

macro_rules! ticket_rows {
    () => {
        concat!(
            "SELECT t.id, t.number, t.event_id, t.request_type, t.status, t.environment, t.requester_id, \
             COALESCE((SELECT COALESCE(u.display_name, u.username) FROM users u WHERE u.id = ",
            uuid_in!("t.requester_id"),
            "), t.context_snapshot #>> '{requester,display_name}', t.context_snapshot #>> '{requester,username}') \
             AS requester_name, t.reason, t.system_id, t.service_id, t.vm_id, t.template_id, t.instance_size_id, \
             t.namespace, t.context_snapshot, t.approver_id, t.decided_at, t.decided_by_kind, t.decision_comment, \
             t.reject_reason, t.selected_cluster_id, t.selected_template_version, t.selected_storage_class, \
             t.template_snapshot, t.instance_size_snapshot, t.modified_spec, t.modification_reason, \
             t.modified_at, t.policy_id, t.eligible_approvers, t.external_system_id, t.attempt_count, t.retry_count, \
             t.last_attempt_at, t.next_attempt_at, t.unavailable_since, t.error_code, t.error_params, t.last_error, \
             t.row_version, t.created_at, t.parent_ticket_id, t.sequence_no FROM approval_tickets t"
        )
    };
}
pub(crate) use ticket_rows;

const INSERT: &str = concat!(
    "WITH ticket AS ( \
         INSERT INTO approval_tickets (id, event_id, request_type, status, environment, requester_id, reason, \
             system_id, service_id, vm_id, template_id, instance_size_id, namespace, context_snapshot, \
             policy_id, eligible_approvers, external_system_id, parent_ticket_id, sequence_no, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $17, $18, $19, $20, $21, $15, $15) \
         RETURNING id, number \
     ), history AS ( \
         INSERT INTO ticket_transitions (id, ticket_id, seq, from_status, to_status, actor_id, actor_kind, reason, at) \
         SELECT ",
    uuid_v7!(),
    ", ticket.id, step.seq, step.doc ->> 'from', step.doc ->> 'to', step.doc ->> 'actor', step.doc ->> 'kind', \
             step.doc ->> 'reason', $15 \
         FROM ticket, jsonb_array_elements($16) WITH ORDINALITY AS step (doc, seq) \
     ) \
     SELECT to_jsonb(number) AS doc FROM ticket"
);

const APPROVE: &str = "UPDATE approval_tickets SET status = $3, approver_id = $4, decided_by_kind = $5, \
         decision_comment = $6, decided_at = $7, selected_cluster_id = $8, selected_template_version = $9, \
         selected_storage_class = $10, template_snapshot = $11, instance_size_snapshot = $12, \
         vm_id = COALESCE($13, vm_id) \
     WHERE id = $1 AND status = $2 AND modified_spec IS NOT DISTINCT FROM $14::jsonb";

/// Without a spec the reason, the time and the person go as well.
const MODIFY_SPEC: &str = "UPDATE approval_tickets SET modified_spec = $2::jsonb, modification_reason = $3::text, \
         modified_by = $4::text, modified_at = CASE WHEN $2::jsonb IS NULL THEN NULL ELSE $5::timestamptz END \
     WHERE id = $1 AND status = 'PENDING_APPROVAL' AND ($6::bigint IS NULL OR row_version = $6::bigint)";

const ADD_STEP: &str = concat!(
    "INSERT INTO ticket_transitions (id, ticket_id, seq, from_status, to_status, actor_id, actor_kind, reason, at) \
     SELECT ",
    uuid_v7!(),
    ", $1, COALESCE(max(seq), 0) + 1, $2::text, $3::text, $4::text, $5::text, $6::text, $7::timestamptz \
     FROM ticket_transitions WHERE ticket_id = $1"
);

/// A snooze gives its attempt back and keeps the time since when the cluster has been away; a failed attempt ends that.
const POSTPONE: &str = "UPDATE approval_tickets SET error_code = $2, error_params = $3, last_error = $4, \
         next_attempt_at = $5, \
         attempt_count = CASE WHEN $6::timestamptz IS NULL THEN attempt_count ELSE GREATEST(attempt_count - 1, 0) END, \
         unavailable_since = $6::timestamptz \
     WHERE id = $1 AND status = 'EXECUTING'";

/// All four parts in one row; the count of machines is left out ([`crate::namespaces`]).
const CREATE_FACTS: &str = concat!(
    "SELECT jsonb_build_object( \
         'service', (SELECT to_jsonb(r) FROM (SELECT s.id, s.name, s.next_instance_index, s.system_id, \
             y.name AS system_name FROM services s JOIN systems y ON y.id = s.system_id WHERE s.id = $1) r), \
         'namespace', (SELECT to_jsonb(r) FROM (",
    namespace_rows!("0"),
    " WHERE n.name = $2) r), 'template', (SELECT to_jsonb(r) FROM (",
    template_rows!(),
    " WHERE t.id = $3) r), 'size', (SELECT to_jsonb(r) FROM (",
    size_rows!(),
    " WHERE z.id = $4) r)) AS doc"
);

#[derive(Deserialize)]
struct CreateFactsRow {
    service: Option<ServiceFacts>,
    namespace: Option<NamespaceRecord>,
    template: Option<TemplateRecord>,
    size: Option<SizeRecord>,
}

#[derive(Deserialize)]
struct EventOfTicket {
    payload: Value,
    status: EventStatus,
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_ERROR).collect()
}

/// A step of the history, for statements that write several.
pub(crate) fn step_document(step: &NewStep) -> Value {
    json!({"from": step.from, "to": step.to, "actor": step.actor, "kind": step.kind, "reason": step.reason})
}

#[async_trait]
impl TicketRepository for PgUnitOfWork {
    async fn hold_references(
        &mut self,
        service: ServiceId,
        namespace: &str,
    ) -> Result<HeldReferences, RepositoryError> {
        let held: Option<HeldReferences> = fetch_one(&self.tx, HOLD_REFERENCES, values![service, namespace]).await?;
        Ok(held.unwrap_or_default())
    }

    async fn insert(&mut self, ticket: &NewTicket, steps: &[NewStep]) -> Result<String, RepositoryError> {
        let context = serde_json::to_value(&ticket.context).map_err(mismatch)?;
        let history = Value::Array(steps.iter().map(step_document).collect());
        let values = values![
            ticket.id,
            ticket.event_id,
            ticket.request_type,
            ticket.status,
            ticket.environment,
            ticket.requester.to_string(),
            ticket.reason,
            ticket.system_id,
            ticket.service_id,
            ticket.vm_id,
            ticket.template_id,
            ticket.instance_size_id,
            ticket.namespace,
            context,
            ticket.at,
            history,
            ticket.policy,
            Texts(ticket.approvers.clone()),
            ticket.external_system,
            ticket.parent.map(|(parent, _)| parent),
            ticket.parent.map(|(_, number)| number),
        ];
        let number: Option<String> = fetch_one(&self.tx, INSERT, values).await?;
        number.ok_or_else(|| RepositoryError::Other("an INSERT answered no row".into()))
    }

    async fn approve(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        columns: &ApprovalColumns,
    ) -> Result<bool, RepositoryError> {
        let values = values![
            id,
            step.from(),
            step.to(),
            columns.approver,
            columns.decided_by,
            columns.comment,
            columns.at,
            columns.cluster,
            columns.template_version,
            columns.storage_class,
            columns.template_snapshot,
            columns.size_snapshot,
            columns.vm_id,
            columns.judged_spec,
        ];
        Ok(execute(&self.tx, APPROVE, values).await? > 0)
    }

    async fn modify_spec(
        &mut self,
        id: TicketId,
        change: Option<&SpecChange>,
        version: Option<i64>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let values = values![
            id,
            change.map(|change| change.spec.clone()),
            change.map(|change| change.reason.clone()),
            change.map(|change| change.by.clone()),
            at,
            version,
        ];
        Ok(execute(&self.tx, MODIFY_SPEC, values).await? > 0)
    }

    async fn reject(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        approver: &ActorId,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE approval_tickets SET status = $3, approver_id = $4, reject_reason = $5, decided_at = $6, \
                   decided_by_kind = CASE WHEN $4 LIKE 'system:%' THEN 'EXTERNAL' ELSE 'USER' END \
                   WHERE id = $1 AND status = $2";
        let values = values![id, step.from(), step.to(), approver, reason, at];
        Ok(execute(&self.tx, sql, values).await? > 0)
    }

    async fn transition(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE approval_tickets SET status = $3, next_attempt_at = NULL, unavailable_since = NULL, \
                   decided_at = CASE WHEN $3 = 'CANCELLED' THEN $4 ELSE decided_at END \
                   WHERE id = $1 AND status = $2";
        Ok(execute(&self.tx, sql, values![id, step.from(), step.to(), at]).await? > 0)
    }

    async fn fail(
        &mut self,
        id: TicketId,
        step: Transition<TicketStatus>,
        error: &Problem,
        detail: &str,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE approval_tickets SET status = $3, error_code = $4, error_params = $5, last_error = $6, \
                   next_attempt_at = NULL, unavailable_since = NULL WHERE id = $1 AND status = $2";
        let (code, params) = error_columns(Some(error));
        let values = values![id, step.from(), step.to(), code, params, cut(detail)];
        Ok(execute(&self.tx, sql, values).await? > 0)
    }

    async fn count_attempt(&mut self, id: TicketId, at: DateTime<Utc>) -> Result<Option<i32>, RepositoryError> {
        let sql = "WITH counted AS (UPDATE approval_tickets SET attempt_count = attempt_count + 1, \
                   last_attempt_at = $2, next_attempt_at = NULL WHERE id = $1 AND status = 'EXECUTING' \
                   RETURNING attempt_count) SELECT to_jsonb(attempt_count) AS doc FROM counted";
        fetch_one(&self.tx, sql, values![id, at]).await
    }

    async fn refund_attempt(&mut self, id: TicketId) -> Result<(), RepositoryError> {
        let sql = "UPDATE approval_tickets SET attempt_count = GREATEST(attempt_count - 1, 0) \
                   WHERE id = $1 AND status = 'EXECUTING'";
        execute(&self.tx, sql, values![id]).await.map(drop)
    }

    async fn postpone(
        &mut self,
        id: TicketId,
        error: &Problem,
        detail: &str,
        next: DateTime<Utc>,
        snoozed_at: Option<DateTime<Utc>>,
    ) -> Result<bool, RepositoryError> {
        let (code, params) = error_columns(Some(error));
        let values = values![id, code, params, cut(detail), next, snoozed_at];
        Ok(execute(&self.tx, POSTPONE, values).await? > 0)
    }

    async fn guard_restart(&mut self, id: TicketId, instance: Option<&str>) -> Result<Option<String>, RepositoryError> {
        let sql = "WITH guarded AS (UPDATE approval_tickets SET power_guard_uid = COALESCE(power_guard_uid, $2::text) \
                   WHERE id = $1 AND status = 'EXECUTING' RETURNING power_guard_uid) \
                   SELECT to_jsonb(power_guard_uid) AS doc FROM guarded";
        let guarded: Option<Option<String>> = fetch_one(&self.tx, sql, values![id, instance]).await?;
        Ok(guarded.flatten())
    }

    async fn add_step(&mut self, id: TicketId, step: &NewStep, at: DateTime<Utc>) -> Result<(), RepositoryError> {
        let values = values![id, step.from, step.to, step.actor, step.kind, step.reason, at];
        execute(&self.tx, ADD_STEP, values).await.map(drop)
    }

    async fn find(&mut self, id: TicketId) -> Result<Option<TicketRecord>, RepositoryError> {
        by_id(&self.tx, id).await
    }

    async fn find_by_event(&mut self, event: EventId) -> Result<Option<TicketRecord>, RepositoryError> {
        select_one(
            &self.tx,
            concat!(ticket_rows!(), " WHERE t.event_id = $1"),
            values![event],
        )
        .await
    }
}

async fn by_id(db: &impl ConnectionTrait, id: TicketId) -> Result<Option<TicketRecord>, RepositoryError> {
    select_one(db, concat!(ticket_rows!(), " WHERE t.id = $1"), values![id]).await
}

fn narrowed(mut shown: Filter, filter: &TicketFilter) -> Filter {
    let TicketFilter {
        status,
        environment,
        request_types,
        requester,
        parent_ticket_id,
        include_children,
        include_archived,
    } = filter;
    shown.and_some("t.status = ?", *status);
    shown.and_some("t.environment = ?", *environment);
    if let Some(types) = request_types {
        let names = types.iter().map(|kind| kind.as_str().to_owned()).collect();
        shown.and("t.request_type = ANY(?)", values![Texts(names)]);
    }
    if let Some(requester) = requester {
        let by_id_or_name = "(t.requester_id = ? \
             OR t.requester_id IN (SELECT u.id::text FROM users u WHERE lower(u.username) = lower(?)))";
        shown.and(by_id_or_name, values![requester, requester]);
    }
    match parent_ticket_id {
        Some(parent) => shown.and("t.parent_ticket_id = ?", values![parent]),
        None if !include_children => shown.and("t.parent_ticket_id IS NULL", values![]),
        None => {}
    }
    if !include_archived {
        shown.and("t.archived_at IS NULL", values![]);
    }
    shown
}

#[async_trait]
impl TicketQueries for PgStore {
    async fn get_ticket(&self, id: TicketId) -> Result<Option<TicketRecord>, RepositoryError> {
        by_id(&self.db, id).await
    }

    async fn ticket_by_number(&self, number: &str) -> Result<Option<TicketRecord>, RepositoryError> {
        select_one(
            &self.db,
            concat!(ticket_rows!(), " WHERE t.number = $1"),
            values![number],
        )
        .await
    }

    async fn ticket_history(&self, id: TicketId) -> Result<Vec<HistoryStep>, RepositoryError> {
        let sql = "SELECT seq, from_status, to_status, actor_id, actor_kind, reason, at FROM ticket_transitions \
                   WHERE ticket_id = $1 ORDER BY seq";
        select_all(&self.db, sql, values![id]).await
    }

    async fn ticket_event(&self, id: EventId) -> Result<Option<(Value, EventStatus)>, RepositoryError> {
        let sql = "SELECT payload, status FROM domain_events WHERE id = $1";
        let event: Option<EventOfTicket> = select_one(&self.db, sql, values![id]).await?;
        Ok(event.map(|event| (event.payload, event.status)))
    }

    async fn list_tickets(
        &self,
        visible: EnvironmentSet,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Page<TicketRecord>, RepositoryError> {
        if visible.is_empty() {
            return Ok(empty_page(page));
        }
        let mut shown = Filter::default();
        if visible != EnvironmentSet::ALL {
            shown.and("t.environment = ANY(?)", values![Texts::environments(visible)]);
        }
        let rows = concat!(ticket_rows!(), " WHERE {where} ORDER BY t.created_at, t.id {limit}");
        List {
            rows,
            counted: "approval_tickets t",
            filter: narrowed(shown, filter),
        }
        .page(&self.db, page)
        .await
    }

    async fn my_tickets(
        &self,
        user: UserId,
        filter: &TicketFilter,
        page: PageRequest,
    ) -> Result<Page<TicketRecord>, RepositoryError> {
        let mut shown = Filter::default();
        shown.and("t.requester_id = ?", values![user.to_string()]);
        let rows = concat!(
            ticket_rows!(),
            " WHERE {where} ORDER BY t.created_at DESC, t.id DESC {limit}"
        );
        List {
            rows,
            counted: "approval_tickets t",
            filter: narrowed(shown, filter),
        }
        .page(&self.db, page)
        .await
    }

    async fn create_facts(
        &self,
        service: ServiceId,
        namespace: &str,
        template: TemplateId,
        size: InstanceSizeId,
    ) -> Result<CreateFacts, RepositoryError> {
        let values = values![service, namespace, template, size];
        let found: Option<CreateFactsRow> = fetch_one(&self.db, CREATE_FACTS, values).await?;
        let none = CreateFactsRow {
            service: None,
            namespace: None,
            template: None,
            size: None,
        };
        let CreateFactsRow {
            service,
            namespace,
            template,
            size,
        } = found.unwrap_or(none);
        Ok(CreateFacts {
            service,
            namespace,
            template,
            size,
        })
    }

    async fn pending_create(
        &self,
        requester: UserId,
        service: ServiceId,
        template: TemplateId,
        size: InstanceSizeId,
        namespace: &str,
    ) -> Result<Option<ExistingTicket>, RepositoryError> {
        let sql = "SELECT id, number FROM approval_tickets WHERE requester_id = $1 AND service_id = $2 \
                   AND template_id = $3 AND instance_size_id = $4 AND namespace = $5 AND request_type = 'CREATE_VM' \
                   AND status IN ('SUBMITTED', 'PENDING_APPROVAL') AND parent_ticket_id IS NULL";
        let values = values![requester.to_string(), service, template, size, namespace];
        select_one(&self.db, sql, values).await
    }

    async fn open_vm_operation(&self, vm: VmId, group: &str) -> Result<Option<ExistingTicket>, RepositoryError> {
        let sql = "SELECT id, number FROM approval_tickets WHERE vm_id = $1 AND operation_group = $2 \
                   AND status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING')";
        select_one(&self.db, sql, values![vm, group]).await
    }
}
