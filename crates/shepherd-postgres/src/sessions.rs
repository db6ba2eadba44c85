//! Sessions: listing and ending them.

use async_trait::async_trait;
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::sessions::{Ending, Liveness, SessionQueries, SessionRecord, SessionRepository};

use crate::statement::{Filter, List, execute, fetch_one, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! session_rows {
    () => {
        "SELECT s.id, s.user_id, s.issued_at, s.expires_at, s.last_seen_at, s.ip, s.user_agent FROM user_sessions s"
    };
}

const END: &str = "UPDATE user_sessions SET revoked_at = $3, revoked_by = $5, revoke_reason = $6 \
     WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3 AND last_seen_at >= $4";

/// Idle sessions end as well, lest a longer timeout revive them; they are not counted.
const END_ALL: &str = "WITH ended AS (UPDATE user_sessions SET revoked_at = $3, revoked_by = $5, revoke_reason = $6 \
         WHERE user_id = $1 AND ($2::uuid IS NULL OR id <> $2) AND revoked_at IS NULL AND expires_at > $3 \
         RETURNING last_seen_at) \
     SELECT to_jsonb(count(*) FILTER (WHERE last_seen_at >= $4)) AS doc FROM ended";

#[async_trait]
impl SessionRepository for PgUnitOfWork {
    async fn end(
        &mut self,
        id: SessionId,
        of: UserId,
        live: Liveness,
        ending: Ending<'_>,
    ) -> Result<bool, RepositoryError> {
        let values = values![id, of, live.now, live.seen_since, ending.by, ending.reason];
        Ok(execute(&self.tx, END, values).await? > 0)
    }

    async fn end_all(
        &mut self,
        of: UserId,
        except: Option<SessionId>,
        live: Liveness,
        ending: Ending<'_>,
    ) -> Result<u64, RepositoryError> {
        let values = values![of, except, live.now, live.seen_since, ending.by, ending.reason];
        Ok(fetch_one(&self.tx, END_ALL, values).await?.unwrap_or_default())
    }
}

#[async_trait]
impl SessionQueries for PgStore {
    async fn get_session(&self, id: SessionId, live: Liveness) -> Result<Option<SessionRecord>, RepositoryError> {
        let sql = concat!(
            session_rows!(),
            " WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND s.last_seen_at >= $3"
        );
        select_one(&self.db, sql, values![id, live.now, live.seen_since]).await
    }

    async fn live_sessions(&self, of: UserId, live: Liveness) -> Result<Vec<SessionRecord>, RepositoryError> {
        let sql = concat!(
            session_rows!(),
            " WHERE s.user_id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND s.last_seen_at >= $3 \
             ORDER BY s.issued_at DESC, s.id DESC LIMIT 1000"
        );
        select_all(&self.db, sql, values![of, live.now, live.seen_since]).await
    }

    async fn list_sessions(
        &self,
        of: UserId,
        live: Liveness,
        page: PageRequest,
    ) -> Result<Page<SessionRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and(
            "s.user_id = ? AND s.revoked_at IS NULL AND s.expires_at > ? AND s.last_seen_at >= ?",
            values![of, live.now, live.seen_since],
        );
        List {
            rows: concat!(
                session_rows!(),
                " WHERE {where} ORDER BY s.issued_at DESC, s.id DESC {limit}"
            ),
            counted: "user_sessions s",
            filter,
        }
        .page(&self.db, page)
        .await
    }
}
