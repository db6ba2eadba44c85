//! Notifications: one INSERT finds the recipients of any number of notifications and writes their rows.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shepherd_domain::ids::{NotificationId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::notifications::{NotificationQueries, NotificationRecord, NotificationRepository};
use shepherd_ports::{RepositoryError, metrics};

use crate::statement::{Filter, List, execute, fetch_all, fetch_one, uuid_v7, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// The bindings `b` that give something at a moment: unexpired, global, of enabled roles `r` and enabled users. The
/// conditions that follow say what they must give. A binding to one System neither decides tickets nor administers.
macro_rules! global_bindings {
    ($at:literal) => {
        concat!(
            "FROM role_bindings b \
             JOIN roles r ON r.id = b.role_id AND r.enabled \
             JOIN users u ON u.id = b.user_id AND u.enabled \
             WHERE b.scope_type = 'global' AND (b.expires_at IS NULL OR b.expires_at > ",
            $at,
            ")"
        )
    };
}
pub(crate) use global_bindings;

/// The one place that says whose binding decides tickets of an environment, as `approval::decidable` has it.
macro_rules! decides_in {
    ($environment:literal) => {
        concat!(
            " AND ",
            $environment,
            " = ANY(b.allowed_environments) AND r.permissions && ARRAY['approval:approve', 'platform:admin']"
        )
    };
}

/// The one place that says whom the policy of a ticket lets decide it, as `policy::require_eligible` has it: everybody
/// when it names nobody, else those it names, by id or by a role that they hold globally in the environment.
macro_rules! named_by {
    ($ticket:literal, $user:literal, $at:literal) => {
        concat!(
            " AND (",
            $ticket,
            ".eligible_approvers = '{}' OR ",
            $user,
            "::text = ANY(",
            $ticket,
            ".eligible_approvers) OR EXISTS (SELECT FROM role_bindings e \
                 JOIN roles f ON f.id = e.role_id AND f.enabled \
             WHERE e.user_id = ",
            $user,
            " AND e.scope_type = 'global' AND (e.expires_at IS NULL OR e.expires_at > ",
            $at,
            ") AND ",
            $ticket,
            ".environment = ANY(e.allowed_environments) \
                 AND COALESCE(f.key, f.id::text) = ANY(",
            $ticket,
            ".eligible_approvers)))"
        )
    };
}

/// Whose binding makes a platform administrator, as `Subject` has it: one that is stored with less than both
/// environments does not.
macro_rules! administers {
    () => {
        " AND 'platform:admin' = ANY(r.permissions) AND b.allowed_environments @> ARRAY['test', 'prod']"
    };
}
pub(crate) use administers;

/// One text for any number of notifications, which travel as one JSON array; a recipient who is in an audience twice
/// gets one row. Answers how many rows there are of each type.
const INSERT: &str = concat!(
    "WITH stored AS (INSERT INTO notifications (id, user_id, type, severity, title, message, params, resource_type, resource_id, \
         created_at, updated_at) \
     SELECT ",
    uuid_v7!(),
    ", recipient.user_id, m.type, m.severity, m.title, m.message, m.params, m.resource_type, m.resource_id, $2, $2 \
     FROM jsonb_to_recordset($1) AS m (audience text, user_id uuid, system_id uuid, ticket_id uuid, environment text, \
         except_id uuid, \
         type text, severity text, title text, message text, params jsonb, resource_type text, resource_id text) \
     CROSS JOIN LATERAL ( \
         SELECT u.id AS user_id FROM users u \
         WHERE m.audience IN ('user', 'vm_owner') AND u.id = m.user_id AND u.enabled \
         UNION \
         SELECT o.user_id FROM resource_role_bindings o JOIN users u ON u.id = o.user_id AND u.enabled \
         WHERE m.audience = 'vm_owner' AND o.resource_type = 'system' AND o.resource_id = m.system_id \
             AND o.role = 'owner' AND NOT EXISTS (SELECT FROM users v WHERE v.id = m.user_id AND v.enabled) \
         UNION \
         SELECT b.user_id ",
    global_bindings!("$2"),
    " AND m.audience = 'approvers' AND b.user_id IS DISTINCT FROM m.except_id",
    decides_in!("m.environment"),
    " UNION SELECT b.user_id FROM approval_tickets t CROSS JOIN LATERAL (SELECT b.user_id ",
    global_bindings!("$2"),
    decides_in!("t.environment"),
    ") AS b WHERE m.audience = 'eligible_approvers' AND t.id = m.ticket_id \
         AND b.user_id IS DISTINCT FROM m.except_id",
    named_by!("t", "b.user_id", "$2"),
    " UNION SELECT b.user_id ",
    global_bindings!("$2"),
    " AND m.audience = 'platform_admins'",
    administers!(),
    ") AS recipient RETURNING notifications.type) \
     SELECT jsonb_build_object('type', s.type, 'count', count(*)) AS doc FROM stored s GROUP BY s.type"
);

#[derive(Deserialize)]
struct Stored {
    r#type: NotificationType,
    count: u64,
}

fn document((audience, draft): &(Audience, NotificationDraft)) -> Value {
    let (resource_type, resource_id) = draft.resource.as_ref().map(|(kind, id)| (*kind, id.as_str())).unzip();
    let mut document = match *audience {
        Audience::User(user) => json!({"audience": "user", "user_id": user}),
        Audience::VmOwner { owner, system } => {
            json!({"audience": "vm_owner", "user_id": owner, "system_id": system})
        }
        Audience::Approvers { environment, except } => {
            json!({"audience": "approvers", "environment": environment, "except_id": except})
        }
        Audience::EligibleApprovers { ticket, except } => {
            json!({"audience": "eligible_approvers", "ticket_id": ticket, "except_id": except})
        }
        Audience::PlatformAdmins => json!({"audience": "platform_admins"}),
    };
    document["type"] = json!(draft.kind);
    document["severity"] = json!(draft.severity);
    document["title"] = json!(draft.title());
    document["message"] = json!(draft.message());
    document["params"] = draft.params.clone().into_value();
    document["resource_type"] = json!(resource_type);
    document["resource_id"] = json!(resource_id);
    document
}

#[async_trait]
impl NotificationRepository for PgUnitOfWork {
    async fn insert_for(
        &mut self,
        audience: Audience,
        draft: &NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError> {
        self.insert_many(&[(audience, draft.clone())], at).await
    }

    async fn insert_many(
        &mut self,
        messages: &[(Audience, NotificationDraft)],
        at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError> {
        if messages.is_empty() {
            return Ok(0);
        }
        let documents = Value::Array(messages.iter().map(document).collect());
        let stored: Vec<Stored> = fetch_all(&self.tx, INSERT, values![documents, at]).await?;
        for Stored { r#type, count } in &stored {
            let (kind, count) = (*r#type, *count);
            self.counted.later(move || metrics::notifications(kind, count));
        }
        Ok(stored.iter().map(|stored| stored.count).sum())
    }

    async fn mark_read(
        &mut self,
        user: UserId,
        id: NotificationId,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE notifications SET read = true, read_at = COALESCE(read_at, $3) \
                   WHERE id = $1 AND user_id = $2";
        Ok(execute(&self.tx, sql, values![id, user, at]).await? > 0)
    }

    async fn mark_all_read(&mut self, user: UserId, at: DateTime<Utc>) -> Result<(), RepositoryError> {
        let sql = "UPDATE notifications SET read = true, read_at = $2 WHERE user_id = $1 AND NOT read";
        execute(&self.tx, sql, values![user, at]).await.map(drop)
    }
}

#[async_trait]
impl NotificationQueries for PgStore {
    async fn list_notifications(
        &self,
        user: UserId,
        unread_only: bool,
        page: PageRequest,
    ) -> Result<Page<NotificationRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and("m.user_id = ?", values![user]);
        if unread_only {
            filter.and("NOT m.read", values![]);
        }
        let rows = "SELECT m.id, m.type, m.severity, m.title, m.message, m.params, m.resource_type, m.resource_id, \
                    m.read, m.read_at, m.created_at FROM notifications m WHERE {where} \
                    ORDER BY m.created_at DESC, m.id DESC {limit}";
        List {
            rows,
            counted: "notifications m",
            filter,
        }
        .page(&self.db, page)
        .await
    }

    async fn unread_count(&self, user: UserId) -> Result<i64, RepositoryError> {
        let sql = "SELECT to_jsonb(count(*)) AS doc FROM notifications WHERE user_id = $1 AND NOT read";
        Ok(fetch_one(&self.db, sql, values![user]).await?.unwrap_or_default())
    }
}
