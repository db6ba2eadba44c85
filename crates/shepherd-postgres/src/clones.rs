//! Clones.

use async_trait::async_trait;
use shepherd_domain::ids::{CloneId, ServiceId, VmId};
use shepherd_domain::infrastructure::ClonePhase;
use shepherd_ports::RepositoryError;
use shepherd_ports::clones::{CloneFacts, CloneQueries, CloneRecord, CloneRepository, NewClone, NewCopy};

use crate::namespaces::namespace_rows;
use crate::statement::{execute, fetch_one, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! clone_rows {
    () => {
        "SELECT k.id, k.source_vm_id, k.target_vm_id, k.k8s_name, k.phase, k.start_after_clone, k.error, k.ticket_id, \
         k.created_by, k.row_version, k.created_at FROM vm_clones k"
    };
}

/// A copy is what its source is, but for its name, its number, its Service and its owner.
const INSERT_COPY: &str = "INSERT INTO vms (id, service_id, name, hostname, instance_index, instance, namespace, \
         cluster_id, ticket_id, created_by, template_id, template_version, instance_size_id, disk_gb, cpu_cores, \
         memory_mb, storage_class, status) \
     SELECT $1::uuid, $3::uuid, $4::text, $4::text, $5::integer, $6::text, v.namespace, v.cluster_id, $7::uuid, \
         $8::text, v.template_id, v.template_version, v.instance_size_id, v.disk_gb, v.cpu_cores, v.memory_mb, \
         v.storage_class, 'CREATING' \
     FROM vms v WHERE v.id = $2 \
     ON CONFLICT (namespace, name) DO NOTHING";

const FACTS: &str = concat!(
    "SELECT jsonb_build_object( \
         'service', (SELECT to_jsonb(r) FROM (SELECT s.id, s.name, s.next_instance_index, s.system_id, \
             y.name AS system_name FROM services s JOIN systems y ON y.id = s.system_id WHERE s.id = $1) r), \
         'namespace', (SELECT to_jsonb(r) FROM (",
    namespace_rows!("0"),
    " WHERE n.name = $2) r)) AS doc"
);

#[async_trait]
impl CloneRepository for PgUnitOfWork {
    async fn insert(&mut self, clone: &NewClone) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO vm_clones (id, source_vm_id, target_vm_id, k8s_name, start_after_clone, ticket_id, \
                   created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let values = values![
            clone.id,
            clone.source_vm_id,
            clone.target_vm_id,
            clone.k8s_name,
            clone.start_after_clone,
            clone.ticket_id,
            clone.created_by,
        ];
        execute(&self.tx, sql, values).await.map(drop)
    }

    async fn insert_copy(&mut self, copy: &NewCopy) -> Result<bool, RepositoryError> {
        let values = values![
            copy.id,
            copy.source,
            copy.service_id,
            copy.name,
            copy.instance_index,
            copy.instance,
            copy.ticket_id,
            copy.created_by,
        ];
        Ok(execute(&self.tx, INSERT_COPY, values).await? > 0)
    }

    async fn note_phase(
        &mut self,
        id: CloneId,
        phase: ClonePhase,
        error: Option<&str>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE vm_clones SET phase = $2, error = left($3::text, 512) \
                   WHERE id = $1 AND phase IN ('PENDING', 'IN_PROGRESS') AND phase <> $2";
        Ok(execute(&self.tx, sql, values![id, phase.as_str(), error]).await? > 0)
    }
}

#[async_trait]
impl CloneQueries for PgStore {
    async fn get_clone(&self, id: CloneId) -> Result<Option<CloneRecord>, RepositoryError> {
        select_one(&self.db, concat!(clone_rows!(), " WHERE k.id = $1"), values![id]).await
    }

    async fn clone_making(&self, target: VmId) -> Result<Option<CloneRecord>, RepositoryError> {
        // By the ticket of the machine, which is indexed.
        let sql = concat!(
            clone_rows!(),
            " WHERE k.ticket_id = (SELECT v.ticket_id FROM vms v WHERE v.id = $1) AND k.target_vm_id = $1"
        );
        select_one(&self.db, sql, values![target]).await
    }

    async fn clone_facts(&self, service: ServiceId, namespace: &str) -> Result<CloneFacts, RepositoryError> {
        let found: Option<CloneFacts> = fetch_one(&self.db, FACTS, values![service, namespace]).await?;
        Ok(found.unwrap_or_default())
    }
}
