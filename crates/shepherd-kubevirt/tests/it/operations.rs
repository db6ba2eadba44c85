//! What only the simulator can provoke of lists, snapshots, restores and clones.

use std::sync::Arc;

use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::infrastructure::ClonePhase;
use shepherd_kubevirt::{CallLimits, KubeVirtProvider};
use shepherd_ports::providers::{
    ApplyMode, CloneProvider, InfrastructureProvider, ListOptions, ProviderError, SnapshotProvider,
};
use shepherd_simulator::{ClusterSeed, FaultEffect, FaultRule, Simulator, SimulatorConfig, Timing};

use crate::documents::Plan;
use crate::lab::{CLUSTER, eventually, provider};
use crate::requests::{clone_to, restore_of, snapshot_of};

const NAMESPACE: &str = "shop";
const VM: &str = "web-01";

async fn start(seed: ClusterSeed) -> (Simulator, Arc<KubeVirtProvider>) {
    let simulator = Simulator::start(SimulatorConfig {
        seed,
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let (provider, _) = provider(&simulator.kubeconfig(), CallLimits::default());
    provider
        .ensure_namespace(CLUSTER, NAMESPACE, Environment::Test, None)
        .await
        .expect("the namespace can be made");
    (simulator, provider)
}

async fn with_machines(names: &[&str]) -> (Simulator, Arc<KubeVirtProvider>) {
    let (simulator, provider) = start(ClusterSeed::default()).await;
    for name in names {
        let document = Plan::new(NAMESPACE, name).document();
        provider
            .apply_vm(CLUSTER, &document, ApplyMode::Persist)
            .await
            .expect("the document can be applied");
    }
    (simulator, provider)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_took_too_long_starts_over() {
    let (simulator, provider) = with_machines(&["a", "b", "c"]).await;
    let mut options = ListOptions {
        namespace: Some(NAMESPACE.to_owned()),
        limit: Some(2),
        ..ListOptions::default()
    };
    let first = provider
        .list_vms(CLUSTER, &options)
        .await
        .expect("machines can be listed");
    options.continue_token = first.continue_token;
    assert!(options.continue_token.is_some());
    simulator.faults().expire_resource_versions();
    let refusal = provider.list_vms(CLUSTER, &options).await;
    assert!(matches!(refusal, Err(ProviderError::Conflict(_))), "{refusal:?}");
    options.continue_token = None;
    let again = provider
        .list_vms(CLUSTER, &options)
        .await
        .expect("a list can be started over");
    assert_eq!(again.items.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_does_not_serve_is_unsupported() {
    let (_simulator, provider) = start(ClusterSeed {
        snapshot: false,
        clone: false,
        ..ClusterSeed::default()
    })
    .await;
    let restore = restore_of(NAMESPACE, VM, "before", "back", "e-1");
    let copy = clone_to(NAMESPACE, "web-02", "copy", "e-1");
    let snapshots = [
        provider
            .create_snapshot(CLUSTER, &snapshot_of(NAMESPACE, VM, "before", "e-1"))
            .await
            .err(),
        provider.get_snapshot(CLUSTER, NAMESPACE, "before").await.err(),
        provider.list_snapshots(CLUSTER, NAMESPACE, None).await.err(),
        provider.delete_snapshot(CLUSTER, NAMESPACE, "before", None).await.err(),
        provider.restore_from_snapshot(CLUSTER, &restore).await.err(),
        provider.get_restore(CLUSTER, NAMESPACE, "back").await.err(),
    ];
    let clones = [
        provider.clone_vm(CLUSTER, VM, &copy).await.err(),
        provider.clone_from_snapshot(CLUSTER, "before", &copy).await.err(),
        provider.get_clone(CLUSTER, NAMESPACE, "copy").await.err(),
        provider.list_clones(CLUSTER, NAMESPACE, None).await.err(),
    ];
    for (refusals, group) in [
        (&snapshots[..], "snapshot.kubevirt.io"),
        (&clones[..], "clone.kubevirt.io"),
    ] {
        for refusal in refusals {
            assert!(
                matches!(refusal, Some(ProviderError::Unsupported(why)) if why.contains(group)),
                "{refusal:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_answer_was_lost_finds_what_it_made() {
    let (simulator, provider) = with_machines(&[VM]).await;
    let request = snapshot_of(NAMESPACE, VM, "before", "e-1");
    simulator.faults().inject(FaultRule::next(
        1,
        "POST",
        "/virtualmachinesnapshots",
        FaultEffect::TruncateBody,
    ));
    let lost = provider.create_snapshot(CLUSTER, &request).await;
    assert!(matches!(lost, Err(ProviderError::Unreachable(_))), "{lost:?}");
    let found = provider.create_snapshot(CLUSTER, &request).await;
    assert!(found.is_ok(), "{found:?}");
    assert_eq!(simulator.cluster().list("VirtualMachineSnapshot", NAMESPACE).len(), 1);
}

/// KubeVirt's webhook refuses a second restore of a machine while one is under way, even when it is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_under_way_is_found_by_its_repetition() {
    let (simulator, provider) = with_machines(&[VM]).await;
    simulator.cluster().freeze(NAMESPACE, VM);
    let request = restore_of(NAMESPACE, VM, "before", "back", "e-1");
    let first = provider.restore_from_snapshot(CLUSTER, &request).await;
    assert!(matches!(&first, Ok(restore) if !restore.complete), "{first:?}");
    assert_eq!(provider.restore_from_snapshot(CLUSTER, &request).await, first);

    let other = restore_of(NAMESPACE, VM, "before", "again", "e-2");
    let refusal = provider.restore_from_snapshot(CLUSTER, &other).await;
    assert!(matches!(refusal, Err(ProviderError::Invalid { .. })), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_told_in_the_clusters_words() {
    let (simulator, provider) = with_machines(&[VM, "web-02"]).await;
    simulator.cluster().freeze(NAMESPACE, VM);
    let snapshot = snapshot_of(NAMESPACE, VM, "before", "e-1");
    let taken = provider.create_snapshot(CLUSTER, &snapshot).await;
    assert!(
        matches!(&taken, Ok(snapshot) if !snapshot.ready && snapshot.error.is_none()),
        "{taken:?}"
    );
    let failed = json!({"phase": "Failed", "readyToUse": false, "error": {"message": "no snapshot class"}});
    simulator
        .cluster()
        .put_status("VirtualMachineSnapshot", NAMESPACE, "before", failed);
    let found = provider.get_snapshot(CLUSTER, NAMESPACE, "before").await;
    assert!(
        matches!(&found, Ok(Some(snapshot)) if !snapshot.ready && snapshot.error.as_deref() == Some("no snapshot class")),
        "{found:?}"
    );

    let restore = restore_of(NAMESPACE, "web-02", "before", "back", "e-2");
    let asked = provider.restore_from_snapshot(CLUSTER, &restore).await;
    assert!(asked.is_ok(), "{asked:?}");
    let of = &provider;
    eventually("the restore fails", move || async move {
        let found = of.get_restore(CLUSTER, NAMESPACE, "back").await;
        matches!(found, Ok(Some(restore)) if !restore.complete && restore.error.is_some())
    })
    .await;

    let copy = clone_to(NAMESPACE, VM, "copy", "e-3");
    let asked = provider.clone_vm(CLUSTER, "web-02", &copy).await;
    assert!(asked.is_ok(), "{asked:?}");
    eventually("the clone fails", move || async move {
        let found = of.get_clone(CLUSTER, NAMESPACE, "copy").await;
        matches!(found, Ok(Some(clone)) if clone.phase == ClonePhase::Failed && clone.error.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_waits_for_its_source() {
    let (_simulator, provider) = with_machines(&[]).await;
    let copy = clone_to(NAMESPACE, "web-02", "copy", "e-1");
    let asked = provider.clone_vm(CLUSTER, VM, &copy).await;
    assert!(
        matches!(&asked, Ok(clone) if clone.phase == ClonePhase::Pending),
        "{asked:?}"
    );
    let of = &provider;
    eventually("the clone says what it waits for", move || async move {
        let found = of.get_clone(CLUSTER, NAMESPACE, "copy").await;
        matches!(found, Ok(Some(clone)) if clone.phase == ClonePhase::Pending && clone.error.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_asked_for_once() {
    let (simulator, provider) = with_machines(&[VM]).await;
    simulator.faults().inject(FaultRule::next(
        1,
        "PUT",
        "/virtualmachines/web-01/start",
        FaultEffect::status(503, "ServiceUnavailable"),
    ));
    let refusal = provider.start_vm(CLUSTER, NAMESPACE, VM).await;
    assert!(matches!(refusal, Err(ProviderError::Unreachable(_))), "{refusal:?}");
    let starts = |simulator: &Simulator| {
        let counted = simulator.cluster().mutations();
        let key = ("start".to_owned(), "virtualmachines".to_owned());
        counted.get(&key).copied().unwrap_or_default()
    };
    assert_eq!(starts(&simulator), 0, "nobody repeated it behind our back");
    assert_eq!(provider.start_vm(CLUSTER, NAMESPACE, VM).await, Ok(()));
    assert_eq!(starts(&simulator), 1);
}
