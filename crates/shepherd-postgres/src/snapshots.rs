//! Snapshots.

use async_trait::async_trait;
use shepherd_domain::ids::{SnapshotId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::snapshots::{NewSnapshot, SnapshotQueries, SnapshotRecord, SnapshotRepository};

use crate::statement::{Filter, List, execute, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! snapshot_rows {
    () => {
        "SELECT p.id, p.vm_id, p.name, p.ready, p.k8s_name, p.k8s_uid, p.error, p.ticket_id, p.created_by, \
         p.row_version, p.created_at FROM vm_snapshots p"
    };
}

#[async_trait]
impl SnapshotRepository for PgUnitOfWork {
    async fn insert(&mut self, snapshot: &NewSnapshot) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO vm_snapshots (id, vm_id, name, k8s_name, ticket_id, created_by) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let NewSnapshot {
            id,
            vm_id,
            name,
            k8s_name,
            ticket_id,
            created_by,
        } = snapshot;
        execute(&self.tx, sql, values![id, vm_id, name, k8s_name, ticket_id, created_by])
            .await
            .map(drop)
    }

    async fn note_object(&mut self, id: SnapshotId, uid: &str) -> Result<(), RepositoryError> {
        let sql = "UPDATE vm_snapshots SET k8s_uid = $2 WHERE id = $1 AND k8s_uid IS NULL";
        execute(&self.tx, sql, values![id, uid]).await.map(drop)
    }

    async fn settle(&mut self, id: SnapshotId, ready: bool, error: Option<&str>) -> Result<bool, RepositoryError> {
        let sql = "UPDATE vm_snapshots SET ready = $2, error = left($3::text, 512) WHERE id = $1";
        Ok(execute(&self.tx, sql, values![id, ready, error]).await? > 0)
    }

    async fn delete(&mut self, id: SnapshotId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM vm_snapshots WHERE id = $1", values![id]).await? > 0)
    }
}

#[async_trait]
impl SnapshotQueries for PgStore {
    async fn get_snapshot(&self, id: SnapshotId) -> Result<Option<SnapshotRecord>, RepositoryError> {
        select_one(&self.db, concat!(snapshot_rows!(), " WHERE p.id = $1"), values![id]).await
    }

    async fn list_snapshots(&self, vm: VmId, page: PageRequest) -> Result<Page<SnapshotRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and("p.vm_id = ?", values![vm]);
        List {
            rows: concat!(
                snapshot_rows!(),
                " WHERE {where} ORDER BY p.created_at DESC, p.id DESC {limit}"
            ),
            counted: "vm_snapshots p",
            filter,
        }
        .page(&self.db, page)
        .await
    }

    async fn snapshots_of(&self, vm: VmId) -> Result<Vec<SnapshotRecord>, RepositoryError> {
        let sql = concat!(
            snapshot_rows!(),
            " WHERE p.vm_id = $1 ORDER BY p.created_at DESC, p.id DESC"
        );
        select_all(&self.db, sql, values![vm]).await
    }
}
