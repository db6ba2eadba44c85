//! Leader leases and heartbeats, by the clock of the database. They have the pool of the sessions, where there is one: who
//! waits behind requests for a place in a pooler loses its lease.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_ports::RepositoryError;
use shepherd_ports::leases::{HeartbeatKind, Lease, LeaseStore};

use crate::statement::{execute, fetch_one, values};
use crate::store::PgStore;

/// The holder renews; anybody takes over what has run out. The generation rises whenever the lease was not held
/// without a break, also when the same holder comes back: somebody else may have held it in between.
const ACQUIRE: &str = "WITH held AS ( \
         INSERT INTO leader_leases AS l (name, holder, expires_at) \
         VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond') \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, \
             generation = l.generation \
                 + CASE WHEN l.holder = excluded.holder AND l.expires_at > clock_timestamp() THEN 0 ELSE 1 END \
         WHERE l.holder = excluded.holder OR l.expires_at <= clock_timestamp() \
         RETURNING generation \
     ) \
     SELECT to_jsonb(generation) AS doc FROM held";

#[async_trait]
impl LeaseStore for PgStore {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, RepositoryError> {
        let milliseconds = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let generation: Option<i64> = fetch_one(&self.session, ACQUIRE, values![name, holder, milliseconds]).await?;
        Ok(generation.map(|generation| Lease {
            name: name.to_owned(),
            holder: holder.to_owned(),
            generation,
        }))
    }

    async fn release(&self, lease: &Lease) -> Result<(), RepositoryError> {
        let sql = "UPDATE leader_leases SET expires_at = clock_timestamp() \
                   WHERE name = $1 AND holder = $2 AND generation = $3 AND expires_at > clock_timestamp()";
        let Lease {
            name,
            holder,
            generation,
        } = lease;
        execute(&self.session, sql, values![name, holder, generation])
            .await
            .map(drop)
    }

    async fn beat(&self, kind: HeartbeatKind, instance: &str, subject: &str) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO heartbeats (kind, instance, subject, at) VALUES ($1, $2, $3, clock_timestamp()) \
                   ON CONFLICT (kind, instance, subject) DO UPDATE SET at = excluded.at";
        execute(&self.session, sql, values![kind.as_str(), instance, subject])
            .await
            .map(drop)
    }

    async fn last_beat(
        &self,
        kind: HeartbeatKind,
        instance: Option<&str>,
    ) -> Result<Option<DateTime<Utc>>, RepositoryError> {
        let sql = "SELECT to_jsonb(max(at)) AS doc FROM heartbeats \
                   WHERE kind = $1 AND ($2::text IS NULL OR instance = $2)";
        let newest: Option<Option<DateTime<Utc>>> =
            fetch_one(&self.session, sql, values![kind.as_str(), instance]).await?;
        Ok(newest.flatten())
    }
}
