//! Notifications: one INSERT finds the recipients and writes their rows.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::{NotificationId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::notifications::{NotificationQueries, NotificationRecord, NotificationRepository};

use crate::statement::{Filter, List, execute, fetch_one, uuid_v7, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// Rows for the users of a query over `user_id`; the parameters of the query begin at `$9`.
macro_rules! insert_for {
    ($($recipients:expr),+ $(,)?) => {
        concat!(
            "INSERT INTO notifications (id, user_id, type, severity, title, message, params, resource_type, \
             resource_id, created_at, updated_at) SELECT ",
            uuid_v7!(),
            ", recipient.user_id, $1, $2, $3, $4, $5, $6, $7, $8, $8 FROM (",
            $($recipients),+,
            ") AS recipient"
        )
    };
}

/// Unexpired bindings of enabled roles of enabled users.
macro_rules! holders {
    () => {
        "SELECT DISTINCT b.user_id FROM role_bindings b \
         JOIN roles r ON r.id = b.role_id AND r.enabled \
         JOIN users u ON u.id = b.user_id AND u.enabled \
         WHERE (b.expires_at IS NULL OR b.expires_at > $8)"
    };
}

const FOR_USER: &str = insert_for!("SELECT u.id AS user_id FROM users u WHERE u.id = $9 AND u.enabled");

const FOR_VM_OWNER: &str = insert_for!(
    "SELECT u.id AS user_id FROM users u WHERE u.id = $9 AND u.enabled \
     UNION \
     SELECT m.user_id FROM resource_role_bindings m JOIN users u ON u.id = m.user_id AND u.enabled \
     WHERE m.resource_type = 'system' AND m.resource_id = $10 AND m.role = 'owner' \
         AND NOT EXISTS (SELECT FROM users o WHERE o.id = $9 AND o.enabled)"
);

/// Tickets are decided under global bindings; a binding to one System decides none.
const FOR_APPROVERS: &str = insert_for!(
    holders!(),
    " AND b.scope_type = 'global' AND $9 = ANY(b.allowed_environments) AND r.permissions && ARRAY['approval:approve', 'platform:admin'] \
     AND b.user_id IS DISTINCT FROM $10",
);

const FOR_PLATFORM_ADMINS: &str = insert_for!(
    holders!(),
    " AND b.scope_type = 'global' AND 'platform:admin' = ANY(r.permissions)"
);

#[async_trait]
impl NotificationRepository for PgUnitOfWork {
    async fn insert_for(
        &mut self,
        audience: Audience,
        draft: &NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError> {
        let (resource_type, resource_id) = draft.resource.as_ref().map(|(kind, id)| (*kind, id.as_str())).unzip();
        let params = draft.params.clone().into_value();
        let mut values = values![
            draft.kind,
            draft.severity,
            draft.title(),
            draft.message(),
            params,
            resource_type,
            resource_id,
            at
        ];
        let sql = match audience {
            Audience::User(user) => {
                values.extend(values![user]);
                FOR_USER
            }
            Audience::VmOwner { owner, system } => {
                values.extend(values![owner, system]);
                FOR_VM_OWNER
            }
            Audience::Approvers { environment, except } => {
                values.extend(values![environment, except]);
                FOR_APPROVERS
            }
            Audience::PlatformAdmins => FOR_PLATFORM_ADMINS,
        };
        execute(&self.tx, sql, values).await
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
