//! What readiness asks the database beside whether it is there. One statement each, on the clock of the database.

use std::time::Duration;

use sea_orm::DatabaseConnection;
use shepherd_ports::RepositoryError;
use shepherd_ports::health::{Asked, SignsOfLife};

use crate::statement::{fetch_one, values};

/// The table that workers take their jobs from, and not a view of it: this is what they need.
const QUEUE: &str =
    "SELECT to_jsonb(count(*)) AS doc FROM (SELECT FROM graphile_worker._private_jobs LIMIT 1) AS found";

/// A cluster that was registered or enabled a moment ago may still wait for its watcher. A watch counts for this
/// replica as long as it holds the lease of the cluster: a replica that lost it owes nothing.
const SIGNS: &str = "WITH moment AS (SELECT clock_timestamp() - $3::bigint * interval '1 millisecond' AS silent, \
         clock_timestamp() - $4::bigint * interval '1 millisecond' AS watcher_silent) \
     SELECT jsonb_build_object( \
         'worker', EXISTS (SELECT FROM heartbeats h WHERE h.kind = 'worker' AND h.at > m.silent), \
         'own_worker', EXISTS (SELECT FROM heartbeats h \
             WHERE h.kind = 'worker' AND h.instance = $1 AND h.at > m.silent), \
         'leader', EXISTS (SELECT FROM leader_leases l WHERE l.name = $2 AND l.expires_at > clock_timestamp()), \
         'own_controllers', EXISTS (SELECT FROM heartbeats h \
             WHERE h.kind = 'leader' AND h.instance = $1 AND h.subject = $2 AND h.at > m.silent), \
         'watchers', NOT EXISTS (SELECT FROM clusters c WHERE c.enabled AND c.updated_at < m.watcher_silent \
             AND NOT EXISTS (SELECT FROM heartbeats h WHERE h.kind = 'watcher' AND h.subject = c.id::text \
                 AND h.at > m.watcher_silent)), \
         'own_watchers', NOT EXISTS (SELECT FROM leader_leases l \
             JOIN heartbeats h ON h.kind = 'watcher' AND h.instance = $1 AND l.name = 'watch:' || h.subject \
             WHERE l.holder = $1 AND l.expires_at > clock_timestamp() AND h.at <= m.watcher_silent)) AS doc \
     FROM moment m";

pub(crate) async fn read_queue(db: &DatabaseConnection) -> Result<(), RepositoryError> {
    let _found: Option<i64> = fetch_one(db, QUEUE, values![]).await?;
    Ok(())
}

pub(crate) async fn signs_of_life(db: &DatabaseConnection, asked: &Asked<'_>) -> Result<SignsOfLife, RepositoryError> {
    let values = values![
        asked.instance,
        asked.lease,
        milliseconds(asked.silent),
        milliseconds(asked.watcher_silent)
    ];
    let signs: Option<SignsOfLife> = fetch_one(db, SIGNS, values).await?;
    Ok(signs.unwrap_or_default())
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
