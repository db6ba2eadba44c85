//! The provider: every call takes a permit of its cluster and ends in time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use kube::Client;
use shepherd_domain::Environment;
use shepherd_domain::cluster::ClusterFacts;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::rendering::VmDocument;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::Clock;
use shepherd_ports::clusters::CredentialProvider;
use shepherd_ports::providers::{ApplyMode, EnsuredNamespace, InfrastructureProvider, ProviderError, VmWatchEvent};

use crate::registry::Registry;
use crate::{apply, detect, machines, namespaces, watch};

/// How much one replica asks of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Longest time of a single call, 30 s by default.
    pub call_timeout: Duration,
    /// Longest wait for a permit, 30 s by default.
    pub permit_wait: Duration,
    /// Calls at the same time per cluster, 20 by default.
    pub concurrency: usize,
    /// Longest time a credential version is trusted without looking again, 30 s by default.
    pub credential_refresh: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        let half_a_minute = Duration::from_secs(30);
        Self {
            call_timeout: half_a_minute,
            permit_wait: half_a_minute,
            concurrency: 20,
            credential_refresh: half_a_minute,
        }
    }
}

/// Machines on KubeVirt clusters.
pub struct KubeVirtProvider {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    limits: CallLimits,
}

impl KubeVirtProvider {
    /// A provider without any connection yet; clients are built at the first call to a cluster.
    pub fn new(credentials: Arc<dyn CredentialProvider>, clock: Arc<dyn Clock>, limits: CallLimits) -> Self {
        let registry = Arc::new(Registry::new(
            credentials,
            limits.concurrency.max(1),
            limits.credential_refresh,
        ));
        Self {
            registry,
            clock,
            limits,
        }
    }

    /// Says that a cluster's credentials were created, rotated or deleted: the next call looks at them again.
    pub fn invalidate(&self, cluster: ClusterId) {
        self.registry.invalidate(cluster);
    }

    async fn call<T, F>(
        &self,
        cluster: ClusterId,
        operation: &'static str,
        work: impl FnOnce(Client) -> F + Send,
    ) -> Result<T, ProviderError>
    where
        T: Send,
        F: Future<Output = Result<T, ProviderError>> + Send,
    {
        let _permit = self.registry.permit(cluster, self.limits.permit_wait).await?;
        let call = async {
            let connection = self.registry.connection(cluster).await?;
            work(connection.client).await
        };
        let outcome = tokio::time::timeout(self.limits.call_timeout, call)
            .await
            .unwrap_or_else(|_| Err(ProviderError::Timeout(operation.to_owned())));
        if let Err(error) = &outcome {
            tracing::debug!(%cluster, operation, %error, "a call to a cluster failed");
        }
        outcome
    }
}

#[async_trait]
impl InfrastructureProvider for KubeVirtProvider {
    fn name(&self) -> &'static str {
        "kubevirt"
    }

    async fn get_vm(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObservedVm>, ProviderError> {
        self.call(cluster, "get_vm", move |client| async move {
            machines::get_vm(&client, namespace, name).await
        })
        .await
    }

    async fn apply_vm(
        &self,
        cluster: ClusterId,
        document: &VmDocument,
        mode: ApplyMode,
    ) -> Result<ObservedVm, ProviderError> {
        self.call(cluster, "apply_vm", move |client| async move {
            apply::apply_vm(&client, document, mode).await
        })
        .await
    }

    async fn delete_vm(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ProviderError> {
        self.call(cluster, "delete_vm", move |client| async move {
            apply::delete_vm(&client, namespace, name, uid).await
        })
        .await
    }

    async fn namespace_exists(&self, cluster: ClusterId, namespace: &str) -> Result<bool, ProviderError> {
        self.call(cluster, "namespace_exists", move |client| async move {
            namespaces::exists(&client, namespace).await
        })
        .await
    }

    async fn ensure_namespace(
        &self,
        cluster: ClusterId,
        namespace: &str,
        environment: Environment,
    ) -> Result<EnsuredNamespace, ProviderError> {
        let now = self.clock.now();
        self.call(cluster, "ensure_namespace", move |client| async move {
            namespaces::ensure(&client, namespace, environment, now).await
        })
        .await
    }

    async fn watch_vms(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<VmWatchEvent, ProviderError>>, ProviderError> {
        // A watch holds no permit: it lasts as long as the process and would never give it back.
        let connection = tokio::time::timeout(self.limits.call_timeout, self.registry.connection(cluster))
            .await
            .unwrap_or_else(|_| Err(ProviderError::Timeout("watch_vms".to_owned())))?;
        Ok(watch::machines(Arc::clone(&self.registry), cluster, connection))
    }

    async fn probe(&self, cluster: ClusterId) -> Result<ClusterFacts, ProviderError> {
        self.call(cluster, "probe", move |client| async move {
            detect::probe(&client, cluster).await
        })
        .await
    }
}
