//! Registered clusters. The sealed credentials leave the database in one query only, and never through JSON.

use async_trait::async_trait;
use shepherd_domain::Environment;
use shepherd_domain::cluster::{ClusterFacts, ClusterStatus, StorageClass};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::{
    ClusterQueries, ClusterRecord, ClusterRepository, HealthResult, NewCluster, SealedCredentials,
};
use shepherd_ports::leases::Lease;

use crate::errors::{mismatch, store_error};
use crate::statement::{Filter, List, Texts, execute, fetch_one, row, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! cluster_rows {
    () => {
        "SELECT c.id, c.name, c.display_name, c.api_server_url, c.status, c.status_reason, c.last_checked_at, \
         c.last_healthy_at, c.environment, c.kubevirt_version, c.kubernetes_version, c.enabled_features, \
         c.detected_capabilities, c.storage_classes, c.default_storage_class, c.storage_classes_updated_at, \
         c.scheduling_weight, c.concurrency_limit, c.enabled, \
         (SELECT count(*) FROM vms v WHERE v.cluster_id = c.id) AS vm_count, \
         c.created_by, c.row_version, c.created_at, c.updated_at FROM clusters c"
    };
}

const RECORD_HEALTH: &str = "WITH before AS ( \
         SELECT c.id, c.status FROM clusters c \
         WHERE c.id = $1 AND EXISTS (SELECT FROM leader_leases l WHERE l.name = $2 AND l.holder = $3 \
             AND l.generation = $4 AND l.expires_at > clock_timestamp()) \
         FOR UPDATE OF c \
     ), recorded AS ( \
         UPDATE clusters c SET status = $5, status_reason = $6, last_checked_at = $7, \
             last_healthy_at = CASE WHEN $5 = 'HEALTHY' THEN $7 ELSE c.last_healthy_at END \
         FROM before b WHERE c.id = b.id \
     ) \
     SELECT to_jsonb(status) AS doc FROM before";

/// Runs after RECORD_HEALTH in the same transaction, which holds the row and has checked the lease.
const RECORD_FACTS: &str = "UPDATE clusters c SET kubevirt_version = $2, kubernetes_version = $3, \
         enabled_features = $4, \
         detected_capabilities = coalesce($5::jsonb, c.detected_capabilities), \
         capabilities_detected_at = CASE WHEN $5::jsonb IS NULL THEN c.capabilities_detected_at ELSE $7 END, \
         storage_classes = coalesce($6::text[], c.storage_classes), \
         storage_classes_updated_at = CASE WHEN $6::text[] IS NULL THEN c.storage_classes_updated_at ELSE $7 END \
     WHERE c.id = $1";

#[async_trait]
impl ClusterRepository for PgUnitOfWork {
    async fn insert(&mut self, cluster: &NewCluster) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO clusters (id, name, display_name, api_server_url, encrypted_kubeconfig, \
                   encryption_key_id, environment, scheduling_weight, allow_insecure_tls, created_by) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let values = values![
            cluster.id,
            cluster.name,
            cluster.display_name,
            cluster.api_server_url,
            cluster.kubeconfig.bytes,
            cluster.kubeconfig.key_id,
            cluster.environment,
            cluster.scheduling_weight,
            cluster.allow_insecure_tls,
            cluster.created_by,
        ];
        execute(&self.tx, sql, values).await.map(drop)
    }

    async fn hold(&mut self, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError> {
        select_one(
            &self.tx,
            concat!(cluster_rows!(), " WHERE c.id = $1 FOR SHARE OF c"),
            values![id],
        )
        .await
    }

    async fn record_health(
        &mut self,
        id: ClusterId,
        result: &HealthResult,
        lease: &Lease,
    ) -> Result<Option<ClusterStatus>, RepositoryError> {
        let HealthResult {
            status,
            reason,
            facts,
            at,
        } = result;
        let values = values![id, lease.name, lease.holder, lease.generation, status, reason, at];
        let before: Option<ClusterStatus> = fetch_one(&self.tx, RECORD_HEALTH, values).await?;
        if let (Some(_), Some(facts)) = (before, facts) {
            let ClusterFacts {
                kubernetes_version,
                kubevirt_version,
                features,
                capabilities,
                storage_classes,
                ..
            } = facts;
            let capabilities = capabilities
                .as_ref()
                .map(serde_json::to_value)
                .transpose()
                .map_err(mismatch)?;
            let names = |classes: &Vec<StorageClass>| Texts(classes.iter().map(|class| class.name.clone()).collect());
            let classes = storage_classes.as_ref().map(names);
            let features = Texts(features.clone());
            let values = values![
                id,
                kubevirt_version,
                kubernetes_version,
                features,
                capabilities,
                classes,
                at
            ];
            execute(&self.tx, RECORD_FACTS, values).await?;
        }
        Ok(before)
    }
}

#[async_trait]
impl ClusterQueries for PgStore {
    async fn get_cluster(&self, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError> {
        select_one(&self.db, concat!(cluster_rows!(), " WHERE c.id = $1"), values![id]).await
    }

    async fn list_clusters(
        &self,
        visible: EnvironmentSet,
        environment: Option<Environment>,
        status: Option<ClusterStatus>,
        page: PageRequest,
    ) -> Result<Page<ClusterRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and("c.environment = ANY(?)", values![Texts::environments(visible)]);
        filter.and_some("c.environment = ?", environment);
        filter.and_some("c.status = ?", status);
        let rows = concat!(cluster_rows!(), " WHERE {where} ORDER BY c.name {limit}");
        List {
            rows,
            counted: "clusters c",
            filter,
        }
        .page(&self.db, page)
        .await
    }

    async fn enabled_clusters(&self) -> Result<Vec<ClusterRecord>, RepositoryError> {
        select_all(
            &self.db,
            concat!(cluster_rows!(), " WHERE c.enabled ORDER BY c.name"),
            values![],
        )
        .await
    }

    async fn sealed_credentials(&self, id: ClusterId) -> Result<Option<SealedCredentials>, RepositoryError> {
        let sql = "SELECT encrypted_kubeconfig, encode(sha256(encrypted_kubeconfig), 'hex'), allow_insecure_tls \
                   FROM clusters WHERE id = $1";
        let Some(found) = row(&self.db, sql, values![id]).await? else {
            return Ok(None);
        };
        Ok(Some(SealedCredentials {
            sealed: found.try_get_by_index(0).map_err(store_error)?,
            version: found.try_get_by_index(1).map_err(store_error)?,
            allow_insecure_tls: found.try_get_by_index(2).map_err(store_error)?,
        }))
    }
}
