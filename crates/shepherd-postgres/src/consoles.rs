//! Console grants (console.md §2); tokens and sessions are in [`tokens`].

mod tokens;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ActorId;
use shepherd_domain::ids::{ConsoleGrantId, UserId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::RepositoryError;
use shepherd_ports::consoles::{
    ConsoleQueries, ConsoleRepository, ConsoleStanding, GrantFilter, GrantRecord, ListedGrant, NewGrant, Revocation,
};

use crate::statement::{Filter, List, execute, fetch_one, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// The second half of the key of the advisory lock on a person and a machine: ASCII "console".
const ACCESS_LOCK: i64 = 0x63_6f6e_736f_6c65;

macro_rules! grant_columns {
    () => {
        "g.id, g.vm_id, g.user_id, g.environment, g.ticket_id, g.granted_by, g.granted_at, g.expires_at, \
         g.revoked_at, g.revoked_by"
    };
}

/// The live grant of the machine `$1` and the person `$2` at the moment `$3` that lasts longest.
macro_rules! live_grant {
    () => {
        concat!(
            "SELECT ",
            grant_columns!(),
            " FROM console_grants g \
             WHERE g.vm_id = $1 AND g.user_id = $2 AND g.revoked_at IS NULL AND g.expires_at > $3 \
             ORDER BY g.expires_at DESC, g.id DESC LIMIT 1"
        )
    };
}

const INSERT: &str = "INSERT INTO console_grants \
         (id, vm_id, user_id, environment, ticket_id, granted_by, granted_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

const REVOKE: &str = "UPDATE console_grants g SET revoked_at = $2, revoked_by = $3 WHERE g.id = $1 AND g.revoked_at IS NULL \
     RETURNING jsonb_build_object('id', g.id, 'vm_id', g.vm_id, 'user_id', g.user_id, \
         'environment', g.environment, 'ticket_id', g.ticket_id, 'granted_by', g.granted_by, \
         'granted_at', g.granted_at, 'expires_at', g.expires_at, 'revoked_at', g.revoked_at, \
         'revoked_by', g.revoked_by) AS doc";

/// A statement of its own, after the grant: a token whose issue held the grant until now is seen by a new look only.
const REVOKE_TOKENS: &str = "UPDATE vnc_access_tokens SET revoked_at = $2, revoked_by = $3 \
     WHERE grant_id = $1 AND used_at IS NULL AND revoked_at IS NULL";

const LISTED: &str = concat!(
    "SELECT ",
    grant_columns!(),
    ", (SELECT count(*) FROM console_sessions s WHERE s.grant_id = g.id AND s.ended_at IS NULL) AS open_sessions \
     FROM console_grants g WHERE {where} ORDER BY g.granted_at DESC, g.id DESC {limit}"
);

/// `$4` is the requester as tickets have it, `$5` the kind of the request.
const STANDING: &str = concat!(
    "SELECT (SELECT to_jsonb(l) FROM (",
    live_grant!(),
    ") AS l) AS live, \
     (SELECT max(g.granted_at) FROM console_grants g WHERE g.vm_id = $1 AND g.user_id = $2) AS granted_at, \
     (SELECT to_jsonb(a) FROM (SELECT t.id AS ticket_id, t.status, t.created_at FROM approval_tickets t \
         WHERE t.vm_id = $1 AND t.requester_id = $4 AND t.request_type = $5 \
         ORDER BY t.created_at DESC, t.id DESC LIMIT 1) AS a) AS asked"
);

#[async_trait]
impl ConsoleRepository for PgUnitOfWork {
    async fn hold(&mut self, vm: VmId, user: UserId) -> Result<(), RepositoryError> {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))";
        execute(&self.tx, sql, values![format!("{vm}:{user}"), ACCESS_LOCK])
            .await
            .map(drop)
    }

    async fn live(
        &mut self,
        vm: VmId,
        user: UserId,
        at: DateTime<Utc>,
    ) -> Result<Option<GrantRecord>, RepositoryError> {
        select_one(&self.tx, live_grant!(), values![vm, user, at]).await
    }

    async fn insert(&mut self, grant: &NewGrant) -> Result<(), RepositoryError> {
        let NewGrant {
            id,
            vm_id,
            user_id,
            environment,
            ticket_id,
            granted_by,
            granted_at,
            expires_at,
        } = grant;
        let values = values![
            id,
            vm_id,
            user_id,
            environment,
            ticket_id,
            granted_by,
            granted_at,
            expires_at
        ];
        execute(&self.tx, INSERT, values).await.map(drop)
    }

    async fn revoke(
        &mut self,
        id: ConsoleGrantId,
        by: &ActorId,
        at: DateTime<Utc>,
    ) -> Result<Revocation, RepositoryError> {
        let revoked: Option<GrantRecord> = fetch_one(&self.tx, REVOKE, values![id, at, by]).await?;
        let Some(grant) = revoked else {
            let known = "SELECT to_jsonb(count(*)) AS doc FROM console_grants WHERE id = $1";
            let known: Option<i64> = fetch_one(&self.tx, known, values![id]).await?;
            return Ok(if known.is_some_and(|rows| rows > 0) {
                Revocation::AlreadyRevoked
            } else {
                Revocation::NotFound
            });
        };
        execute(&self.tx, REVOKE_TOKENS, values![id, at, by]).await?;
        Ok(Revocation::Revoked(grant))
    }
}

#[async_trait]
impl ConsoleQueries for PgStore {
    async fn list_console_grants(
        &self,
        filter: &GrantFilter,
        now: DateTime<Utc>,
        page: PageRequest,
    ) -> Result<Page<ListedGrant>, RepositoryError> {
        let mut shown = Filter::default();
        shown.and_some("g.vm_id = ?", filter.vm_id);
        shown.and_some("g.user_id = ?", filter.user_id);
        match filter.active {
            Some(true) => shown.and("g.revoked_at IS NULL AND g.expires_at > ?", values![now]),
            Some(false) => shown.and("(g.revoked_at IS NOT NULL OR g.expires_at <= ?)", values![now]),
            None => {}
        }
        List {
            rows: LISTED,
            counted: "console_grants g",
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }

    async fn get_console_grant(&self, id: ConsoleGrantId) -> Result<Option<GrantRecord>, RepositoryError> {
        let sql = concat!("SELECT ", grant_columns!(), " FROM console_grants g WHERE g.id = $1");
        select_one(&self.db, sql, values![id]).await
    }

    async fn console_standing(
        &self,
        vm: VmId,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<ConsoleStanding, RepositoryError> {
        let requester = ActorId::from(user);
        let values = values![vm, user, now, requester, RequestType::VncAccess];
        let found = select_one(&self.db, STANDING, values).await?;
        Ok(found.unwrap_or_default())
    }
}
