//! Registered clusters. The sealed credentials leave the database in one query only, and never through JSON.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::Environment;
use shepherd_domain::cluster::{ClusterFacts, ClusterStatus, StorageClass};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::clusters::{
    ClusterPatch, ClusterQueries, ClusterRecord, ClusterRepository, ClusterUse, HealthBefore, HealthResult, NewCluster,
    SealedCredentials, SeenCluster,
};
use shepherd_ports::crypto::Sealed;
use shepherd_ports::leases::Lease;

use crate::errors::{mismatch, store_error};
use crate::statement::{Filter, List, Texts, execute, fetch_one, row, select_all, select_one, values};
use crate::store::PgStore;
use crate::systems::patched;
use crate::unit_of_work::{PgUnitOfWork, Transaction};

macro_rules! cluster_rows {
    () => {
        "SELECT c.id, c.name, c.display_name, c.api_server_url, c.status, c.status_reason, c.last_checked_at, \
         c.last_healthy_at, c.environment, c.kubevirt_version, c.kubernetes_version, c.enabled_features, \
         c.detected_capabilities, c.storage_classes, c.default_storage_class, \
         c.detected_default_storage_class, c.storage_classes_updated_at, c.scheduling_weight, c.concurrency_limit, \
         c.allow_insecure_tls, c.credentials_set_at, c.enabled, \
         coalesce((SELECT w.state FROM cluster_watches w WHERE w.cluster_id = c.id), 'STARTING') AS watch_state, \
         (SELECT count(*) FROM vms v WHERE v.cluster_id = c.id) AS vm_count, \
         c.created_by, c.row_version, c.created_at, c.updated_at FROM clusters c"
    };
}
pub(crate) use cluster_rows;

/// Nobody took the place of whoever looked: the cluster has the credentials that were used, and what is stored is what
/// was stored when the look began, or an earlier look. Clocks of replicas need not agree for that.
const RECORD_HEALTH: &str = "WITH before AS ( \
         SELECT c.id, c.status, c.kubevirt_version FROM clusters c \
         WHERE c.id = $1 AND c.credentials_set_at = $2 \
             AND (c.last_checked_at IS NOT DISTINCT FROM $3 OR c.last_checked_at < $4) \
             AND ($5::text IS NULL OR EXISTS (SELECT FROM leader_leases l WHERE l.name = $5::text \
                 AND l.holder = $6::text AND l.generation = $7::bigint AND l.expires_at > clock_timestamp())) \
         FOR NO KEY UPDATE OF c \
     ), recorded AS ( \
         UPDATE clusters c SET status = $8, status_reason = $9, last_checked_at = $4, \
             last_healthy_at = CASE WHEN $8 = 'HEALTHY' THEN $4 ELSE c.last_healthy_at END \
         FROM before b WHERE c.id = b.id \
     ) \
     SELECT to_jsonb(before) AS doc FROM before";

/// Runs after RECORD_HEALTH in the same transaction, which holds the row and has checked the lease. What could not be
/// found out stays as it was.
const RECORD_FACTS: &str = "UPDATE clusters c SET kubernetes_version = $2, \
         kubevirt_version = coalesce($3::text, c.kubevirt_version), \
         enabled_features = CASE WHEN $3::text IS NULL THEN c.enabled_features ELSE $4::text[] END, \
         detected_capabilities = coalesce($5::jsonb, c.detected_capabilities), \
         capabilities_detected_at = CASE WHEN $5::jsonb IS NULL THEN c.capabilities_detected_at ELSE $8 END, \
         storage_classes = coalesce($6::text[], c.storage_classes), \
         detected_default_storage_class = \
             CASE WHEN $6::text[] IS NULL THEN c.detected_default_storage_class ELSE $7::text END, \
         storage_classes_updated_at = CASE WHEN $6::text[] IS NULL THEN c.storage_classes_updated_at ELSE $8 END \
     WHERE c.id = $1";

const UPDATE: &str = "UPDATE clusters SET display_name = CASE WHEN $2 THEN $3 ELSE display_name END, \
         default_storage_class = CASE WHEN $4 THEN $5 ELSE default_storage_class END, \
         scheduling_weight = COALESCE($6, scheduling_weight), \
         concurrency_limit = CASE WHEN $7 THEN $8 ELSE concurrency_limit END, \
         enabled = COALESCE($9, enabled) \
     WHERE id = $1";

/// Without `last_checked_at` the cluster is due at once.
const SET_CREDENTIALS: &str = "UPDATE clusters SET encrypted_kubeconfig = $2, encryption_key_id = $3, \
         api_server_url = $4, credentials_set_at = clock_timestamp(), status = 'UNKNOWN', status_reason = NULL, \
         last_checked_at = NULL \
     WHERE id = $1";

const COUNT_USE: &str = "SELECT (SELECT count(*) FROM vms WHERE cluster_id = $1) AS vm_count, \
     (SELECT count(*) FROM approval_tickets WHERE selected_cluster_id = $1 AND operation_group = 'CREATE' \
      AND status IN ('APPROVED', 'EXECUTING')) AS pending_request_count";

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

    async fn lock(&mut self, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError> {
        let sql = concat!(cluster_rows!(), " WHERE c.id = $1 FOR UPDATE OF c");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn count_use(&mut self, id: ClusterId) -> Result<ClusterUse, RepositoryError> {
        let found = select_one(&self.tx, COUNT_USE, values![id]).await?;
        Ok(found.unwrap_or(ClusterUse {
            vm_count: 0,
            pending_request_count: 0,
        }))
    }

    async fn update(&mut self, id: ClusterId, patch: &ClusterPatch) -> Result<Option<ClusterRecord>, RepositoryError> {
        let (set_display_name, display_name) = patched(&patch.display_name);
        let (set_storage_class, storage_class) = patched(&patch.default_storage_class);
        let values = values![
            id,
            set_display_name,
            display_name,
            set_storage_class,
            storage_class,
            patch.scheduling_weight,
            patch.concurrency_limit.is_some(),
            patch.concurrency_limit.flatten(),
            patch.enabled,
        ];
        execute(&self.tx, UPDATE, values).await?;
        read(&self.tx, id).await
    }

    async fn set_environment(
        &mut self,
        id: ClusterId,
        environment: Environment,
    ) -> Result<Option<ClusterRecord>, RepositoryError> {
        let sql = "UPDATE clusters SET environment = $2 WHERE id = $1";
        execute(&self.tx, sql, values![id, environment]).await?;
        read(&self.tx, id).await
    }

    async fn set_credentials(
        &mut self,
        id: ClusterId,
        api_server_url: &str,
        kubeconfig: &Sealed,
    ) -> Result<Option<ClusterRecord>, RepositoryError> {
        let values = values![id, kubeconfig.bytes, kubeconfig.key_id, api_server_url];
        execute(&self.tx, SET_CREDENTIALS, values).await?;
        read(&self.tx, id).await
    }

    async fn delete(&mut self, id: ClusterId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM clusters WHERE id = $1", values![id]).await? > 0)
    }

    async fn record_health(
        &mut self,
        seen: &SeenCluster,
        result: &HealthResult,
        lease: Option<&Lease>,
    ) -> Result<Option<HealthBefore>, RepositoryError> {
        let values = values![
            seen.id,
            seen.credentials_set_at,
            seen.checked_at,
            result.at,
            lease.map(|lease| lease.name.as_str()),
            lease.map(|lease| lease.holder.as_str()),
            lease.map(|lease| lease.generation),
            result.status,
            result.reason,
        ];
        let before: Option<HealthBefore> = fetch_one(&self.tx, RECORD_HEALTH, values).await?;
        if let (Some(_), Some(facts)) = (&before, &result.facts) {
            record_facts(&self.tx, seen.id, facts, result.at).await?;
        }
        Ok(before)
    }
}

async fn read(tx: &Transaction, id: ClusterId) -> Result<Option<ClusterRecord>, RepositoryError> {
    select_one(tx, concat!(cluster_rows!(), " WHERE c.id = $1"), values![id]).await
}

async fn record_facts(
    tx: &Transaction,
    id: ClusterId,
    facts: &ClusterFacts,
    at: DateTime<Utc>,
) -> Result<(), RepositoryError> {
    let capabilities = facts.capabilities.as_ref();
    let capabilities = capabilities.map(serde_json::to_value).transpose().map_err(mismatch)?;
    let names = |classes: &Vec<StorageClass>| Texts(classes.iter().map(|class| class.name.clone()).collect());
    let classes = facts.storage_classes.as_ref().map(names);
    let own_default = facts
        .storage_classes
        .iter()
        .flatten()
        .find(|class| class.default)
        .map(|class| class.name.as_str());
    let values = values![
        id,
        facts.kubernetes_version,
        facts.kubevirt_version,
        Texts(facts.features.clone()),
        capabilities,
        classes,
        own_default,
        at,
    ];
    execute(tx, RECORD_FACTS, values).await.map(drop)
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
        let sql = "SELECT encrypted_kubeconfig, encode(sha256(encrypted_kubeconfig), 'hex'), allow_insecure_tls, \
                   concurrency_limit, name FROM clusters WHERE id = $1";
        let Some(found) = row(&self.db, sql, values![id]).await? else {
            return Ok(None);
        };
        let concurrency_limit: Option<i32> = found.try_get_by_index(3).map_err(store_error)?;
        Ok(Some(SealedCredentials {
            name: found.try_get_by_index(4).map_err(store_error)?,
            sealed: found.try_get_by_index(0).map_err(store_error)?,
            version: found.try_get_by_index(1).map_err(store_error)?,
            allow_insecure_tls: found.try_get_by_index(2).map_err(store_error)?,
            concurrency_limit: concurrency_limit.and_then(|limit| u32::try_from(limit).ok()),
        }))
    }
}
