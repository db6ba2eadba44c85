//! Domain events, and the tasks that people see of them.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use shepherd_domain::Problem;
use shepherd_domain::access::{LimitedVisibility, Visibility};
use shepherd_domain::event::{EventStatus, EventType};
use shepherd_domain::ids::{EventId, SystemId, UserId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::transition::Transition;
use shepherd_ports::RepositoryError;
use shepherd_ports::events::{Event, EventAudience, EventFilter, EventQueries, EventRepository, NewEvent, Task};

use crate::statement::{Filter, List, Texts, Uuids, execute, fetch_all, select_one, uuid_in, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! event_rows {
    () => {
        "SELECT e.id, e.event_type, e.aggregate_type, e.aggregate_id, e.payload, e.status, e.causation_id, \
         e.environment, e.error_code, e.error_params, e.created_by, e.processed_at, e.created_at, e.trace_id, \
         e.trace_parent \
         FROM domain_events e"
    };
}

macro_rules! new_event {
    () => {
        "INSERT INTO domain_events (id, event_type, aggregate_type, aggregate_id, payload, status, causation_id, \
         environment, created_by, created_at, updated_at, trace_id, trace_parent, processed_at) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, \
         CASE WHEN $6 = 'COMPLETED' THEN $10::timestamptz END"
    };
}

macro_rules! task_rows {
    () => {
        "SELECT e.id, e.event_type, e.status, COALESCE(t.attempt_count, 0) AS attempt, t.next_attempt_at, \
         COALESCE(e.error_code, CASE WHEN e.status = 'PROCESSING' THEN t.error_code END) AS error_code, \
         COALESCE(e.error_params, CASE WHEN e.status = 'PROCESSING' THEN t.error_params END) AS error_params, \
         e.aggregate_type, e.aggregate_id, \
         COALESCE((SELECT v.name FROM vms v WHERE v.id = t.vm_id), t.context_snapshot #>> '{vm,name}', \
             t.context_snapshot #>> '{service,name}') AS resource_name, \
         t.id AS ticket_id, t.status AS ticket_status, e.created_at, \
         (SELECT min(h.at) FROM ticket_transitions h WHERE h.ticket_id = t.id AND h.to_status = 'EXECUTING') \
             AS started_at, \
         CASE WHEN e.status IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN e.processed_at END AS finished_at \
         FROM domain_events e LEFT JOIN approval_tickets t ON t.event_id = e.id"
    };
}

/// Own events; those of visible machines, Systems and Services (requests, which have an environment, are not facts
/// about their Service); those of tickets, and what followed from these, of
/// the environments in which the caller may view approvals. Parameters: user, all machines, test Systems, prod
/// Systems, all Systems, System ids as text, all Services, Systems, environments.
const VISIBLE: &str = concat!(
    "(e.created_by = ? \
      OR (e.aggregate_type = 'vm' AND (? OR EXISTS ( \
          SELECT FROM vms v JOIN services s ON s.id = v.service_id JOIN namespace_registry n ON n.name = v.namespace \
          WHERE v.id = ",
    uuid_in!("e.aggregate_id"),
    " AND s.system_id = ANY(CASE n.environment WHEN 'test' THEN ? ELSE ? END)))) \
      OR (e.aggregate_type = 'system' AND (? OR e.aggregate_id = ANY(?))) \
      OR (e.aggregate_type = 'service' AND e.environment IS NULL AND (? OR EXISTS ( \
          SELECT FROM services s WHERE s.id = ",
    uuid_in!("e.aggregate_id"),
    " AND s.system_id = ANY(?)))) \
      OR EXISTS (SELECT FROM approval_tickets a \
          WHERE a.event_id IN (e.id, e.causation_id) AND a.environment = ANY(?)))"
);

fn visible_to(audience: &EventAudience) -> Filter {
    let mut filter = Filter::default();
    let EventAudience {
        user,
        vms,
        systems,
        approvals,
    } = audience;
    let (all_vms, vms) = split(vms);
    let (all_systems, systems) = split(systems);
    if all_vms && all_systems {
        return filter;
    }
    let system_names = Texts(systems.systems.iter().map(SystemId::to_string).collect());
    let values = values![
        user.to_string(),
        all_vms,
        Uuids::systems(&vms.test),
        Uuids::systems(&vms.prod),
        all_systems,
        system_names,
        all_systems,
        Uuids::systems(&systems.systems),
        Texts::environments(*approvals),
    ];
    filter.and(VISIBLE, values);
    filter
}

fn split(visibility: &Visibility) -> (bool, LimitedVisibility) {
    match visibility {
        Visibility::Everything => (true, LimitedVisibility::default()),
        Visibility::Limited(limited) => (false, limited.clone()),
    }
}

#[async_trait]
impl EventRepository for PgUnitOfWork {
    async fn insert(&mut self, event: NewEvent) -> Result<(), RepositoryError> {
        execute(&self.tx, new_event!(), columns(&event)).await.map(drop)
    }

    async fn insert_once(&mut self, event: NewEvent) -> Result<bool, RepositoryError> {
        let sql = concat!(
            new_event!(),
            " WHERE NOT EXISTS (SELECT FROM domain_events WHERE aggregate_type = $3 AND aggregate_id = $4 \
             AND event_type = $2 AND causation_id = $7)"
        );
        Ok(execute(&self.tx, sql, columns(&event)).await? > 0)
    }

    async fn transition(
        &mut self,
        id: EventId,
        step: Transition<EventStatus>,
        error: Option<&Problem>,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE domain_events SET status = $3, error_code = $4, error_params = $5, \
                   processed_at = CASE WHEN $3 IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN $6::timestamptz END \
                   WHERE id = $1 AND status = $2";
        let (code, params) = error_columns(error);
        let values = values![id, step.from(), step.to(), code, params, at];
        Ok(execute(&self.tx, sql, values).await? > 0)
    }

    async fn open_followers(&mut self, vm: VmId, causation: EventId) -> Result<Vec<EventId>, RepositoryError> {
        let sql = "SELECT to_jsonb(id) AS doc FROM domain_events WHERE aggregate_type = 'vm' AND aggregate_id = $1 \
                   AND causation_id = $2 AND status = 'PROCESSING' ORDER BY created_at, id";
        fetch_all(&self.tx, sql, values![vm.to_string(), causation]).await
    }

    async fn find(&mut self, id: EventId) -> Result<Option<Event>, RepositoryError> {
        select_one(&self.tx, concat!(event_rows!(), " WHERE e.id = $1"), values![id]).await
    }
}

fn columns(event: &NewEvent) -> Vec<sea_orm::Value> {
    values![
        event.id,
        event.event_type,
        event.aggregate_type,
        event.aggregate_id,
        event.payload,
        event.status,
        event.causation_id,
        event.environment,
        event.created_by,
        event.at,
        event.trace_id,
        event.trace_parent,
    ]
}

/// The two columns of an error, here and on tickets.
pub(crate) fn error_columns(error: Option<&Problem>) -> (Option<&'static str>, Option<Value>) {
    (
        error.map(|problem| problem.code.as_str()),
        error.map(|problem| Value::Object(problem.params.clone())),
    )
}

#[async_trait]
impl EventQueries for PgStore {
    async fn list_events(
        &self,
        audience: &EventAudience,
        filter: &EventFilter,
        page: PageRequest,
    ) -> Result<Page<Event>, RepositoryError> {
        let mut shown = visible_to(audience);
        shown.and_some("e.created_by = ?", filter.requested_by.as_ref());
        shown.and_some("e.aggregate_type = ?", filter.aggregate_type);
        shown.and_some("e.aggregate_id = ?", filter.aggregate_id.as_deref());
        shown.and_some("e.event_type = ?", filter.event_type);
        shown.and_some("e.status = ?", filter.status);
        if !filter.include_archived {
            shown.and("e.archived_at IS NULL", values![]);
        }
        let rows = concat!(
            event_rows!(),
            " WHERE {where} ORDER BY e.created_at DESC, e.id DESC {limit}"
        );
        List {
            rows,
            counted: "domain_events e",
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }

    async fn get_event(&self, audience: &EventAudience, id: EventId) -> Result<Option<Event>, RepositoryError> {
        let mut shown = visible_to(audience);
        shown.and("e.id = ?", values![id]);
        shown.first(&self.db, concat!(event_rows!(), " WHERE {where}")).await
    }

    async fn list_tasks(
        &self,
        user: UserId,
        status: Option<EventStatus>,
        kind: Option<EventType>,
        include_archived: bool,
        page: PageRequest,
    ) -> Result<Page<Task>, RepositoryError> {
        let mut shown = Filter::default();
        shown.and(
            "e.created_by = ? AND right(e.event_type, 10) = '_REQUESTED'",
            values![user.to_string()],
        );
        shown.and_some("e.status = ?", status);
        shown.and_some("e.event_type = ?", kind);
        if !include_archived {
            shown.and("e.archived_at IS NULL", values![]);
        }
        let rows = concat!(
            task_rows!(),
            " WHERE {where} ORDER BY e.created_at DESC, e.id DESC {limit}"
        );
        List {
            rows,
            counted: "domain_events e",
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }

    async fn get_task(&self, audience: &EventAudience, id: EventId) -> Result<Option<Task>, RepositoryError> {
        let mut shown = visible_to(audience);
        shown.and("e.id = ? AND right(e.event_type, 10) = '_REQUESTED'", values![id]);
        shown.first(&self.db, concat!(task_rows!(), " WHERE {where}")).await
    }
}
