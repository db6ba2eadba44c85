//! The namespace registry.
//!
//! Counting the machines of a namespace costs with their number, so `vm_count` is counted where a person looks at it
//! (get, list) and is 0 in what a command reads ([`NamespaceRepository::hold`], the facts of a create request);
//! commands that need a count lock and count.

use async_trait::async_trait;
use shepherd_domain::Environment;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::NamespaceId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::namespaces::{
    NamespacePatch, NamespaceQueries, NamespaceRecord, NamespaceRepository, NamespaceUse, NewNamespace,
};
use shepherd_ports::systems::Changed;

use crate::statement::{Filter, List, Texts, execute, fetch_one, select_one, values};
use crate::store::PgStore;
use crate::systems::{change_outcome, patched};
use crate::unit_of_work::PgUnitOfWork;

macro_rules! namespace_rows {
    ($vm_count:literal) => {
        concat!(
            "SELECT n.id, n.name, n.environment, n.description, n.enabled, ",
            $vm_count,
            " AS vm_count, n.created_by, n.row_version, n.created_at, n.updated_at FROM namespace_registry n"
        )
    };
    () => {
        namespace_rows!("(SELECT count(*) FROM vms v WHERE v.namespace = n.name)")
    };
}
pub(crate) use namespace_rows;

#[async_trait]
impl NamespaceRepository for PgUnitOfWork {
    async fn insert(&mut self, namespace: &NewNamespace) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO namespace_registry (id, name, environment, description, created_by) \
                   VALUES ($1, $2, $3, $4, $5)";
        let NewNamespace {
            id,
            name,
            environment,
            description,
            created_by,
        } = namespace;
        execute(&self.tx, sql, values![id, name, environment, description, created_by])
            .await
            .map(drop)
    }

    async fn update(
        &mut self,
        id: NamespaceId,
        patch: &NamespacePatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError> {
        let sql = "UPDATE namespace_registry SET description = CASE WHEN $3 THEN $4 ELSE description END, \
                   enabled = COALESCE($5, enabled) WHERE id = $1 AND ($2::bigint IS NULL OR row_version = $2)";
        let (set_description, description) = patched(&patch.description);
        let values = values![id, version, set_description, description, patch.enabled];
        let changed = execute(&self.tx, sql, values).await?;
        let version_of = "SELECT to_jsonb(row_version) AS doc FROM namespace_registry WHERE id = $1";
        change_outcome(&self.tx, changed, version_of, id).await
    }

    async fn hold(&mut self, name: &str) -> Result<Option<NamespaceRecord>, RepositoryError> {
        let sql = concat!(namespace_rows!("0"), " WHERE n.name = $1 FOR SHARE OF n");
        select_one(&self.tx, sql, values![name]).await
    }

    async fn lock_and_count_use(&mut self, id: NamespaceId) -> Result<Option<NamespaceUse>, RepositoryError> {
        let lock = "SELECT to_jsonb(name) AS doc FROM namespace_registry WHERE id = $1 FOR UPDATE";
        let Some(name) = fetch_one::<String>(&self.tx, lock, values![id]).await? else {
            return Ok(None);
        };
        let count = "SELECT (SELECT count(*) FROM vms WHERE namespace = $1) AS vm_count, \
                     (SELECT count(*) FROM approval_tickets WHERE namespace = $1 \
                      AND status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING')) \
                     AS pending_request_count";
        select_one(&self.tx, count, values![name]).await
    }

    async fn delete(&mut self, id: NamespaceId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM namespace_registry WHERE id = $1", values![id]).await? > 0)
    }
}

#[async_trait]
impl NamespaceQueries for PgStore {
    async fn get_namespace(&self, id: NamespaceId) -> Result<Option<NamespaceRecord>, RepositoryError> {
        select_one(&self.db, concat!(namespace_rows!(), " WHERE n.id = $1"), values![id]).await
    }

    async fn list_namespaces(
        &self,
        visible: EnvironmentSet,
        environment: Option<Environment>,
        page: PageRequest,
    ) -> Result<Page<NamespaceRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and("n.environment = ANY(?)", values![Texts::environments(visible)]);
        filter.and_some("n.environment = ?", environment);
        let rows = concat!(namespace_rows!(), " WHERE {where} ORDER BY n.name {limit}");
        List {
            rows,
            counted: "namespace_registry n",
            filter,
        }
        .page(&self.db, page)
        .await
    }
}
