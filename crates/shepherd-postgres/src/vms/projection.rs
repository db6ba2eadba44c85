//! What clusters report becomes the state of rows, each by one conditional statement.
//!
//! The order of observations is the order of their resource versions. A row that would not change is neither locked
//! nor written, so the resource version of the row may be older than the newest one seen; the watch delivers in order
//! within itself, a full list begins anew, and whoever lost the lease writes nothing, so that nothing old comes
//! afterwards. An observation with the very version of the row is not older: it lets a row that the platform itself
//! moved since (a failed deletion, an object that came back) take the observed state again.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::ActorId;
use shepherd_domain::ids::{ClusterId, SystemId, VmId};
use shepherd_domain::vm::{OBJECT_MISSING, ObservedVm, VmStatus};
use shepherd_ports::RepositoryError;
use shepherd_ports::leases::Lease;
use shepherd_ports::vms::Projected;

use crate::statement::{fetch_one, values};
use crate::unit_of_work::Transaction;

/// The lease of the parameters `$1` to `$3` is still held. The clock is read now and not at the start of the
/// transaction, which may have begun before the lease ran out.
macro_rules! lease_held {
    () => {
        "EXISTS (SELECT FROM leader_leases l WHERE l.name = $1 AND l.holder = $2 AND l.generation = $3 \
         AND l.expires_at > clock_timestamp())"
    };
}

macro_rules! delete_open {
    () => {
        "EXISTS (SELECT FROM approval_tickets t WHERE t.vm_id = v.id AND t.operation_group = 'DELETE' \
         AND t.status IN ('APPROVED', 'EXECUTING'))"
    };
}

/// Reads `changed` together with the row's System.
macro_rules! answer {
    () => {
        " SELECT jsonb_build_object('vm', changed.id, 'name', changed.name, 'before', changed.before, \
         'after', changed.status, 'first_running', changed.first_running, 'owner', changed.created_by, \
         'system', s.system_id, 'reason', changed.status_reason) AS doc \
         FROM changed JOIN services s ON s.id = changed.service_id"
    };
}

/// The row an observation would change. `$8` is the status for a machine that has not run yet, `$9` for one that has.
///
/// An object is a row's by its annotation; without one only when it is known to be, by its uid. A foreign object of
/// the same name never becomes a row's.
macro_rules! changed_row {
    () => {
        concat!(
            "FROM vms v \
         WHERE v.cluster_id = $4 AND v.namespace = $5 AND v.name = $6 \
             AND (v.id = $7::uuid OR ($7::uuid IS NULL AND v.k8s_uid = $10)) \
             AND (v.k8s_uid IS NULL OR v.k8s_uid = $10) \
             AND (v.observed_resource_version IS NULL OR v.observed_resource_version::numeric <= $11::text::numeric) \
             AND ((v.status, v.status_reason, v.status_message, v.node_name, v.ip_address, v.restart_required, \
                   v.k8s_uid) \
                 IS DISTINCT FROM (CASE WHEN v.first_running_at IS NULL THEN $8 ELSE $9 END, $12::text, $13::text, \
                   $14::text, $15::text, $16::boolean, $10::text) \
                 OR (v.first_running_at IS NULL AND $8 = 'RUNNING')) \
             AND NOT (v.status = 'DELETING' AND ",
            delete_open!(),
            ") AND ",
            lease_held!()
        )
    };
}

/// Whether there is anything to change, without a lock: most observations say nothing new.
const WOULD_CHANGE: &str = concat!("SELECT to_jsonb(v.id) AS doc ", changed_row!());

/// Takes the row. A statement of its own, so that the next one sees what whoever held the row before has committed:
/// within one statement the open delete ticket would still be looked for as of its beginning.
const LOCK: &str = "SELECT to_jsonb(v.id) AS doc FROM vms v \
     WHERE v.cluster_id = $1 AND v.namespace = $2 AND v.name = $3 FOR UPDATE";

const PROJECT: &str = concat!(
    "WITH seen AS ( \
         SELECT v.id, v.status AS before, v.first_running_at IS NULL AS fresh, \
             CASE WHEN v.first_running_at IS NULL THEN $8 ELSE $9 END AS after ",
    changed_row!(),
    " FOR UPDATE OF v \
     ), changed AS ( \
         UPDATE vms v SET status = seen.after, status_reason = $12, status_message = $13, node_name = $14, \
             ip_address = $15, restart_required = $16, k8s_uid = $10, observed_resource_version = $11, \
             observed_at = $17, \
             first_running_at = CASE WHEN seen.fresh AND seen.after = 'RUNNING' THEN $17 ELSE v.first_running_at END \
         FROM seen WHERE v.id = seen.id \
         RETURNING v.id, v.name, v.status, v.status_reason, v.created_by, v.service_id, seen.before, \
             seen.fresh AND seen.after = 'RUNNING' AS first_running \
     )",
    answer!()
);

const PROJECT_ABSENCE: &str = concat!(
    "WITH seen AS ( \
         SELECT v.id, v.status AS before FROM vms v \
         WHERE v.cluster_id = $4 AND v.namespace = $5 AND v.name = $6 AND v.k8s_uid = $7 \
             AND (v.status, v.status_reason) IS DISTINCT FROM ('UNKNOWN', $8::text) \
             AND NOT ",
    delete_open!(),
    " AND ",
    lease_held!(),
    " FOR UPDATE OF v \
     ), changed AS ( \
         UPDATE vms v SET status = 'UNKNOWN', status_reason = $8, status_message = NULL, node_name = NULL, \
             ip_address = NULL, observed_at = $9 \
         FROM seen WHERE v.id = seen.id \
         RETURNING v.id, v.name, v.status, v.status_reason, v.created_by, v.service_id, seen.before, \
             false AS first_running \
     )",
    answer!()
);

#[derive(Deserialize)]
struct ProjectedRow {
    vm: VmId,
    name: String,
    before: VmStatus,
    after: VmStatus,
    first_running: bool,
    owner: ActorId,
    system: SystemId,
    reason: Option<String>,
}

impl From<ProjectedRow> for Projected {
    fn from(row: ProjectedRow) -> Self {
        let ProjectedRow {
            vm,
            name,
            before,
            after,
            first_running,
            owner,
            system,
            reason,
        } = row;
        Self {
            vm,
            name,
            before,
            after,
            first_running,
            owner,
            system,
            reason,
        }
    }
}

fn cut(text: Option<&String>, characters: usize) -> Option<String> {
    text.map(|text| text.chars().take(characters).collect())
}

pub(super) async fn project(
    tx: &Transaction,
    cluster: ClusterId,
    observed: &ObservedVm,
    at: DateTime<Utc>,
    lease: &Lease,
) -> Result<Option<Projected>, RepositoryError> {
    let row = match observed.vm_id.as_deref().map(str::parse::<VmId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        // Annotated with something that is no id of ours: not the object of any row.
        Some(Err(_)) => return Ok(None),
    };
    let mut values = values![
        lease.name,
        lease.holder,
        lease.generation,
        cluster,
        observed.namespace,
        observed.name,
        row,
        observed.condition.status(false),
        observed.condition.status(true),
        observed.uid,
        observed.resource_version.to_string(),
        cut(observed.reason.as_ref(), 128),
        cut(observed.message.as_ref(), 512),
        observed.node,
        observed.ip,
        observed.restart_required,
    ];
    if fetch_one::<VmId>(tx, WOULD_CHANGE, values.clone()).await?.is_none() {
        return Ok(None);
    }
    lock(tx, cluster, &observed.namespace, &observed.name).await?;
    values.extend(values![at]);
    let changed: Option<ProjectedRow> = fetch_one(tx, PROJECT, values).await?;
    Ok(changed.map(Projected::from))
}

async fn lock(tx: &Transaction, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), RepositoryError> {
    fetch_one::<VmId>(tx, LOCK, values![cluster, namespace, name])
        .await
        .map(drop)
}

pub(super) async fn project_absence(
    tx: &Transaction,
    cluster: ClusterId,
    namespace: &str,
    name: &str,
    uid: &str,
    at: DateTime<Utc>,
    lease: &Lease,
) -> Result<Option<Projected>, RepositoryError> {
    lock(tx, cluster, namespace, name).await?;
    let values = values![
        lease.name,
        lease.holder,
        lease.generation,
        cluster,
        namespace,
        name,
        uid,
        OBJECT_MISSING,
        at
    ];
    let changed: Option<ProjectedRow> = fetch_one(tx, PROJECT_ABSENCE, values).await?;
    Ok(changed.map(Projected::from))
}
