//! The provider: every call goes through the registry, which keeps clusters apart.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use kube::Client;
use shepherd_domain::Environment;
use shepherd_domain::cluster::ClusterFacts;
use shepherd_domain::ids::{ClusterId, EventId};
use shepherd_domain::infrastructure::{Marks, VmManifest, VmPage};
use shepherd_domain::rendering::VmDocument;
use shepherd_domain::vm::ObservedVm;
use shepherd_ports::Clock;
use shepherd_ports::clusters::CredentialProvider;
use shepherd_ports::providers::{
    ApplyMode, ClusterLoad, EnsuredNamespace, InfrastructureProvider, ListOptions, ModifiedVm, ProviderError,
    VmWatchEvent,
};

use crate::power::{self, Action};
pub use crate::registry::CallLimits;
use crate::registry::{Lane, Registry};
use crate::{apply, detect, disks, listing, machines, manifest, marking, modifying, namespaces, watch};

/// Machines on KubeVirt clusters.
pub struct KubeVirtProvider {
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
}

impl KubeVirtProvider {
    /// A provider without any connection yet; clients are built at the first call to a cluster.
    pub fn new(credentials: Arc<dyn CredentialProvider>, clock: Arc<dyn Clock>, limits: CallLimits) -> Self {
        Self {
            registry: Arc::new(Registry::new(credentials, limits)),
            clock,
        }
    }

    /// Sets how much is asked of one cluster from now on: calls at once, requests per second, and requests that may come
    /// at once before that rate holds. Calls that are under way are left alone.
    pub fn set_pace(&self, concurrency: usize, requests_per_second: u32, burst: u32) {
        self.registry.set_pace(concurrency, requests_per_second, burst);
    }

    /// Drops the client, permits and breaker of a cluster that is gone; calls under way finish.
    pub fn forget(&self, cluster: ClusterId) {
        self.registry.forget(cluster);
    }

    /// Makes one call within the limits of its cluster. What `work` answers may outlive the call (a console does), but
    /// then holds no permit.
    pub(crate) async fn call<T, F>(
        &self,
        cluster: ClusterId,
        operation: &'static str,
        work: impl FnOnce(Client) -> F + Send,
    ) -> Result<T, ProviderError>
    where
        T: Send,
        F: Future<Output = Result<T, ProviderError>> + Send,
    {
        self.registry.call(cluster, operation, Lane::Regular, work).await
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

    async fn list_vms(&self, cluster: ClusterId, options: &ListOptions) -> Result<VmPage, ProviderError> {
        self.call(cluster, "list_vms", move |client| async move {
            listing::list_vms(&client, cluster, options).await
        })
        .await
    }

    async fn get_manifest(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<VmManifest>, ProviderError> {
        self.call(cluster, "get_manifest", move |client| async move {
            manifest::get_manifest(&client, namespace, name).await
        })
        .await
    }

    async fn mark_vm(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: &str,
        marks: &Marks,
    ) -> Result<ObservedVm, ProviderError> {
        self.call(cluster, "mark_vm", move |client| async move {
            marking::mark_vm(&client, namespace, name, uid, marks).await
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

    async fn modify_vm(
        &self,
        cluster: ClusterId,
        document: &VmDocument,
        uid: &str,
        mode: ApplyMode,
    ) -> Result<ModifiedVm, ProviderError> {
        self.call(cluster, "modify_vm", move |client| async move {
            modifying::modify_vm(&client, document, uid, mode).await
        })
        .await
    }

    async fn grow_disk(
        &self,
        cluster: ClusterId,
        namespace: &str,
        name: &str,
        uid: &str,
        size_gb: i32,
        mode: ApplyMode,
    ) -> Result<(), ProviderError> {
        self.call(cluster, "grow_disk", move |client| async move {
            disks::grow(&client, namespace, name, uid, size_gb, mode).await
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

    async fn start_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError> {
        self.call(cluster, "start_vm", move |client| async move {
            power::act(&client, namespace, name, Action::Start).await
        })
        .await
    }

    async fn stop_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError> {
        self.call(cluster, "stop_vm", move |client| async move {
            power::act(&client, namespace, name, Action::Stop).await
        })
        .await
    }

    async fn restart_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError> {
        self.call(cluster, "restart_vm", move |client| async move {
            power::act(&client, namespace, name, Action::Restart).await
        })
        .await
    }

    async fn pause_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError> {
        self.call(cluster, "pause_vm", move |client| async move {
            power::act(&client, namespace, name, Action::Pause).await
        })
        .await
    }

    async fn unpause_vm(&self, cluster: ClusterId, namespace: &str, name: &str) -> Result<(), ProviderError> {
        self.call(cluster, "unpause_vm", move |client| async move {
            power::act(&client, namespace, name, Action::Unpause).await
        })
        .await
    }

    fn breaker_open(&self, cluster: ClusterId) -> bool {
        self.registry.breaker_open(cluster)
    }

    fn load(&self, cluster: ClusterId) -> ClusterLoad {
        self.registry.load(cluster)
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
        event: Option<EventId>,
    ) -> Result<EnsuredNamespace, ProviderError> {
        let now = self.clock.now();
        self.call(cluster, "ensure_namespace", move |client| async move {
            namespaces::ensure(&client, namespace, environment, event, now).await
        })
        .await
    }

    async fn watch_vms(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<VmWatchEvent, ProviderError>>, ProviderError> {
        // A watch holds no permit: it lasts as long as the process and would never give it back.
        self.registry.connection(cluster).await?;
        Ok(watch::machines(Arc::clone(&self.registry), cluster))
    }

    fn invalidate(&self, cluster: ClusterId) {
        self.registry.invalidate(cluster);
    }

    fn invalidate_all(&self) {
        self.registry.invalidate_all();
    }

    async fn probe_health(&self, cluster: ClusterId) -> Result<ClusterFacts, ProviderError> {
        let probe = move |client: Client| async move { detect::health(&client, cluster).await };
        self.registry.call(cluster, "probe_health", Lane::Health, probe).await
    }

    async fn probe(&self, cluster: ClusterId) -> Result<ClusterFacts, ProviderError> {
        let probe = move |client: Client| async move { detect::probe(&client, cluster).await };
        self.registry.call(cluster, "probe", Lane::Health, probe).await
    }
}
