//! The state that metrics show, as one row.
//!
//! Every process asks for it every few seconds, so it counts only what is open: tickets that wait, jobs that are in the
//! queue, and the few rows of clusters and background jobs.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::sqlx::PgPool;
use shepherd_ports::RepositoryError;
use shepherd_ports::metrics::state::{MetricsQueries, PoolConnections, StateSample};

use crate::dead_letters;
use crate::statement::{fetch_one, values};
use crate::store::PgStore;

/// Loops that a lease holds, and workers, show their work by their heartbeats. So do watches: what nobody watches, for
/// whatever reason, is as far behind as what a watch has not listed yet.
const STATE: &str = "SELECT jsonb_build_object( \
         'pending', (SELECT coalesce(jsonb_agg(p), '[]') FROM ( \
             SELECT t.environment, floor(extract(epoch FROM $1::timestamptz - t.created_at) / 86400)::bigint AS days, \
                 count(*) AS count \
             FROM approval_tickets t WHERE t.status = 'PENDING_APPROVAL' AND t.parent_ticket_id IS NULL \
             GROUP BY 1, 2) p), \
         'jobs', (SELECT to_jsonb(q) FROM ( \
             SELECT count(*) FILTER (WHERE j.locked_at IS NULL AND j.attempts < j.max_attempts AND j.run_at <= now()) \
                     AS available, \
                 count(*) FILTER (WHERE j.locked_at IS NULL AND j.attempts < j.max_attempts AND j.run_at > now()) \
                     AS scheduled, \
                 count(*) FILTER (WHERE j.locked_at IS NOT NULL) AS running, \
                 count(*) FILTER (WHERE j.locked_at IS NULL AND j.attempts >= j.max_attempts) AS given_up \
             FROM graphile_worker._private_jobs j) q), \
         'oldest_available_seconds', (SELECT coalesce(extract(epoch FROM now() - min(j.run_at)), 0)::float8 \
             FROM graphile_worker._private_jobs j \
             WHERE j.locked_at IS NULL AND j.attempts < j.max_attempts AND j.run_at <= now()), \
         'dead_letters', ({dead_letters}), \
         'dead_tuple_ratio', coalesce((SELECT q.dead_ratio FROM queue_health q WHERE q.vacuum_due), 0), \
         'vacuum_overdue_seconds', coalesce((SELECT q.seconds_since_vacuum FROM queue_health q WHERE q.vacuum_due), 0), \
         'audit_push_failing_seconds', (SELECT coalesce(extract(epoch FROM $1::timestamptz - min(w.failing_since)), 0) \
             ::float8 FROM audit_webhooks w WHERE w.enabled), \
         'clusters', (SELECT coalesce(jsonb_agg(f), '[]') FROM ( \
             SELECT c.id, c.name, c.status, c.enabled, CASE \
                 WHEN w.state = 'LIVE' AND b.at > now() - interval '30 seconds' THEN 0 \
                 WHEN w.state = 'LIVE' THEN extract(epoch FROM now() - coalesce(b.at, w.since))::float8 \
                 ELSE extract(epoch FROM now() - coalesce(w.since, c.updated_at))::float8 END AS watcher_lag_seconds \
             FROM clusters c LEFT JOIN cluster_watches w ON w.cluster_id = c.id \
             LEFT JOIN LATERAL (SELECT max(h.at) AS at FROM heartbeats h \
                 WHERE h.kind = 'watcher' AND h.subject = c.id::text) b ON true) f), \
         'background_jobs', (SELECT coalesce(jsonb_agg(b), '[]') FROM ( \
             SELECT p.job, extract(epoch FROM p.succeeded_at)::float8 AS succeeded_at FROM periodic_jobs p \
             UNION ALL \
             SELECT CASE h.kind WHEN 'leader' THEN h.subject WHEN 'watcher' THEN 'watch' ELSE 'event_job' END, \
                 extract(epoch FROM max(h.at))::float8 \
             FROM heartbeats h GROUP BY 1) b) \
     ) AS doc";

#[async_trait]
impl MetricsQueries for PgStore {
    async fn sample_state(&self, now: DateTime<Utc>) -> Result<StateSample, RepositoryError> {
        let sql = STATE.replace("{dead_letters}", dead_letters::COUNT);
        let sample: Option<StateSample> = fetch_one(&self.db, &sql, values![now]).await?;
        sample.ok_or_else(|| RepositoryError::Other("a statement answered no row".into()))
    }

    fn pool_connections(&self) -> Vec<PoolConnections> {
        let connections = |(name, pool): (&'static str, &PgPool)| {
            let idle = u64::try_from(pool.num_idle()).unwrap_or(u64::MAX);
            PoolConnections {
                pool: name,
                idle,
                used: u64::from(pool.size()).saturating_sub(idle),
                limit: u64::from(pool.options().get_max_connections()),
            }
        };
        self.pools().map(connections).collect()
    }
}
