//! What the checks of a batch need to know about all of its items.

use async_trait::async_trait;
use shepherd_domain::ids::{ClusterId, InstanceSizeId, ServiceId, TemplateId, VmId};
use shepherd_ports::RepositoryError;
use shepherd_ports::batch_items::{BatchItemQueries, OpenOperation};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::namespaces::NamespaceRecord;
use shepherd_ports::sizes::SizeRecord;
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::tickets::ServiceFacts;
use shepherd_ports::vms::VmRecord;

use crate::clusters::cluster_rows;
use crate::namespaces::namespace_rows;
use crate::sizes::size_rows;
use crate::statement::{Texts, Uuids, select_all, values};
use crate::store::PgStore;
use crate::templates::template_rows;
use crate::vms::{vm_columns, vm_names};

const MACHINES: &str = concat!(
    "SELECT ",
    vm_columns!(),
    " FROM vms v",
    vm_names!(),
    " WHERE v.id = ANY($1)"
);

const OPEN_OPERATIONS: &str = "SELECT vm_id, id, number FROM approval_tickets \
     WHERE vm_id = ANY($1) AND operation_group = $2 \
         AND status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING')";

const SERVICES: &str = "SELECT s.id, s.name, s.next_instance_index, s.system_id, y.name AS system_name \
     FROM services s JOIN systems y ON y.id = s.system_id WHERE s.id = ANY($1)";

#[async_trait]
impl BatchItemQueries for PgStore {
    async fn machines_of(&self, ids: &[VmId]) -> Result<Vec<VmRecord>, RepositoryError> {
        let ids = Uuids(ids.iter().map(|id| id.as_uuid()).collect());
        select_all(&self.db, MACHINES, values![ids]).await
    }

    async fn clusters_of(&self, ids: &[ClusterId]) -> Result<Vec<ClusterRecord>, RepositoryError> {
        let sql = concat!(cluster_rows!(), " WHERE c.id = ANY($1)");
        let ids = Uuids(ids.iter().map(|id| id.as_uuid()).collect());
        select_all(&self.db, sql, values![ids]).await
    }

    async fn open_operations_of(&self, vms: &[VmId], group: &str) -> Result<Vec<OpenOperation>, RepositoryError> {
        let ids = Uuids(vms.iter().map(|id| id.as_uuid()).collect());
        select_all(&self.db, OPEN_OPERATIONS, values![ids, group]).await
    }

    async fn services_of(&self, ids: &[ServiceId]) -> Result<Vec<ServiceFacts>, RepositoryError> {
        let ids = Uuids(ids.iter().map(|id| id.as_uuid()).collect());
        select_all(&self.db, SERVICES, values![ids]).await
    }

    async fn namespaces_of(&self, names: &[String]) -> Result<Vec<NamespaceRecord>, RepositoryError> {
        let sql = concat!(namespace_rows!("0"), " WHERE n.name = ANY($1)");
        select_all(&self.db, sql, values![Texts(names.to_vec())]).await
    }

    async fn templates_of(&self, ids: &[TemplateId]) -> Result<Vec<TemplateRecord>, RepositoryError> {
        let sql = concat!(template_rows!(), " WHERE t.id = ANY($1)");
        let ids = Uuids(ids.iter().map(|id| id.as_uuid()).collect());
        select_all(&self.db, sql, values![ids]).await
    }

    async fn sizes_of(&self, ids: &[InstanceSizeId]) -> Result<Vec<SizeRecord>, RepositoryError> {
        let sql = concat!(size_rows!(), " WHERE z.id = ANY($1)");
        let ids = Uuids(ids.iter().map(|id| id.as_uuid()).collect());
        select_all(&self.db, sql, values![ids]).await
    }
}
