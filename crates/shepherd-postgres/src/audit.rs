//! The audit log: appended to by one statement, read newest first.

use async_trait::async_trait;
use serde_json::{Value, json};
use shepherd_domain::audit::{AuditEntry, RetentionClass};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::AuditId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::audit::{AuditFilter, AuditQueries, AuditRecord, AuditRepository, AuditStamp};

use crate::statement::{Filter, List, Texts, execute, values};
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
        execute(&self.tx, APPEND, values).await.map(drop)
    }
}

#[async_trait]
impl AuditQueries for PgStore {
    async fn list_audit(&self, filter: &AuditFilter, page: PageRequest) -> Result<Page<AuditRecord>, RepositoryError> {
        let mut shown = Filter::default();
        if filter.visible != EnvironmentSet::ALL {
            let visible = Texts::environments(filter.visible);
            shown.and("(a.environment IS NULL OR a.environment = ANY(?))", values![visible]);
        }
        match filter
            .action
            .as_deref()
            .map(|action| (action, action.strip_suffix('*')))
        {
            Some((_, Some(prefix))) => shown.and("starts_with(a.action, ?)", values![prefix]),
            Some((action, None)) => shown.and("a.action = ?", values![action]),
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
        List {
            rows: ROWS,
            counted: "audit_logs a",
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }
}
