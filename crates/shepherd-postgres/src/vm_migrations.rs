//! Live migrations.

use async_trait::async_trait;
use shepherd_domain::ids::{EventId, MigrationId, VmId};
use shepherd_domain::infrastructure::{Migration, MigrationPhase};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::migrations::{MigrationQueries, MigrationRecord, MigrationRepository, NewMigration};

use crate::statement::{Filter, List, execute, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! migration_rows {
    () => {
        "SELECT m.id, m.vm_id, m.k8s_name, m.k8s_uid, m.phase, m.source_node, m.target_node, m.error, m.ticket_id, \
         m.cancel_event_id, m.created_by, m.row_version, m.created_at FROM vm_migrations m"
    };
}

/// A node that was known stays known: a cluster names none any more once it has tidied up.
const OBSERVE: &str = "UPDATE vm_migrations SET k8s_uid = coalesce(k8s_uid, $2::text), phase = $3, \
         source_node = coalesce($4::text, source_node), target_node = coalesce($5::text, target_node) \
     WHERE id = $1 AND phase IN ('PENDING', 'RUNNING') \
         AND (k8s_uid, phase, source_node, target_node) IS DISTINCT FROM \
             (coalesce(k8s_uid, $2::text), $3::text, coalesce($4::text, source_node), coalesce($5::text, target_node))";

#[async_trait]
impl MigrationRepository for PgUnitOfWork {
    async fn insert(&mut self, migration: &NewMigration) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO vm_migrations (id, vm_id, k8s_name, ticket_id, created_by) VALUES ($1, $2, $3, $4, $5)";
        let NewMigration {
            id,
            vm_id,
            k8s_name,
            ticket_id,
            created_by,
        } = migration;
        execute(&self.tx, sql, values![id, vm_id, k8s_name, ticket_id, created_by])
            .await
            .map(drop)
    }

    async fn observe(&mut self, id: MigrationId, seen: &Migration) -> Result<(), RepositoryError> {
        let values = values![id, seen.uid, seen.phase.as_str(), seen.source_node, seen.target_node];
        execute(&self.tx, OBSERVE, values).await.map(drop)
    }

    async fn hold(&mut self, id: MigrationId) -> Result<Option<MigrationRecord>, RepositoryError> {
        let sql = concat!(migration_rows!(), " WHERE m.id = $1 FOR UPDATE OF m");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn settle(
        &mut self,
        id: MigrationId,
        phase: MigrationPhase,
        error: Option<&str>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE vm_migrations SET phase = $2, error = left($3::text, 512) \
                   WHERE id = $1 AND phase IN ('PENDING', 'RUNNING')";
        Ok(execute(&self.tx, sql, values![id, phase.as_str(), error]).await? > 0)
    }

    async fn call_off(&mut self, id: MigrationId, event: EventId) -> Result<bool, RepositoryError> {
        let sql = "UPDATE vm_migrations SET cancel_event_id = $2 \
                   WHERE id = $1 AND cancel_event_id IS NULL AND phase IN ('PENDING', 'RUNNING')";
        Ok(execute(&self.tx, sql, values![id, event]).await? > 0)
    }
}

#[async_trait]
impl MigrationQueries for PgStore {
    async fn get_migration(&self, id: MigrationId) -> Result<Option<MigrationRecord>, RepositoryError> {
        select_one(&self.db, concat!(migration_rows!(), " WHERE m.id = $1"), values![id]).await
    }

    async fn list_migrations(&self, vm: VmId, page: PageRequest) -> Result<Page<MigrationRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and("m.vm_id = ?", values![vm]);
        List {
            rows: concat!(
                migration_rows!(),
                " WHERE {where} ORDER BY m.created_at DESC, m.id DESC {limit}"
            ),
            counted: "vm_migrations m",
            filter,
        }
        .page(&self.db, page)
        .await
    }
}
