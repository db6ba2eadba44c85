//! A cluster under test, and everything one case needs of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_kubevirt::{CallLimits, Intake, KubeVirtProvider};
use shepherd_ports::Clock;
use shepherd_ports::clusters::{CredentialError, CredentialProvider, KubeconfigIntake, RestConfig};
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError, VmWatchEvent};
use zeroize::Zeroizing;

use crate::documents::Plan;

/// Longest wait for something a cluster does on its own; a real one may have to fetch an image.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// The cluster every case knows.
pub const CLUSTER: ClusterId = ClusterId::from_bits(1);

/// What a watch reports.
pub type Reports = BoxStream<'static, Result<VmWatchEvent, ProviderError>>;

/// Kubeconfigs in memory.
#[derive(Default)]
pub struct Credentials(Mutex<HashMap<ClusterId, RestConfig>>);

impl Credentials {
    /// Stores or replaces the credentials of a cluster.
    pub fn set(&self, cluster: ClusterId, kubeconfig: &str, version: &str) {
        let config = RestConfig {
            kubeconfig: Zeroizing::new(kubeconfig.to_owned()),
            version: version.to_owned(),
            allow_insecure_tls: true,
            concurrency_limit: None,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(cluster, config);
    }

    /// Gives a cluster a limit of its own.
    pub fn limit(&self, cluster: ClusterId, calls: u32) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = all.get_mut(&cluster) {
            config.concurrency_limit = Some(calls);
        }
    }

    /// Forgets a cluster.
    pub fn remove(&self, cluster: ClusterId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&cluster);
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    async fn rest_config(&self, cluster: ClusterId) -> Result<Option<RestConfig>, CredentialError> {
        Ok(self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&cluster)
            .cloned())
    }

    fn credential_type(&self) -> &'static str {
        "memory"
    }
}

/// It is always the first second of 2026.
pub struct NewYear;

/// What [`NewYear`] says, as Kubernetes writes it.
pub const NEW_YEAR: &str = "2026-01-01T00:00:00Z";

impl Clock for NewYear {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default()
    }
}

/// A cluster under test.
pub struct Lab {
    kubeconfig: String,
    restricted: Option<String>,
    client: Client,
    /// What the cluster has to offer.
    pub offer: Offer,
}

/// What a cluster has to offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// KubeVirt is deployed, so that controllers act on objects.
    pub controllers: bool,
    /// Power actions and consoles are served.
    pub subresources: bool,
    /// The snapshot group is served.
    pub snapshots: bool,
    /// The clone group is served.
    pub clones: bool,
    /// Migrations are served.
    pub migrations: bool,
    /// Instance types and preferences are served.
    pub instance_types: bool,
    /// Two nodes can run machines.
    pub two_nodes: bool,
    /// The server knows strict field validation: Kubernetes 1.25 and newer.
    pub strict_fields: bool,
}

/// What one case works with: a provider of its own and a namespace that nobody else uses.
pub struct Subject {
    /// The provider.
    pub provider: Arc<KubeVirtProvider>,
    /// Its credentials.
    pub credentials: Arc<Credentials>,
    /// Name of the case's namespace; it does not exist yet.
    pub namespace: String,
    /// A client past the provider.
    pub client: Client,
    /// The kubeconfig of the provider.
    pub kubeconfig: String,
    /// The kubeconfig of somebody who may do nothing.
    pub restricted: Option<String>,
    /// What the cluster has to offer.
    pub offer: Offer,
}

impl Lab {
    /// A lab on the cluster of this kubeconfig, which has to pass intake like any other.
    pub async fn new(kubeconfig: &str, restricted: Option<&str>) -> Self {
        Self::with_rights_of(kubeconfig, kubeconfig, restricted).await
    }

    /// A lab whose provider has the rights of one kubeconfig, while cases arrange and look past it with those of
    /// another.
    pub async fn with_rights_of(kubeconfig: &str, administrator: &str, restricted: Option<&str>) -> Self {
        let kubeconfig = accepted(kubeconfig);
        let administrator = accepted(administrator);
        let client = client(&administrator).await;
        // What the cluster offers does not depend on what the provider may see of it.
        let (provider, _) = provider(&administrator, CallLimits::default());
        let facts = provider.probe(CLUSTER).await.expect("the cluster answers");
        let offer = Offer::discover(&client, facts.kubevirt_deployed, &facts.kubernetes_version).await;
        Self {
            kubeconfig,
            restricted: restricted.map(accepted),
            client,
            offer,
        }
    }

    /// Whether there is somebody who may do nothing.
    pub fn has_restricted_user(&self) -> bool {
        self.restricted.is_some()
    }

    /// A subject for one case.
    pub fn subject(&self, namespace: &str) -> Subject {
        let (provider, credentials) = provider(&self.kubeconfig, CallLimits::default());
        Subject {
            provider,
            credentials,
            namespace: namespace.to_owned(),
            client: self.client.clone(),
            kubeconfig: self.kubeconfig.clone(),
            restricted: self.restricted.clone(),
            offer: self.offer,
        }
    }

    /// Takes away what a case left; a cluster that keeps it is none the worse.
    pub async fn clean(&self, namespace: &str) {
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Namespace"), "namespaces");
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        match api.delete(namespace, &DeleteParams::background()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => eprintln!("{namespace} stays: {error}"),
        }
    }
}

impl Offer {
    async fn discover(client: &Client, controllers: bool, version: &str) -> Self {
        let groups = client.list_api_groups().await.expect("the groups can be listed");
        let serves = |group: &str| groups.groups.iter().any(|served| served.name == group);
        let machines = client
            .list_api_group_resources("kubevirt.io/v1")
            .await
            .expect("KubeVirt's kinds can be listed");
        let schedulable = ListParams::default().labels("kubevirt.io/schedulable=true");
        let nodes: Api<Node> = Api::all(client.clone());
        let nodes = nodes.list(&schedulable).await.expect("the nodes can be listed");
        Self {
            controllers,
            subresources: serves("subresources.kubevirt.io"),
            snapshots: serves("snapshot.kubevirt.io"),
            clones: serves("clone.kubevirt.io"),
            migrations: machines
                .resources
                .iter()
                .any(|kind| kind.name == "virtualmachineinstancemigrations"),
            instance_types: serves("instancetype.kubevirt.io"),
            two_nodes: nodes.items.len() >= 2,
            strict_fields: minor_version(version) >= 25,
        }
    }
}

/// The minor part of a version like `v1.33.1`.
fn minor_version(version: &str) -> u32 {
    version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(0)
}

impl Subject {
    /// Makes the namespace.
    pub async fn with_namespace(self) -> Self {
        self.provider
            .ensure_namespace(CLUSTER, &self.namespace, Environment::Test, None)
            .await
            .expect("the namespace can be made");
        self
    }

    /// The same subject, with the rights of somebody who may do nothing.
    pub fn for_somebody_else(self) -> Self {
        let restricted = self.restricted.as_deref().expect("a user who may do nothing");
        self.credentials.set(CLUSTER, restricted, "restricted");
        self.provider.invalidate(CLUSTER);
        self
    }

    /// Machines of the namespace, past the provider.
    pub fn machines(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk("kubevirt.io", "v1", "VirtualMachine"),
            "virtualmachines",
        );
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    /// The machine as the cluster has it.
    pub async fn stored(&self, name: &str) -> Value {
        let object = self.machines().get(name).await.expect("the machine is stored");
        serde_json::to_value(object).expect("an object is JSON")
    }

    /// Makes the machine of a plan.
    pub async fn apply(&self, plan: &Plan) -> ObservedVm {
        self.provider
            .apply_vm(CLUSTER, &plan.document(), ApplyMode::Persist)
            .await
            .expect("the document can be applied")
    }

    /// Makes a machine that is to run, and waits until it does if anybody starts it.
    pub async fn start(&self, name: &str) {
        self.apply(&Plan::new(&self.namespace, name).running()).await;
        if self.offer.controllers {
            self.wait_for("the machine runs", name, |vm| {
                vm.condition == ObservedCondition::Is(VmStatus::Running) && vm.live_migratable.is_some()
            })
            .await;
        }
    }

    /// Asks for the machine until it is as wanted.
    pub async fn wait_for(&self, what: &str, name: &str, wanted: impl Fn(&ObservedVm) -> bool) {
        let wanted = &wanted;
        eventually(what, move || async move {
            let found = self.provider.get_vm(CLUSTER, &self.namespace, name).await;
            matches!(found, Ok(Some(vm)) if wanted(&vm))
        })
        .await;
    }

    /// A watch of the cluster.
    pub async fn watch(&self) -> Reports {
        self.provider.watch_vms(CLUSTER).await.expect("a watch can be opened")
    }
}

/// A provider that knows one cluster.
pub fn provider(kubeconfig: &str, limits: CallLimits) -> (Arc<KubeVirtProvider>, Arc<Credentials>) {
    let credentials = Arc::new(Credentials::default());
    credentials.set(CLUSTER, kubeconfig, "1");
    let store: Arc<dyn CredentialProvider> = Arc::clone(&credentials) as Arc<dyn CredentialProvider>;
    (
        Arc::new(KubeVirtProvider::new(store, Arc::new(NewYear), limits)),
        credentials,
    )
}

/// The kubeconfig, leading to a port where nobody listens.
pub fn dead(kubeconfig: &str) -> String {
    let mut document: Value = serde_saphyr::from_str(kubeconfig).expect("a kubeconfig is YAML");
    document["clusters"][0]["cluster"]["server"] = Value::from("https://127.0.0.1:1");
    document.to_string()
}

/// The kubeconfig, with credentials the cluster no longer accepts.
pub fn expired(kubeconfig: &str) -> String {
    let mut document: Value = serde_saphyr::from_str(kubeconfig).expect("a kubeconfig is YAML");
    document["users"][0]["user"] = serde_json::json!({"token": "of-yesterday"});
    document.to_string()
}

/// Reads reports up to the wanted one, and returns all of them.
pub async fn until(
    reports: &mut Reports,
    wanted: impl Fn(&VmWatchEvent) -> bool,
) -> Vec<Result<VmWatchEvent, ProviderError>> {
    let mut seen = Vec::new();
    let reading = async {
        while let Some(report) = reports.next().await {
            let found = report.as_ref().is_ok_and(&wanted);
            seen.push(report);
            if found {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, reading).await;
    assert!(in_time.is_ok(), "the watch did not report it; it said {seen:?}");
    seen
}

/// Asks until the answer is yes.
pub async fn eventually<F: Future<Output = bool>>(what: &str, ask: impl Fn() -> F) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, asking).await.is_ok(),
        "never happened: {what}"
    );
}

fn accepted(kubeconfig: &str) -> String {
    let loopback = ["127.0.0.0/8", "::1/128"]
        .iter()
        .map(|network| network.parse().expect("a network"))
        .collect();
    let accepted = Intake::new(true, loopback)
        .accept(kubeconfig, true)
        .expect("the kubeconfig passes intake");
    accepted.reduced.to_string()
}

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("a usable kubeconfig");
    Client::try_from(config).expect("a client")
}
