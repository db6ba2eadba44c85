//! The audit log: appended to by one statement, read newest first, purged by a function of the database.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::QueryResult;
use serde_json::{Value, json};
use shepherd_domain::audit::{ActionPattern, AuditAction, AuditEntry, RetentionClass};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::AuditId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::audit::{
    AuditFilter, AuditQueries, AuditRecord, AuditRepository, AuditStamp, ExportBatch, ExportPosition, Noted, Purged,
};
use shepherd_ports::{RepositoryError, metrics};
use uuid::Uuid;

use crate::errors::store_error;
use crate::statement::{Filter, List, Texts, execute, fetch_one, select_all, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// One text for any number of rows: the rows travel as one JSON array.
const APPEND: &str = "INSERT INTO audit_logs (id, action, action_code, performed_by, performed_by_name, \
         performed_at, resource_type, resource_id, resource_name, parent_type, parent_id, ticket_id, environment, \
         params, outcome, request_id, ip, user_agent, retention_class, retain_until) \
     SELECT e.id, e.action, e.action_code, $2, $3, $4, e.resource_type, e.resource_id, e.resource_name, \
         e.parent_type, e.parent_id, e.ticket_id, e.environment, e.params, e.outcome, $5, $6::text::inet, $7, \
         e.retention_class, e.retain_until \
     FROM jsonb_to_recordset($1) AS e (id uuid, action text, action_code text, resource_type text, \
         resource_id text, resource_name text, parent_type text, parent_id text, ticket_id uuid, environment text, \
         params jsonb, outcome text, retention_class text, retain_until timestamptz)";

const ROWS: &str = "SELECT a.id, a.action, a.action_code, a.resource_type, a.resource_id, a.resource_name, \
         a.performed_by, a.performed_by_name, a.performed_at, a.ticket_id, a.environment, a.params, a.outcome, \
         a.request_id, host(a.ip) AS ip \
     FROM audit_logs a WHERE {where} ORDER BY a.performed_at DESC, a.id DESC {limit}";

/// The exported objects of notifications-audit.md §9 as JSON text, and where their rows stand. PostgreSQL writes the
/// text from whole rows, which costs it a third of what `json_build_object` would, and nothing decodes it on its way.
/// A cluster is named by the row about it, or by the details of a row.
pub(crate) const EXPORTED: &str = "SELECT to_json(exported)::text, exported.\"@timestamp\", exported.event_id FROM ( \
     SELECT a.performed_at AS \"@timestamp\", a.id AS event_id, a.action, a.action_code, \
         CASE WHEN a.outcome = 'failure' OR a.action_code IN ('SECURITY', 'ACCESS_DENIED') \
             THEN 'warn' ELSE 'info' END AS level, \
         a.outcome, actor, resource, context, a.params AS details \
     FROM audit_logs a, \
         LATERAL (SELECT a.performed_by AS id, a.performed_by_name AS name, host(a.ip) AS ip) AS actor, \
         LATERAL (SELECT a.resource_type AS type, a.resource_id AS id, a.resource_name AS name) AS resource, \
         LATERAL (SELECT a.environment, \
             coalesce(CASE a.resource_type WHEN 'cluster' THEN a.resource_name END, \
                 a.params ->> 'cluster', a.params ->> 'cluster_id') AS cluster, \
             a.request_id AS correlation_id, a.ticket_id) AS context \
     WHERE {where} ORDER BY a.performed_at DESC, a.id DESC {limit}) AS exported";

/// Namespace of the locks of what is noted once.
const NOTE_LOCK: i64 = 0x6e6f_7465_6f6e_6365;

const PURGE: &str = "SELECT class, purged AS rows FROM audit_purge($1)";

/// A function of that name that belongs to somebody else would be refused by the trigger of the table.
const PURGE_AVAILABLE: &str = "SELECT to_jsonb(EXISTS (SELECT FROM pg_proc p \
     WHERE p.oid = to_regprocedure('audit_purge(integer)') \
         AND pg_get_userbyid(p.proowner) = 'shepherd_retention' \
         AND has_function_privilege(p.oid, 'EXECUTE'))) AS doc";

fn document((id, entry): &(AuditId, AuditEntry), stamp: &AuditStamp<'_>) -> Value {
    let class = RetentionClass::of(entry.action, entry.environment);
    json!({
        "id": id,
        "action": entry.action.as_str(),
        "action_code": entry.action.code(),
        "resource_type": entry.resource_type,
        "resource_id": entry.resource_id,
        "resource_name": entry.resource_name,
        "parent_type": entry.parent.as_ref().map(|(kind, _)| kind),
        "parent_id": entry.parent.as_ref().map(|(_, id)| id),
        "ticket_id": entry.ticket_id,
        "environment": entry.environment,
        "params": entry.details.clone().into_value(),
        "outcome": entry.outcome,
        "retention_class": class,
        "retain_until": stamp.retention.retain_until(class, stamp.at),
    })
}

#[async_trait]
impl AuditRepository for PgUnitOfWork {
    async fn append(
        &mut self,
        entries: &[(AuditId, AuditEntry)],
        stamp: &AuditStamp<'_>,
    ) -> Result<(), RepositoryError> {
        if entries.is_empty() {
            return Ok(());
        }
        let rows = Value::Array(entries.iter().map(|entry| document(entry, stamp)).collect());
        let context = stamp.context;
        // A component has no name beside its id.
        let name = context.actor_name.as_deref().unwrap_or(context.actor.as_str());
        let ip = context.ip.map(|address| address.to_string());
        let values = values![
            rows,
            context.actor,
            name,
            stamp.at,
            context.request_id,
            ip,
            context.user_agent
        ];
        execute(&self.tx, APPEND, values).await?;
        for (_, entry) in entries {
            let code = entry.action.code();
            self.counted.later(move || metrics::audit_row(code));
        }
        Ok(())
    }

    async fn last_noted(
        &mut self,
        action: AuditAction,
        since: DateTime<Utc>,
    ) -> Result<Option<Noted>, RepositoryError> {
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))";
        execute(&self.tx, lock, values![action.as_str(), NOTE_LOCK]).await?;
        // A statement of its own sees what was committed while this one waited. Few rows are of the last while, and the
        // index of actions finds them; their numbers alone would have the whole log read.
        let noted = "WITH late AS MATERIALIZED ( \
                 SELECT resource_id, seq, performed_at FROM audit_logs WHERE action = $1 AND performed_at > $2 \
             ) \
             SELECT to_jsonb(l) AS doc FROM late l ORDER BY l.seq DESC LIMIT 1";
        fetch_one(&self.tx, noted, values![action.as_str(), since]).await
    }

    async fn purge(&mut self, batch: u32) -> Result<Vec<Purged>, RepositoryError> {
        let batch = i32::try_from(batch).unwrap_or(i32::MAX);
        select_all(&self.tx, PURGE, values![batch]).await
    }
}

#[async_trait]
impl AuditQueries for PgStore {
    async fn list_audit(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditRecord>, RepositoryError> {
        List {
            rows: ROWS,
            counted: "audit_logs a",
            filter: shown(filter),
        }
        .page(&self.db, page)
        .await
    }

    async fn export_audit_page(
        &self,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<String>, RepositoryError> {
        List {
            rows: EXPORTED,
            counted: "audit_logs a",
            filter: shown(filter),
        }
        .texts(&self.db, page)
        .await
    }

    async fn export_audit_batch(
        &self,
        filter: &AuditFilter,
        after: Option<ExportPosition>,
        limit: u32,
    ) -> Result<ExportBatch, RepositoryError> {
        let mut rest = match after {
            None => shown(filter),
            // What follows a row is before the end anyway. Said twice, the index would be read from the end on.
            Some(_) => shown(&AuditFilter {
                to: None,
                ..filter.clone()
            }),
        };
        if let Some(last) = after {
            rest.and("(a.performed_at, a.id) < (?, ?)", values![last.performed_at, last.id]);
        }
        let select = EXPORTED.replace("{limit}", &format!("LIMIT {limit}"));
        let found = rest.rows(&self.db, &select).await?;
        let objects: Result<Vec<String>, _> = found.iter().map(|row| row.try_get_by_index(0)).collect();
        Ok(ExportBatch {
            objects: objects.map_err(store_error)?,
            last: found.last().map(position).transpose()?,
        })
    }

    async fn purge_available(&self) -> Result<bool, RepositoryError> {
        Ok(fetch_one(&self.db, PURGE_AVAILABLE, values![])
            .await?
            .unwrap_or_default())
    }
}

/// The condition of a list or an export.
fn shown(filter: &AuditFilter) -> Filter {
    let mut shown = Filter::default();
    if filter.visible.is_empty() {
        // The permission is held on Systems alone, and audit rows belong to none.
        shown.and("false", values![]);
    } else if filter.visible != EnvironmentSet::ALL {
        let visible = Texts::environments(filter.visible);
        shown.and("(a.environment IS NULL OR a.environment = ANY(?))", values![visible]);
    }
    match &filter.action {
        Some(ActionPattern::Exactly(action)) => shown.and("a.action COLLATE \"C\" = ?", values![action]),
        Some(ActionPattern::StartingWith(prefix)) if prefix.is_empty() => {}
        Some(ActionPattern::StartingWith(prefix)) => {
            shown.and("a.action COLLATE \"C\" >= ?", values![prefix]);
            shown.and_some("a.action COLLATE \"C\" < ?", ActionPattern::after_all_with(prefix));
        }
        None => {}
    }
    shown.and_some("a.action_code = ?", filter.action_code.as_deref());
    shown.and_some("a.performed_by = ?", filter.actor.as_deref());
    shown.and_some("a.resource_type = ?", filter.resource_type.as_deref());
    shown.and_some("a.resource_id = ?", filter.resource_id.as_deref());
    shown.and_some("a.ticket_id = ?", filter.ticket_id);
    shown.and_some("a.environment = ?", filter.environment);
    shown.and_some("a.performed_at >= ?", filter.from);
    shown.and_some("a.performed_at < ?", filter.to);
    shown
}

/// Where a row of [`EXPORTED`] stands.
fn position(row: &QueryResult) -> Result<ExportPosition, RepositoryError> {
    let performed_at = row.try_get_by_index(1).map_err(store_error)?;
    let id: Uuid = row.try_get_by_index(2).map_err(store_error)?;
    Ok(ExportPosition {
        performed_at,
        id: AuditId::from_uuid(id),
    })
}
