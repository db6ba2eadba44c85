//! How far watches are. Every write names the lease it is made under, as the projection does.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::cluster::WatchState;
use shepherd_domain::ids::{ClusterId, VmId};
use shepherd_domain::vm::CREATION_TIMEOUT;
use shepherd_ports::RepositoryError;
use shepherd_ports::leases::Lease;
use shepherd_ports::vms::Projected;
use shepherd_ports::watches::{Announced, WatchQueries, WatchRepository};

use crate::statement::{Texts, fetch_all, fetch_one, select_all, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;
use crate::vms::projection::{ProjectedRow, answer, guard, lease_held};

/// The cluster `$4`, as long as it exists and the lease of `$1` to `$3` is held.
macro_rules! held {
    () => {
        concat!(
            "WITH held AS (SELECT c.id FROM clusters c WHERE c.id = $4 AND ",
            lease_held!(),
            " FOR KEY SHARE OF c)"
        )
    };
}

/// What was left REBUILDING or DEGRADED stays so until the cluster answers.
const BEGIN: &str = concat!(
    held!(),
    ", begun AS ( \
         INSERT INTO cluster_watches AS w (cluster_id, state, since) SELECT held.id, 'STARTING', $5 FROM held \
         ON CONFLICT (cluster_id) DO UPDATE SET state = excluded.state, since = excluded.since \
         WHERE w.state = 'LIVE' \
         RETURNING w.state \
     ) \
     SELECT to_jsonb(coalesce((SELECT state FROM begun), \
         (SELECT w.state FROM cluster_watches w WHERE w.cluster_id = held.id), 'STARTING')) AS doc FROM held"
);

/// `since` says since when the rows follow the cluster, or do not, whichever way they do not.
const SET_STATE: &str = concat!(
    held!(),
    ", noted AS ( \
         INSERT INTO cluster_watches AS w (cluster_id, state, since) SELECT held.id, $5, $6 FROM held \
         ON CONFLICT (cluster_id) DO UPDATE SET state = excluded.state, \
             since = CASE WHEN 'LIVE' IN (w.state, excluded.state) THEN excluded.since ELSE w.since END \
         WHERE w.state <> excluded.state \
     ) \
     SELECT to_jsonb(held.id) AS doc FROM held"
);

/// Found by ix_notifications_vm_status.
const ANNOUNCED: &str = "SELECT DISTINCT n.resource_id::uuid AS vm, n.params ->> 'to' AS status, \
         coalesce(n.params ->> 'reason' = 'OBJECT_MISSING', false) AS missing \
     FROM notifications n \
     WHERE n.type = 'VM_STATUS_CHANGE' AND n.resource_type = 'vm' AND n.resource_id = ANY($1) \
         AND n.created_at > $2 AND n.params ->> 'to' IS NOT NULL";

/// `$1` is now, `$2` the moment before which everything has to have happened, `$3` the number, `$4` the reason.
const FAIL_STUCK: &str = concat!(
    "WITH stuck AS ( \
         SELECT v.id FROM vms v \
         WHERE v.status = 'CREATING' AND v.created_at < $2 \
             AND NOT EXISTS (SELECT FROM approval_tickets t WHERE t.id = v.ticket_id \
                 AND t.status IN ('APPROVED', 'EXECUTING')) \
             AND NOT EXISTS (SELECT FROM ticket_transitions x WHERE x.ticket_id = v.ticket_id AND x.at >= $2) \
         ORDER BY v.id LIMIT $3 FOR NO KEY UPDATE OF v SKIP LOCKED \
     ), changed AS ( \
         UPDATE vms v SET status = 'FAILED', status_reason = $4 \
         FROM stuck WHERE v.id = stuck.id AND v.status = 'CREATING' \
         RETURNING v.id, v.name, v.status, v.status_reason, v.created_by, v.service_id, 'CREATING' AS before, \
             false AS first_running \
     )",
    answer!("$1")
);

/// The cluster of a watcher's heartbeat is its subject.
const SILENT: &str = "SELECT to_jsonb(count(*)) AS doc FROM clusters c \
     WHERE c.enabled AND c.updated_at < clock_timestamp() - $1::bigint * interval '1 millisecond' \
         AND NOT EXISTS (SELECT FROM heartbeats h WHERE h.kind = 'watcher' AND h.subject = c.id::text \
             AND h.at > clock_timestamp() - $1::bigint * interval '1 millisecond')";

#[async_trait]
impl WatchRepository for PgUnitOfWork {
    async fn begin(
        &mut self,
        cluster: ClusterId,
        at: DateTime<Utc>,
        lease: &Lease,
    ) -> Result<Option<WatchState>, RepositoryError> {
        let mut values = guard(lease, cluster);
        values.extend(values![at]);
        fetch_one(&self.tx, BEGIN, values).await
    }

    async fn set_state(
        &mut self,
        cluster: ClusterId,
        state: WatchState,
        at: DateTime<Utc>,
        lease: &Lease,
    ) -> Result<bool, RepositoryError> {
        let mut values = guard(lease, cluster);
        values.extend(values![state.as_str(), at]);
        let held: Option<ClusterId> = fetch_one(&self.tx, SET_STATE, values).await?;
        Ok(held.is_some())
    }

    async fn announced(&mut self, vms: &[VmId], since: DateTime<Utc>) -> Result<Vec<Announced>, RepositoryError> {
        let vms = Texts(vms.iter().map(VmId::to_string).collect());
        select_all(&self.tx, ANNOUNCED, values![vms, since]).await
    }

    async fn fail_stuck_creations(
        &mut self,
        timeout: TimeDelta,
        at: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Projected>, RepositoryError> {
        // Nothing is as old as a timeout that reaches back that far.
        let Some(before) = at.checked_sub_signed(timeout).filter(|at| *at > DateTime::UNIX_EPOCH) else {
            return Ok(Vec::new());
        };
        let values = values![at, before, i64::from(limit), CREATION_TIMEOUT];
        let changed: Vec<ProjectedRow> = fetch_all(&self.tx, FAIL_STUCK, values).await?;
        Ok(changed.into_iter().map(Projected::from).collect())
    }
}

#[async_trait]
impl WatchQueries for PgStore {
    async fn silent_watches(&self, limit: Duration) -> Result<i64, RepositoryError> {
        let milliseconds = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        Ok(fetch_one(&self.db, SILENT, values![milliseconds])
            .await?
            .unwrap_or_default())
    }
}
