//! A started cluster and a client for it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, RequestBuilder, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use shepherd_simulator::{ClusterHandle, Simulator, SimulatorConfig, Timing};

/// How long a test waits for what should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
pub const MACHINES: &str = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines";
pub const INSTANCES: &str = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances";
pub const POWER: &str = "/apis/subresources.kubevirt.io/v1/namespaces/default";
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const APPLY: &str = "application/apply-patch+yaml";
pub const MERGE: &str = "application/merge-patch+json";

pub struct Server {
    pub simulator: Simulator,
    client: Client,
    token: String,
}

/// What a client gets from a kubeconfig.
pub struct Login {
    ca_pem: Vec<u8>,
    pub token: String,
}

impl Login {
    pub fn read(kubeconfig: &str) -> Self {
        let field = |name: &str| {
            let line = kubeconfig
                .lines()
                .find_map(|line| line.trim().strip_prefix(name))
                .unwrap();
            line.trim().to_owned()
        };
        Self {
            ca_pem: STANDARD.decode(field("certificate-authority-data:")).unwrap(),
            token: field("token:"),
        }
    }

    fn client(&self) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&self.ca_pem).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client::builder().tls_backend_preconfigured(config).build().unwrap()
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(SimulatorConfig {
            timing: Timing::instant(),
            ..SimulatorConfig::default()
        })
        .await
    }

    pub async fn with(config: SimulatorConfig) -> Self {
        let simulator = Simulator::start(config).await.unwrap();
        let login = Login::read(&simulator.kubeconfig());
        Self {
            client: login.client(),
            token: login.token,
            simulator,
        }
    }

    pub fn cluster(&self) -> &ClusterHandle {
        self.simulator.cluster()
    }

    pub fn restricted(&self) -> String {
        Login::read(&self.simulator.restricted_kubeconfig()).token
    }

    pub fn request_as(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.simulator.url());
        self.client
            .request(method, url)
            .bearer_auth(token)
            .header("user-agent", "test/1.0")
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_as(&self.token, method, path)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(Method::POST, path).json(body).send().await.unwrap()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.request(Method::PUT, path).json(body).send().await.unwrap()).await
    }

    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> (u16, Value) {
        let request = self
            .request(Method::PATCH, path)
            .header("content-type", kind)
            .body(body.to_string());
        answer(request.send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str, options: &Value) -> (u16, Value) {
        answer(self.request(Method::DELETE, path).json(options).send().await.unwrap()).await
    }

    pub async fn open(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// Waits until the machine `web` looks as wanted; `None` is a machine that is gone.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(Option<&Value>) -> bool) {
        let cluster = self.cluster();
        let waiting = async {
            loop {
                let revision = cluster.revision();
                let vm = cluster.get("VirtualMachine", "default", "web");
                if wanted(vm.as_ref()) {
                    return;
                }
                cluster.changed_since(revision).await;
            }
        };
        let arrived = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        assert!(
            arrived,
            "waited in vain for {what}: {:?}",
            cluster.get("VirtualMachine", "default", "web")
        );
    }

    pub async fn wait_for_status(&self, status: &str) {
        self.wait_for(status, |vm| {
            vm.is_some_and(|vm| vm["status"]["printableStatus"] == status)
        })
        .await;
    }
}

/// Code and document of an answer; `null` when it has no body.
pub async fn answer(response: Response) -> (u16, Value) {
    let code = response.status().as_u16();
    let text = response.text().await.unwrap();
    (code, serde_json::from_str(&text).unwrap_or_default())
}

pub fn machine(strategy: &str) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "shop"}},
        "spec": {
            "runStrategy": strategy,
            "template": {"spec": {
                "domain": {
                    "cpu": {"cores": 1},
                    "memory": {"guest": "1Gi"},
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                },
                "volumes": [{"name": "root", "containerDisk": {"image": "quay.io/fedora:42"}}],
            }},
        },
    })
}

pub fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"app": "shop"}},
        "data": {"value": value},
    })
}
