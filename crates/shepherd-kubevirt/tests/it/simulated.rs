//! What only the simulator can provoke: faults, controllers at full speed, hardware at will.

mod consoles;
mod migrations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shepherd_domain::Environment;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_kubevirt::{CallLimits, KubeVirtProvider};
use shepherd_ports::providers::{ApplyMode, InfrastructureProvider, ProviderError, VmWatchEvent};
use shepherd_simulator::{ClusterSeed, FaultEffect, FaultRule, NodeSeed, Simulator, SimulatorConfig, Timing};

use crate::documents::Plan;
use crate::lab::{CLUSTER, Reports, provider, until};

const NAMESPACE: &str = "shop";
const NAME: &str = "web-01";

async fn start() -> (Simulator, Arc<KubeVirtProvider>) {
    start_with(Timing::instant()).await
}

async fn start_with(timing: Timing) -> (Simulator, Arc<KubeVirtProvider>) {
    let config = SimulatorConfig {
        timing,
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config).await.expect("the simulator starts");
    let (provider, _) = provider(&simulator.kubeconfig(), CallLimits::default());
    provider
        .ensure_namespace(CLUSTER, NAMESPACE, Environment::Test, None)
        .await
        .expect("the namespace can be made");
    (simulator, provider)
}

async fn apply(provider: &KubeVirtProvider, plan: Plan) -> ObservedVm {
    provider
        .apply_vm(CLUSTER, &plan.document(), ApplyMode::Persist)
        .await
        .expect("the document can be applied")
}

async fn exists(provider: &KubeVirtProvider) -> Result<bool, ProviderError> {
    provider.namespace_exists(CLUSTER, NAMESPACE).await
}

fn is(event: &VmWatchEvent, status: VmStatus) -> bool {
    matches!(event, VmWatchEvent::Changed(vm) if vm.condition == ObservedCondition::Is(status))
}

async fn listed(reports: &mut Reports) -> Vec<Result<VmWatchEvent, ProviderError>> {
    until(reports, |event| *event == VmWatchEvent::Listed).await
}

/// At a human pace: a watch tells only the latest state of what changed in between, so a state that lasts
/// milliseconds may pass unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_comes_up_and_says_where_it_runs() {
    let (_simulator, provider) = start_with(Timing::default()).await;
    let mut reports = provider.watch_vms(CLUSTER).await.expect("a watch can be opened");
    listed(&mut reports).await;
    apply(&provider, Plan::new(NAMESPACE, NAME).running()).await;
    let waiting =
        |event: &VmWatchEvent| matches!(event, VmWatchEvent::Changed(vm) if vm.condition == ObservedCondition::Waiting);
    until(&mut reports, waiting).await;
    let there = |event: &VmWatchEvent| matches!(event, VmWatchEvent::Changed(vm) if is(event, VmStatus::Running) && vm.node.is_some() && vm.vmi_uid.is_some());
    until(&mut reports, there).await;
    let found = provider
        .get_vm(CLUSTER, NAMESPACE, NAME)
        .await
        .expect("it can be read")
        .expect("it is there");
    assert_eq!(found.condition, ObservedCondition::Is(VmStatus::Running));
    assert!(found.node.is_some() && found.reason.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_nobody_can_host_fails_with_the_clusters_word() {
    let (_simulator, provider) = start().await;
    let mut reports = provider.watch_vms(CLUSTER).await.expect("a watch can be opened");
    let more_than_any_node = 1_048_576;
    apply(
        &provider,
        Plan::new(NAMESPACE, NAME).running().memory_mb(more_than_any_node),
    )
    .await;
    // On a busy machine it may have failed before the first list was taken.
    let unschedulable = |event: &VmWatchEvent| {
        matches!(event, VmWatchEvent::Changed(vm) | VmWatchEvent::InList(vm)
            if vm.reason.as_deref() == Some("ErrorUnschedulable")
                && vm.condition == ObservedCondition::Is(VmStatus::Failed))
    };
    until(&mut reports, unschedulable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_is_passed_on_and_not_hidden() {
    let (simulator, provider) = start().await;
    simulator.faults().inject(FaultRule::next(
        1,
        "GET",
        "/namespaces/",
        FaultEffect::status(429, "TooManyRequests"),
    ));
    let refusal = exists(&provider).await;
    assert!(matches!(refusal, Err(ProviderError::Throttled { .. })), "{refusal:?}");
    assert_eq!(exists(&provider).await, Ok(true), "nobody retried behind our back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_and_answers_are_unreachable() {
    let (simulator, provider) = start().await;
    for effect in [
        FaultEffect::TruncateBody,
        FaultEffect::status(500, "InternalError"),
        FaultEffect::status(503, "ServiceUnavailable"),
    ] {
        let said = format!("{effect:?}");
        simulator
            .faults()
            .inject(FaultRule::next(1, "GET", "/namespaces/", effect));
        let refusal = exists(&provider).await;
        assert!(
            matches!(refusal, Err(ProviderError::Unreachable(_))),
            "{said}: {refusal:?}"
        );
    }
    // A client may repeat a read whose connection was closed before the answer began, so every attempt is hit.
    let rule = simulator
        .faults()
        .inject(FaultRule::always("GET", "/namespaces/", FaultEffect::DropConnection));
    let refusal = exists(&provider).await;
    assert!(matches!(refusal, Err(ProviderError::Unreachable(_))), "{refusal:?}");
    simulator.faults().revoke(rule);
    assert_eq!(exists(&provider).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_up_quota_is_a_quota() {
    let (simulator, provider) = start().await;
    simulator.faults().exceed_quota(NAMESPACE);
    let refusal = provider
        .apply_vm(CLUSTER, &Plan::new(NAMESPACE, NAME).document(), ApplyMode::Persist)
        .await;
    assert!(matches!(refusal, Err(ProviderError::Quota(_))), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_hangs_times_out_and_gives_its_permit_back() {
    let (simulator, _) = start().await;
    let limits = CallLimits {
        call_timeout: Duration::from_secs(10),
        permit_wait: Duration::from_millis(100),
        concurrency: 1,
        ..CallLimits::default()
    };
    let (provider, _) = provider(&simulator.kubeconfig(), limits);
    assert_eq!(exists(&provider).await, Ok(true));
    let rule = simulator
        .faults()
        .inject(FaultRule::always("GET", "/namespaces/", FaultEffect::Hang));
    let (first, second) = tokio::join!(exists(&provider), exists(&provider));
    assert!(matches!(first, Err(ProviderError::Timeout(_))), "{first:?}");
    assert!(matches!(second, Err(ProviderError::Unavailable(_))), "{second:?}");
    simulator.faults().revoke(rule);
    assert_eq!(exists(&provider).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_broke_off_is_finished_by_the_next_one() {
    let (simulator, provider) = start().await;
    let document = Plan::new(NAMESPACE, NAME).cloud_init().document();
    simulator.faults().inject(FaultRule::next(
        1,
        "PATCH",
        "/secrets/",
        FaultEffect::status(500, "InternalError"),
    ));
    assert!(provider.apply_vm(CLUSTER, &document, ApplyMode::Persist).await.is_err());
    assert!(
        simulator
            .cluster()
            .get("Secret", NAMESPACE, "web-01-cloudinit")
            .is_none()
    );
    provider
        .apply_vm(CLUSTER, &document, ApplyMode::Persist)
        .await
        .expect("the second apply passes");
    assert!(
        simulator
            .cluster()
            .get("Secret", NAMESPACE, "web-01-cloudinit")
            .is_some()
    );
    assert_eq!(simulator.cluster().list("VirtualMachine", NAMESPACE).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_survives_cut_connections_and_expired_versions() {
    let (simulator, provider) = start().await;
    let mut reports = provider.watch_vms(CLUSTER).await.expect("a watch can be opened");
    listed(&mut reports).await;
    simulator.faults().drop_watches();
    apply(&provider, Plan::new(NAMESPACE, NAME)).await;
    until(
        &mut reports,
        |event| matches!(event, VmWatchEvent::Changed(vm) | VmWatchEvent::InList(vm) if vm.name == NAME),
    )
    .await;
    simulator.faults().expire_resource_versions();
    simulator.faults().drop_watches();
    let seen = listed(&mut reports).await;
    assert!(
        seen.iter()
            .flatten()
            .any(|event| matches!(event, VmWatchEvent::InList(vm) if vm.name == NAME)),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_machine_is_reported() {
    let (simulator, provider) = start().await;
    let applied = apply(&provider, Plan::new(NAMESPACE, NAME)).await;
    let mut reports = provider.watch_vms(CLUSTER).await.expect("a watch can be opened");
    listed(&mut reports).await;
    simulator.faults().lose_vm(NAMESPACE, NAME);
    until(
        &mut reports,
        |event| matches!(event, VmWatchEvent::Deleted { uid, .. } if *uid == applied.uid),
    )
    .await;
    assert_eq!(provider.get_vm(CLUSTER, NAMESPACE, NAME).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_finds_what_the_cluster_has() {
    let node = NodeSeed {
        gpus: BTreeMap::from([("nvidia.com/A10".to_owned(), 2)]),
        hugepages_2mi_mb: 1_024,
        ..NodeSeed::default()
    };
    let seed = ClusterSeed {
        nodes: vec![node],
        sriov_networks: vec!["net/fast".to_owned()],
        clone: false,
        ..ClusterSeed::default()
    };
    let simulator = Simulator::start(SimulatorConfig {
        seed,
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let (provider, _) = provider(&simulator.kubeconfig(), CallLimits::default());
    let facts = provider.probe(CLUSTER).await.expect("the cluster answers");
    assert_eq!(facts.kubernetes_version, "v1.33.1");
    assert_eq!(facts.kubevirt_version.as_deref(), Some("1.6.2"));
    assert!(facts.kubevirt_deployed && facts.reason.is_none());
    let capabilities = facts.capabilities.unwrap();
    assert!(capabilities.gpu_devices.contains("nvidia.com/A10"));
    assert!(capabilities.hugepages.contains("2mi") && !capabilities.hugepages.contains("1gi"));
    assert!(capabilities.sriov_networks.contains("net/fast"));
    assert!(capabilities.cdi && capabilities.snapshot && !capabilities.clone);
    assert_eq!(
        facts
            .storage_classes
            .iter()
            .flatten()
            .map(|class| (class.name.as_str(), class.default))
            .collect::<Vec<_>>(),
        [("standard", true)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_the_health_alone_asks_for_nothing_else() {
    let simulator = Simulator::start(SimulatorConfig {
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let (provider, _) = provider(&simulator.kubeconfig(), CallLimits::default());
    let facts = provider.probe_health(CLUSTER).await.expect("the cluster answers");
    assert_eq!(facts.kubevirt_version.as_deref(), Some("1.6.2"));
    assert!(facts.kubevirt_deployed && facts.features.contains(&"LiveMigration".to_owned()));
    assert_eq!((facts.capabilities, facts.storage_classes), (None, None));
    let asked: Vec<String> = simulator
        .cluster()
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(asked, ["/version", "/apis/kubevirt.io/v1/kubevirts"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_left_out_and_the_rest_is_found() {
    let simulator = Simulator::start(SimulatorConfig {
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let (provider, _) = provider(&simulator.kubeconfig(), CallLimits::default());
    simulator.faults().refuse("list", "kubevirts");
    let facts = provider.probe(CLUSTER).await.expect("the cluster answers");
    assert_eq!(facts.reason.as_deref(), Some("KUBEVIRT_UNREADABLE"));
    assert_eq!(facts.capabilities, None, "devices of KubeVirt would be missing");
    assert!(facts.storage_classes.is_some_and(|classes| classes.len() == 1));
    simulator.faults().clear();
    simulator.faults().refuse("list", "storageclasses");
    let facts = provider.probe(CLUSTER).await.expect("the cluster answers");
    assert!(facts.kubevirt_deployed && facts.capabilities.is_some());
    assert_eq!(facts.storage_classes, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubevirt_that_is_not_deployed_is_the_reason() {
    let seed = ClusterSeed {
        kubevirt_phase: "Deploying".to_owned(),
        ..ClusterSeed::default()
    };
    let simulator = Simulator::start(SimulatorConfig {
        seed,
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let (provider, _) = provider(&simulator.kubeconfig(), CallLimits::default());
    let facts = provider.probe(CLUSTER).await.expect("the cluster answers");
    assert!(!facts.kubevirt_deployed);
    assert_eq!(facts.reason.as_deref(), Some("KUBEVIRT_DEPLOYING"));
}
