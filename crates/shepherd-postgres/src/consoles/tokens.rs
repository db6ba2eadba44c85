//! Console tokens, and the consoles that are open (console.md §3, §4).

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ActorId;
use shepherd_domain::ids::{ConsoleGrantId, ConsoleSessionId, ConsoleTokenId, UserId, VmId};
use shepherd_ports::RepositoryError;
use shepherd_ports::consoles::GrantRecord;
use shepherd_ports::consoles::tokens::{
    ConsoleTokenQueries, ConsoleTokenRepository, Issues, LostConsole, NewConsoleSession, NewToken, Relayed, TokenRecord,
};

use crate::statement::{execute, fetch_one, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// The second half of the key of the advisory lock on the consoles of a user: ASCII "consoles".
const CONSOLES_OF_USER: i64 = 0x636f_6e73_6f6c_6573;

macro_rules! grant_columns {
    () => {
        "g.id, g.vm_id, g.user_id, g.environment, g.ticket_id, g.granted_by, g.granted_at, g.expires_at, \
         g.revoked_at, g.revoked_by"
    };
}

macro_rules! token_rows {
    () => {
        "SELECT t.token_id, t.grant_id, t.session_id, t.user_id, t.vm_id, t.issued_at, t.expires_at, t.used_at, \
             t.revoked_at FROM vnc_access_tokens t"
    };
}

const LOCK_GRANT: &str = concat!(
    "SELECT to_jsonb(row) AS doc FROM (SELECT ",
    grant_columns!(),
    " FROM console_grants g WHERE g.id = $1 FOR UPDATE) AS row"
);

/// The new row depends on the closed one, so that the index sees it go first.
const ISSUE: &str = "WITH closed AS ( \
         UPDATE vnc_access_tokens SET revoked_at = $6, revoked_by = $8 \
         WHERE grant_id = $2 AND used_at IS NULL AND revoked_at IS NULL RETURNING token_id \
     ) \
     INSERT INTO vnc_access_tokens (token_id, grant_id, session_id, user_id, vm_id, issued_at, expires_at) \
     SELECT $1, $2, $3, $4, $5, $6, $7 FROM (SELECT count(*) AS closed FROM closed) AS before";

const CONSUME: &str = "UPDATE vnc_access_tokens SET used_at = $3 \
     WHERE token_id = $1 AND vm_id = $2 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $3";

const OPEN: &str = "INSERT INTO console_sessions (id, token_id, grant_id, user_id, vm_id, replica, started_at, seen_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $7)";

const END: &str = "UPDATE console_sessions SET ended_at = $2, seen_at = $2, end_reason = $3, bytes_in = $4, bytes_out = $5 \
     WHERE id = $1 AND ended_at IS NULL";

const END_LOST: &str = "WITH due AS ( \
         SELECT s.id FROM console_sessions s WHERE s.ended_at IS NULL AND s.seen_at < $1 \
         ORDER BY s.seen_at, s.id LIMIT $3 FOR UPDATE SKIP LOCKED \
     ), ended AS ( \
         UPDATE console_sessions s SET ended_at = s.seen_at, end_reason = $2 \
         FROM due, console_grants g WHERE s.id = due.id AND g.id = s.grant_id \
         RETURNING s.id, s.token_id, s.grant_id, s.user_id, s.vm_id, g.environment, s.replica, s.started_at, \
             s.ended_at, s.bytes_in, s.bytes_out \
     ) \
     SELECT coalesce(jsonb_agg(to_jsonb(ended) ORDER BY ended.id), '[]') AS doc FROM ended";

const NOTE: &str = concat!(
    "WITH seen AS (UPDATE console_sessions s SET seen_at = $2, bytes_in = $3, bytes_out = $4 \
         WHERE s.id = $1 AND s.ended_at IS NULL RETURNING s.grant_id) \
     SELECT to_jsonb(row) AS doc FROM (SELECT ",
    grant_columns!(),
    " FROM console_grants g JOIN seen ON seen.grant_id = g.id) AS row"
);

/// A number of bytes as a column holds it.
fn bytes(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[async_trait]
impl ConsoleTokenRepository for PgUnitOfWork {
    async fn lock_grant(&mut self, id: ConsoleGrantId) -> Result<Option<GrantRecord>, RepositoryError> {
        fetch_one(&self.tx, LOCK_GRANT, values![id]).await
    }

    async fn unused(&mut self, grant: ConsoleGrantId) -> Result<Option<TokenRecord>, RepositoryError> {
        let sql = concat!(
            token_rows!(),
            " WHERE t.grant_id = $1 AND t.used_at IS NULL AND t.revoked_at IS NULL"
        );
        select_one(&self.tx, sql, values![grant]).await
    }

    async fn issued_after(&mut self, grant: ConsoleGrantId, after: DateTime<Utc>) -> Result<Issues, RepositoryError> {
        let sql = "SELECT count(*) AS count, min(issued_at) AS first FROM vnc_access_tokens \
                   WHERE grant_id = $1 AND issued_at > $2";
        select_one(&self.tx, sql, values![grant, after])
            .await?
            .ok_or_else(|| RepositoryError::Other("an aggregate answered no row".into()))
    }

    async fn issue(&mut self, token: &NewToken, closed_by: &ActorId) -> Result<(), RepositoryError> {
        let values = values![
            token.token_id,
            token.grant_id,
            token.session_id,
            token.user_id,
            token.vm_id,
            token.issued_at,
            token.expires_at,
            closed_by
        ];
        execute(&self.tx, ISSUE, values).await.map(drop)
    }

    async fn consume(&mut self, id: ConsoleTokenId, vm: VmId, at: DateTime<Utc>) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, CONSUME, values![id, vm, at]).await? > 0)
    }

    async fn hold_consoles(&mut self, user: UserId) -> Result<(), RepositoryError> {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1::text, $2))";
        execute(&self.tx, sql, values![user, CONSOLES_OF_USER]).await.map(drop)
    }

    async fn open_consoles(&mut self, user: UserId, seen_since: DateTime<Utc>) -> Result<i64, RepositoryError> {
        let sql = "SELECT to_jsonb(count(*)) AS doc FROM console_sessions \
                   WHERE user_id = $1 AND ended_at IS NULL AND seen_at >= $2";
        Ok(fetch_one(&self.tx, sql, values![user, seen_since])
            .await?
            .unwrap_or_default())
    }

    async fn open_console(&mut self, console: &NewConsoleSession) -> Result<(), RepositoryError> {
        let values = values![
            console.id,
            console.token_id,
            console.grant_id,
            console.user_id,
            console.vm_id,
            console.replica,
            console.started_at
        ];
        execute(&self.tx, OPEN, values).await.map(drop)
    }

    async fn end_console(
        &mut self,
        id: ConsoleSessionId,
        reason: &str,
        relayed: Relayed,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let values = values![id, at, reason, bytes(relayed.bytes_in), bytes(relayed.bytes_out)];
        Ok(execute(&self.tx, END, values).await? > 0)
    }

    async fn end_lost(
        &mut self,
        seen_before: DateTime<Utc>,
        reason: &str,
        limit: u32,
    ) -> Result<Vec<LostConsole>, RepositoryError> {
        let values = values![seen_before, reason, i64::from(limit)];
        Ok(fetch_one(&self.tx, END_LOST, values).await?.unwrap_or_default())
    }
}

#[async_trait]
impl ConsoleTokenQueries for PgStore {
    async fn get_console_token(&self, id: ConsoleTokenId) -> Result<Option<TokenRecord>, RepositoryError> {
        select_one(&self.db, concat!(token_rows!(), " WHERE t.token_id = $1"), values![id]).await
    }

    async fn note_console(
        &self,
        id: ConsoleSessionId,
        relayed: Relayed,
        at: DateTime<Utc>,
    ) -> Result<Option<GrantRecord>, RepositoryError> {
        let values = values![id, at, bytes(relayed.bytes_in), bytes(relayed.bytes_out)];
        fetch_one(&self.db, NOTE, values).await
    }
}
