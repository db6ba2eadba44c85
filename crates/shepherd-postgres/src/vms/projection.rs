//! What clusters report becomes the state of rows, any number of machines by the same three statements.
//!
//! The order of observations is the order of their resource versions, except that a full list counts whatever its
//! versions are: it was read under the lease, and a restored cluster counts anew. A row that would not change is neither locked
//! nor written, so the resource version of the row may be older than the newest one seen; the watch delivers in order
//! within itself, a full list begins anew, and whoever lost the lease writes nothing, so that nothing old comes
//! afterwards. An observation with the very version of the row is not older: it lets a row that the platform itself
//! moved since (a failed deletion, an object that came back) take the observed state again.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shepherd_domain::ActorId;
use shepherd_domain::ids::{ClusterId, SystemId, VmId};
use shepherd_domain::vm::{OBJECT_MISSING, ObservedVm, VmStatus};
use shepherd_ports::RepositoryError;
use shepherd_ports::leases::Lease;
use shepherd_ports::vms::{Projected, Sighting};

use crate::statement::{Uuids, fetch_all, values};
use crate::unit_of_work::Transaction;

/// Longest name of a node or address that is kept, in characters.
const LONGEST_NAME: usize = 253;

/// The lease of the parameters `$1` to `$3` is still held. The clock is read now and not at the start of the
/// transaction, which may have begun before the lease ran out.
macro_rules! lease_held {
    () => {
        "EXISTS (SELECT FROM leader_leases l WHERE l.name = $1 AND l.holder = $2 AND l.generation = $3 \
         AND l.expires_at > clock_timestamp())"
    };
}
pub(crate) use lease_held;

macro_rules! delete_open {
    () => {
        "EXISTS (SELECT FROM approval_tickets t WHERE t.vm_id = v.id AND t.operation_group = 'DELETE' \
         AND t.status IN ('APPROVED', 'EXECUTING'))"
    };
}

/// Reads `changed` together with the row's System; `$at` is the parameter that holds the time of the change.
macro_rules! answer {
    ($at:literal) => {
        concat!(
            " SELECT jsonb_build_object('vm', changed.id, 'name', changed.name, 'before', changed.before, \
             'after', changed.status, 'first_running', changed.first_running, 'owner', changed.created_by, \
             'system', s.system_id, 'reason', changed.status_reason, \
             'stop_asked', EXISTS (SELECT FROM approval_tickets t WHERE t.vm_id = changed.id \
                 AND t.request_type IN ('STOP_VM', 'RESTART_VM') \
                 AND (t.status IN ('APPROVED', 'EXECUTING') \
                     OR (t.status = 'COMPLETED' AND t.updated_at > ",
            $at,
            "::timestamptz - interval '10 minutes')))) AS doc \
             FROM changed JOIN services s ON s.id = changed.service_id"
        )
    };
}
pub(crate) use answer;

/// The rows that sightings would change. `waiting` is the status for a machine that has not run yet, `ran` for one
/// that has.
///
/// An object is a row's by its annotation; without one only when it is known to be, by its uid. A foreign object of
/// the same name never becomes a row's. A creation that was given up is not taken up again by a machine that still
/// waits.
macro_rules! changed_rows {
    () => {
        concat!(
            "FROM jsonb_to_recordset($5) AS o (namespace text, name text, uid text, gone boolean, vm_id uuid, \
                 version numeric, waiting text, ran text, reason text, message text, node text, ip text, \
                 restart_required boolean, listed boolean) \
             JOIN vms v ON v.namespace = o.namespace AND v.name = o.name \
             WHERE v.cluster_id = $4 AND CASE WHEN o.gone THEN \
                 v.k8s_uid = o.uid AND (v.status, v.status_reason) IS DISTINCT FROM (o.ran, o.reason) AND NOT ",
            delete_open!(),
            " ELSE (v.id = o.vm_id OR (o.vm_id IS NULL AND v.k8s_uid = o.uid)) \
                 AND (v.k8s_uid IS NULL OR v.k8s_uid = o.uid) \
                 AND (o.listed OR v.observed_resource_version IS NULL \
                     OR v.observed_resource_version::numeric <= o.version) \
                 AND ((v.status, v.status_reason, v.status_message, v.node_name, v.ip_address, v.restart_required, \
                       v.k8s_uid) \
                     IS DISTINCT FROM (CASE WHEN v.first_running_at IS NULL THEN o.waiting ELSE o.ran END, \
                       o.reason, o.message, o.node, o.ip, o.restart_required, o.uid) \
                     OR (v.first_running_at IS NULL AND o.waiting = 'RUNNING') \
                     OR (o.listed AND v.observed_resource_version::numeric > o.version)) \
                 AND NOT (v.status = 'FAILED' AND v.status_reason = 'CREATION_TIMEOUT' \
                     AND v.first_running_at IS NULL AND o.waiting = 'CREATING') \
                 AND NOT (v.status = 'DELETING' AND ",
            delete_open!(),
            ") END AND ",
            lease_held!()
        )
    };
}

/// Takes the rows there is something new about, in the order of their ids, so that no two batches wait for each other;
/// most sightings say nothing new and take nothing. A statement of its own, so that the next one sees what whoever
/// held a row before has committed: within one statement the open delete ticket would still be looked for as of its
/// beginning.
const TAKE: &str = concat!(
    "SELECT to_jsonb(v.id) AS doc ",
    changed_rows!(),
    " ORDER BY v.id FOR NO KEY UPDATE OF v"
);

/// Changes the rows that were taken (`$7`) and would still change. Of two objects that could be a row's the newer
/// one counts.
const PROJECT: &str = concat!(
    "WITH seen AS ( \
         SELECT DISTINCT ON (v.id) v.id, v.status AS before, v.first_running_at IS NULL AS fresh, \
             CASE WHEN v.first_running_at IS NULL THEN o.waiting ELSE o.ran END AS after, \
             o.gone, o.uid, o.version, o.reason, o.message, o.node, o.ip, o.restart_required ",
    changed_rows!(),
    " AND v.id = ANY($7) ORDER BY v.id, o.gone, o.version DESC \
     ), changed AS ( \
         UPDATE vms v SET status = seen.after, status_reason = seen.reason, status_message = seen.message, \
             node_name = seen.node, ip_address = seen.ip, k8s_uid = seen.uid, observed_at = $6, \
             restart_required = CASE WHEN seen.gone THEN v.restart_required ELSE seen.restart_required END, \
             observed_resource_version = \
                 CASE WHEN seen.gone THEN v.observed_resource_version ELSE seen.version::text END, \
             first_running_at = CASE WHEN seen.fresh AND seen.after = 'RUNNING' THEN $6 ELSE v.first_running_at END \
         FROM seen WHERE v.id = seen.id \
         RETURNING v.id, v.name, v.status, v.status_reason, v.created_by, v.service_id, seen.before, \
             seen.fresh AND seen.after = 'RUNNING' AS first_running \
     )",
    answer!("$6")
);

/// [`Projected`] as a document.
#[derive(Deserialize)]
pub(crate) struct ProjectedRow {
    vm: VmId,
    name: String,
    before: VmStatus,
    after: VmStatus,
    first_running: bool,
    owner: ActorId,
    system: SystemId,
    reason: Option<String>,
    stop_asked: bool,
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
            stop_asked,
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
            stop_asked,
        }
    }
}

/// The parameters that [`lease_held`] speaks about, and the cluster.
pub(crate) fn guard(lease: &Lease, cluster: ClusterId) -> Vec<sea_orm::Value> {
    values![lease.name, lease.holder, lease.generation, cluster]
}

pub(super) async fn project(
    tx: &Transaction,
    cluster: ClusterId,
    sightings: &[Sighting],
    at: DateTime<Utc>,
    lease: &Lease,
) -> Result<Vec<Projected>, RepositoryError> {
    let documents: Vec<Value> = sightings.iter().filter_map(document).collect();
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = guard(lease, cluster);
    values.extend(values![Value::Array(documents)]);
    let taken: Vec<VmId> = fetch_all(tx, TAKE, values.clone()).await?;
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    values.extend(values![at, Uuids(taken.iter().map(|vm| vm.as_uuid()).collect())]);
    let changed: Vec<ProjectedRow> = fetch_all(tx, PROJECT, values).await?;
    Ok(changed.into_iter().map(Projected::from).collect())
}

/// A sighting as the statements read it; `None` when it cannot be about any row.
fn document(sighting: &Sighting) -> Option<Value> {
    match sighting {
        Sighting::Present(vm) => present(vm, false),
        Sighting::Listed(vm) => present(vm, true),
        Sighting::Gone { namespace, name, uid } => [namespace, name, uid]
            .into_iter()
            .all(|text| is_storable(text))
            .then(|| {
                json!({
                    "namespace": namespace, "name": name, "uid": uid, "gone": true, "reason": OBJECT_MISSING,
                    "waiting": VmStatus::Unknown, "ran": VmStatus::Unknown,
                })
            }),
    }
}

fn present(vm: &ObservedVm, listed: bool) -> Option<Value> {
    let row = match vm.vm_id.as_deref().map(str::parse::<VmId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        // Annotated with something that is no id of ours: not the object of any row.
        Some(Err(_)) => return None,
    };
    let names = [&vm.namespace, &vm.name, &vm.uid];
    if !names.into_iter().all(|text| is_storable(text)) {
        return None;
    }
    Some(json!({
        "namespace": vm.namespace,
        "name": vm.name,
        "uid": vm.uid,
        "gone": false,
        "listed": listed,
        "vm_id": row,
        "version": vm.resource_version,
        "waiting": vm.condition.status(false),
        "ran": vm.condition.status(true),
        "reason": kept(vm.reason.as_ref(), 128),
        "message": kept(vm.message.as_ref(), 512),
        "node": kept(vm.node.as_ref(), LONGEST_NAME),
        "ip": kept(vm.ip.as_ref(), LONGEST_NAME),
        "restart_required": vm.restart_required,
    }))
}

/// PostgreSQL keeps no NUL; one in a text of one machine must not fail the batch of all.
fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

fn kept(text: Option<&String>, characters: usize) -> Option<String> {
    text.map(|text| text.chars().filter(|one| *one != '\0').take(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_without_nul() {
        assert_eq!(kept(Some(&"a\0bcd".to_owned()), 3).as_deref(), Some("abc"));
        assert_eq!(kept(None, 3), None);
    }

    #[test]
    fn what_cannot_be_a_name_is_about_no_row() {
        let gone = |uid: &str| {
            document(&Sighting::Gone {
                namespace: "shop".to_owned(),
                name: "web".to_owned(),
                uid: uid.to_owned(),
            })
        };
        assert!(gone("u1").is_some_and(|found| found["ran"] == "UNKNOWN" && found["gone"] == true));
        assert_eq!(gone("u\0"), None);
    }
}
