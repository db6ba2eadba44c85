//! Machines on clusters that nobody has a row for, and what is decided about them.
//!
//! A scan and a decision about the same machine meet at its row: both lock it before they look at anything else.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use shepherd_domain::ActorId;
use shepherd_domain::adoption::Surroundings;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{AdoptionId, ClusterId, ServiceId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::vm::{ObservedVm, VmStatus};
use shepherd_ports::RepositoryError;
use shepherd_ports::adoptions::{
    AdoptedVm, AdoptionCandidate, AdoptionFilter, AdoptionQueries, AdoptionRecord, AdoptionRepository, Sighting,
};

use crate::errors::mismatch;
use crate::statement::{Filter, List, Texts, execute, fetch_all, fetch_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// Rows are taken in the order of their key, so that two who ask never wait for each other.
const REQUEST_SCAN: &str = "WITH asked AS ( \
         INSERT INTO adoption_scans (cluster_id, requested_at) \
         SELECT c.id, clock_timestamp() FROM clusters c \
         WHERE c.enabled AND c.status = 'HEALTHY' AND c.environment = ANY($1) AND ($2::uuid IS NULL OR c.id = $2) \
         ORDER BY c.id \
         ON CONFLICT (cluster_id) DO UPDATE SET requested_at = excluded.requested_at \
         RETURNING cluster_id \
     ) SELECT to_jsonb(count(*)) AS doc FROM asked";

/// The row is looked at again once it is locked, so of several who find the same cluster due one gets it.
const CLAIM_SCANS: &str = "WITH taken AS ( \
         INSERT INTO adoption_scans AS s (cluster_id, scanned_at) \
         SELECT c.id, clock_timestamp() FROM clusters c LEFT JOIN adoption_scans d ON d.cluster_id = c.id \
         WHERE c.enabled AND c.status = 'HEALTHY' \
             AND (d.requested_at > coalesce(d.scanned_at, '-infinity') \
                 OR coalesce(d.scanned_at, c.created_at) <= clock_timestamp() - $1::bigint * interval '1 second') \
         ORDER BY c.id \
         ON CONFLICT (cluster_id) DO UPDATE SET scanned_at = excluded.scanned_at \
         WHERE s.scanned_at IS NULL OR s.requested_at > s.scanned_at \
             OR s.scanned_at <= clock_timestamp() - $1::bigint * interval '1 second' \
         RETURNING s.cluster_id, s.scanned_at \
     ) \
     SELECT coalesce(jsonb_agg(jsonb_build_array(cluster_id, scanned_at) ORDER BY cluster_id), '[]') AS doc FROM taken";

/// A statement of its own, so that the next one sees what whoever held the rows before has committed: an adoption and
/// the machine row it made.
const LOCK_CANDIDATES: &str = "SELECT to_jsonb(p.id) AS doc FROM pending_adoptions p \
     JOIN jsonb_to_recordset($2) AS f (namespace text, resource_name text) \
         ON f.namespace = p.namespace AND f.resource_name = p.resource_name \
     WHERE p.cluster_id = $1 ORDER BY p.namespace, p.resource_name FOR UPDATE OF p";

const NOTE_CANDIDATES: &str = "INSERT INTO pending_adoptions AS p (id, cluster_id, namespace, resource_name, k8s_uid, \
         system, service, instance, resource_spec, labels, last_seen_at) \
     SELECT f.id, $1, f.namespace, f.resource_name, f.k8s_uid, f.system, f.service, f.instance, f.resource_spec, \
         f.labels, $3 \
     FROM jsonb_to_recordset($2) AS f (id uuid, namespace text, resource_name text, k8s_uid text, system text, \
         service text, instance text, resource_spec jsonb, labels jsonb) \
     WHERE NOT EXISTS (SELECT FROM vms v WHERE v.namespace = f.namespace AND v.name = f.resource_name) \
     ORDER BY f.namespace, f.resource_name \
     ON CONFLICT (cluster_id, namespace, resource_name) DO UPDATE SET \
         status = CASE WHEN p.status = 'IGNORED' AND p.k8s_uid = excluded.k8s_uid THEN 'IGNORED' ELSE 'PENDING' END, \
         decided_by = CASE WHEN p.status = 'IGNORED' AND p.k8s_uid = excluded.k8s_uid THEN p.decided_by END, \
         decided_at = CASE WHEN p.status = 'IGNORED' AND p.k8s_uid = excluded.k8s_uid THEN p.decided_at END, \
         vm_id = NULL, k8s_uid = excluded.k8s_uid, system = excluded.system, service = excluded.service, \
         instance = excluded.instance, resource_spec = excluded.resource_spec, labels = excluded.labels, \
         last_seen_at = excluded.last_seen_at \
     WHERE p.last_seen_at <= excluded.last_seen_at \
         AND NOT (p.status = 'ADOPTED' AND EXISTS (SELECT FROM vms v WHERE v.id = p.vm_id))";

const EXPIRE_UNSEEN: &str = "UPDATE pending_adoptions SET status = 'EXPIRED' \
     WHERE cluster_id = $1 AND status = 'PENDING' AND last_seen_at < $2";

const HOLD_SERVICE: &str = "SELECT to_jsonb(s.id) AS doc FROM services s JOIN systems y ON y.id = s.system_id \
     WHERE y.name = $1 AND s.name = $2 FOR UPDATE OF s";

const INSERT_VM: &str = "INSERT INTO vms (id, service_id, name, hostname, instance_index, instance, namespace, \
         cluster_id, created_by, status, status_reason, status_message, observed_at, observed_resource_version, \
         k8s_uid, node_name, ip_address, first_running_at, restart_required, cpu_cores, memory_mb, disk_gb, \
         storage_class) \
     VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9, left($10, 128), left($11, 512), $12, $13, $14, $15, $16, \
         CASE WHEN $9 = 'RUNNING' THEN $12::timestamptz END, $17, $18, $19, $20, $21)";

/// As the projection orders observations; no lease is asked for, because the row is new and the object its own.
const CATCH_UP: &str = "UPDATE vms v SET status = $3, status_reason = left($4, 128), status_message = left($5, 512), \
         node_name = $6, ip_address = $7, restart_required = $8, observed_resource_version = $9, observed_at = $10, \
         first_running_at = CASE WHEN v.first_running_at IS NULL AND $3 = 'RUNNING' THEN $10 \
             ELSE v.first_running_at END \
     WHERE v.id = $1 AND v.k8s_uid = $2 AND v.status <> 'DELETING' \
         AND v.observed_resource_version::numeric < $9::text::numeric";

macro_rules! adoption_rows {
    () => {
        "SELECT p.id, p.cluster_id, c.name AS cluster_name, c.environment, p.namespace, p.resource_name, \
         p.resource_type, p.k8s_uid, p.system, p.service, p.instance, p.labels, p.status, p.last_seen_at, \
         p.decided_by, p.decided_at, p.vm_id, p.created_at \
         FROM pending_adoptions p JOIN clusters c ON c.id = p.cluster_id WHERE {where}"
    };
}

/// Most objects have a row of their name, so the other ways to know one are tried last.
const SURROUNDINGS: &str = "SELECT jsonb_build_object( \
         'known', EXISTS (SELECT FROM vms v WHERE v.cluster_id = $1 AND v.namespace = o.namespace AND v.name = o.name) \
             OR EXISTS (SELECT FROM vms v WHERE v.cluster_id = $1 AND v.k8s_uid = o.uid), \
         'id_taken', EXISTS (SELECT FROM vms v WHERE v.id = o.vm_id), \
         'name_taken', EXISTS (SELECT FROM vms v WHERE v.namespace = o.namespace AND v.name = o.name), \
         'namespace', (SELECT n.environment FROM namespace_registry n WHERE n.name = o.namespace), \
         'service', svc.id, \
         'instance_taken', EXISTS (SELECT FROM vms v WHERE v.service_id = svc.id \
             AND v.instance_index = (o.claim ->> 'index')::integer) \
     ) AS doc \
     FROM jsonb_array_elements($2) WITH ORDINALITY AS a (doc, position) \
     CROSS JOIN LATERAL jsonb_to_record(a.doc) AS o (namespace text, name text, uid text, vm_id uuid, claim jsonb) \
     LEFT JOIN LATERAL (SELECT s.id FROM services s JOIN systems y ON y.id = s.system_id \
         WHERE y.name = o.claim ->> 'system' AND s.name = o.claim ->> 'service') AS svc ON true \
     ORDER BY a.position";

#[async_trait]
impl AdoptionRepository for PgUnitOfWork {
    async fn request_scan(
        &mut self,
        environments: EnvironmentSet,
        cluster: Option<ClusterId>,
    ) -> Result<u32, RepositoryError> {
        let values = values![Texts::environments(environments), cluster];
        Ok(fetch_one(&self.tx, REQUEST_SCAN, values).await?.unwrap_or_default())
    }

    async fn claim_scans(&mut self, interval: i64) -> Result<Vec<(ClusterId, DateTime<Utc>)>, RepositoryError> {
        let claimed = fetch_one(&self.tx, CLAIM_SCANS, values![interval]).await?;
        Ok(claimed.unwrap_or_default())
    }

    async fn note_candidates(
        &mut self,
        cluster: ClusterId,
        candidates: &[AdoptionCandidate],
        began: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let found = serde_json::to_value(candidates).map_err(mismatch)?;
        fetch_all::<AdoptionId>(&self.tx, LOCK_CANDIDATES, values![cluster, found]).await?;
        execute(&self.tx, NOTE_CANDIDATES, values![cluster, found, began])
            .await
            .map(drop)
    }

    async fn expire_unseen(&mut self, cluster: ClusterId, began: DateTime<Utc>) -> Result<u64, RepositoryError> {
        execute(&self.tx, EXPIRE_UNSEEN, values![cluster, began]).await
    }

    async fn adopt(
        &mut self,
        id: AdoptionId,
        vm: VmId,
        by: &ActorId,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE pending_adoptions SET status = 'ADOPTED', vm_id = $2, decided_by = $3, decided_at = $4 \
                   WHERE id = $1 AND status = 'PENDING'";
        Ok(execute(&self.tx, sql, values![id, vm, by, at]).await? > 0)
    }

    async fn ignore(&mut self, id: AdoptionId, by: &ActorId, at: DateTime<Utc>) -> Result<bool, RepositoryError> {
        let sql = "UPDATE pending_adoptions SET status = 'IGNORED', decided_by = $2, decided_at = $3 \
                   WHERE id = $1 AND status = 'PENDING'";
        Ok(execute(&self.tx, sql, values![id, by, at]).await? > 0)
    }

    async fn restore(&mut self, id: AdoptionId) -> Result<bool, RepositoryError> {
        let sql = "UPDATE pending_adoptions SET status = 'PENDING', decided_by = NULL, decided_at = NULL \
                   WHERE id = $1 AND status = 'IGNORED'";
        Ok(execute(&self.tx, sql, values![id]).await? > 0)
    }

    async fn hold_service(&mut self, system: &str, service: &str) -> Result<Option<ServiceId>, RepositoryError> {
        fetch_one(&self.tx, HOLD_SERVICE, values![system, service]).await
    }

    async fn raise_instance_index(&mut self, service: ServiceId, at_least: i32) -> Result<(), RepositoryError> {
        let sql = "UPDATE services SET next_instance_index = $2 WHERE id = $1 AND next_instance_index < $2";
        execute(&self.tx, sql, values![service, at_least]).await.map(drop)
    }

    async fn insert_vm(&mut self, vm: &AdoptedVm, service: ServiceId) -> Result<(), RepositoryError> {
        let observed = &vm.observed;
        let values = values![
            vm.id,
            service,
            observed.name,
            vm.claim.index,
            vm.claim.instance,
            observed.namespace,
            vm.cluster,
            vm.created_by,
            vm.status,
            observed.reason,
            observed.message,
            vm.at,
            observed.resource_version.to_string(),
            observed.uid,
            observed.node,
            observed.ip,
            observed.restart_required,
            vm.cpu_cores,
            vm.memory_mb,
            vm.disk_gb,
            vm.storage_class,
        ];
        execute(&self.tx, INSERT_VM, values).await.map(drop)
    }

    async fn catch_up(
        &mut self,
        id: VmId,
        observed: &ObservedVm,
        status: VmStatus,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let values = values![
            id,
            observed.uid,
            status,
            observed.reason,
            observed.message,
            observed.node,
            observed.ip,
            observed.restart_required,
            observed.resource_version.to_string(),
            at,
        ];
        execute(&self.tx, CATCH_UP, values).await.map(drop)
    }
}

#[async_trait]
impl AdoptionQueries for PgStore {
    async fn get_adoption(&self, id: AdoptionId) -> Result<Option<AdoptionRecord>, RepositoryError> {
        let mut wanted = Filter::default();
        wanted.and("p.id = ?", values![id]);
        wanted.first(&self.db, adoption_rows!()).await
    }

    async fn list_adoptions(
        &self,
        filter: &AdoptionFilter,
        page: PageRequest,
    ) -> Result<Page<AdoptionRecord>, RepositoryError> {
        let AdoptionFilter {
            visible,
            status,
            cluster,
        } = *filter;
        let mut shown = Filter::default();
        shown.and("c.environment = ANY(?)", values![Texts::environments(visible)]);
        shown.and_some("p.status = ?", status.map(|status| status.as_str()));
        shown.and_some("p.cluster_id = ?", cluster);
        List {
            rows: concat!(adoption_rows!(), " ORDER BY p.created_at DESC, p.id DESC {limit}"),
            counted: "pending_adoptions p JOIN clusters c ON c.id = p.cluster_id",
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }

    async fn surroundings(
        &self,
        cluster: ClusterId,
        sightings: &[Sighting],
    ) -> Result<Vec<Surroundings>, RepositoryError> {
        let asked: Value = serde_json::to_value(sightings).map_err(mismatch)?;
        fetch_all(&self.db, SURROUNDINGS, values![cluster, asked]).await
    }
}
