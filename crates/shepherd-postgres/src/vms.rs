//! Machine rows and their revisions. Lists live in `list`, what clusters report in `projection`.

mod list;
pub(crate) mod projection;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;
use shepherd_domain::access::Visibility;
use shepherd_domain::ids::{ClusterId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::transition::Transition;
use shepherd_domain::vm::VmStatus;
use shepherd_ports::RepositoryError;
use shepherd_ports::leases::Lease;
use shepherd_ports::vms::{
    ExpectedVm, NewRevision, NewVm, Projected, Sighting, VmFilter, VmQueries, VmRecord, VmRepository, VmShape, VmSort,
};

use crate::statement::{execute, fetch_one, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! vm_columns {
    () => {
        "v.id, v.name, v.namespace, n.environment, v.cluster_id, c.name AS cluster_name, \
         c.status AS cluster_status, \
         coalesce((SELECT w.state FROM cluster_watches w WHERE w.cluster_id = c.id), 'STARTING') AS watch_state, v.status, v.status_reason, v.status_message, v.observed_at, v.k8s_uid, \
         v.hostname, v.ip_address, v.node_name, s.system_id, y.name AS system_name, v.service_id, \
         s.name AS service_name, v.instance, v.ticket_id, \
         COALESCE((SELECT t.status = 'FAILED' FROM approval_tickets t WHERE t.id = v.ticket_id), false) \
             AS ticket_failed, \
         v.cpu_cores, v.memory_mb, v.disk_gb, v.template_id, v.template_version, v.instance_size_id, \
         v.storage_class, v.restart_required, v.created_by, v.row_version, v.created_at, v.updated_at"
    };
}
pub(crate) use vm_columns;

macro_rules! vm_names {
    () => {
        " JOIN namespace_registry n ON n.name = v.namespace JOIN clusters c ON c.id = v.cluster_id \
          JOIN services s ON s.id = v.service_id JOIN systems y ON y.id = s.system_id"
    };
}
pub(crate) use vm_names;

const ONE: &str = concat!("SELECT ", vm_columns!(), " FROM vms v", vm_names!(), " WHERE v.id = $1");

const HOLD: &str = concat!(
    "SELECT ",
    vm_columns!(),
    " FROM vms v",
    vm_names!(),
    " WHERE v.id = $1 FOR SHARE OF v"
);

const ADD_REVISION: &str = "WITH newest AS ( \
         SELECT revision, spec_sha256 FROM vm_revisions WHERE vm_id = $2 ORDER BY revision DESC LIMIT 1 \
     ), added AS ( \
         INSERT INTO vm_revisions (id, vm_id, vm_name, revision, spec_snapshot, spec_sha256, change_reason, \
             ticket_id, changed_by) \
         SELECT $1, $2, $3, COALESCE((SELECT revision FROM newest), 0) + 1, $4, $5, $6, $7, $8 \
         WHERE NOT EXISTS (SELECT FROM newest WHERE spec_sha256 = $5) \
         RETURNING revision \
     ) \
     SELECT to_jsonb(revision) AS doc FROM added";

async fn by_id(db: &impl ConnectionTrait, id: VmId) -> Result<Option<VmRecord>, RepositoryError> {
    select_one(db, ONE, values![id]).await
}

#[async_trait]
impl VmRepository for PgUnitOfWork {
    async fn insert(&mut self, vm: &NewVm) -> Result<bool, RepositoryError> {
        let sql = "INSERT INTO vms (id, service_id, name, hostname, instance_index, instance, namespace, cluster_id, \
                   ticket_id, created_by, template_id, template_version, instance_size_id, disk_gb, cpu_cores, \
                   memory_mb, storage_class, status) \
                   VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'CREATING') \
                   ON CONFLICT (namespace, name) DO NOTHING";
        let values = values![
            vm.id,
            vm.service_id,
            vm.name,
            vm.instance_index,
            vm.instance,
            vm.namespace,
            vm.cluster_id,
            vm.ticket_id,
            vm.created_by,
            vm.template_id,
            vm.template_version,
            vm.instance_size_id,
            vm.disk_gb,
            vm.cpu_cores,
            vm.memory_mb,
            vm.storage_class,
        ];
        Ok(execute(&self.tx, sql, values).await? > 0)
    }

    async fn transition(
        &mut self,
        id: VmId,
        step: Transition<VmStatus>,
        reason: Option<&str>,
        message: Option<&str>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE vms SET status = $3, status_reason = left($4, 128), status_message = left($5, 512) \
                   WHERE id = $1 AND status = $2";
        Ok(execute(&self.tx, sql, values![id, step.from(), step.to(), reason, message]).await? > 0)
    }

    async fn find(&mut self, id: VmId) -> Result<Option<VmRecord>, RepositoryError> {
        by_id(&self.tx, id).await
    }

    async fn hold(&mut self, id: VmId) -> Result<Option<VmRecord>, RepositoryError> {
        select_one(&self.tx, HOLD, values![id]).await
    }

    async fn project(
        &mut self,
        cluster: ClusterId,
        sightings: &[Sighting],
        at: DateTime<Utc>,
        lease: &Lease,
    ) -> Result<Vec<Projected>, RepositoryError> {
        projection::project(&self.tx, cluster, sightings, at, lease).await
    }

    async fn set_uid(&mut self, id: VmId, uid: &str) -> Result<(), RepositoryError> {
        let sql = "UPDATE vms SET k8s_uid = $2, observed_resource_version = NULL \
                   WHERE id = $1 AND k8s_uid IS DISTINCT FROM $2";
        execute(&self.tx, sql, values![id, uid]).await.map(drop)
    }

    async fn reshape(&mut self, id: VmId, shape: &VmShape) -> Result<(), RepositoryError> {
        let sql = "UPDATE vms SET instance_size_id = $2, disk_gb = $3, cpu_cores = $4, memory_mb = $5 WHERE id = $1";
        let values = values![
            id,
            shape.instance_size_id,
            shape.disk_gb,
            shape.cpu_cores,
            shape.memory_mb
        ];
        execute(&self.tx, sql, values).await.map(drop)
    }

    async fn add_revision(&mut self, revision: &NewRevision) -> Result<Option<i32>, RepositoryError> {
        // A statement of its own: the next one has to see what whoever held the row before has written.
        let hold = "SELECT FROM vms WHERE id = $1 FOR NO KEY UPDATE";
        execute(&self.tx, hold, values![revision.vm_id]).await?;
        let values = values![
            revision.id,
            revision.vm_id,
            revision.vm_name,
            revision.snapshot,
            revision.sha256,
            revision.reason,
            revision.ticket_id,
            revision.changed_by,
        ];
        fetch_one(&self.tx, ADD_REVISION, values).await
    }

    async fn delete(&mut self, id: VmId) -> Result<bool, RepositoryError> {
        let sql = "DELETE FROM vms WHERE id = $1";
        Ok(execute(&self.tx, sql, values![id]).await? > 0)
    }
}

#[async_trait]
impl VmQueries for PgStore {
    async fn get_vm(&self, id: VmId) -> Result<Option<VmRecord>, RepositoryError> {
        by_id(&self.db, id).await
    }

    async fn list_vms(
        &self,
        visibility: &Visibility,
        filter: &VmFilter,
        sort: VmSort,
        descending: bool,
        page: PageRequest,
    ) -> Result<Page<VmRecord>, RepositoryError> {
        list::list(&self.db, visibility, filter, sort, descending, page).await
    }

    async fn expected_on(&self, cluster: ClusterId) -> Result<Vec<ExpectedVm>, RepositoryError> {
        let sql = "SELECT name, namespace, k8s_uid AS uid FROM vms WHERE cluster_id = $1 AND k8s_uid IS NOT NULL";
        select_all(&self.db, sql, values![cluster]).await
    }
}
