//! Migrations that do not go as planned.

use std::sync::Arc;

use shepherd_domain::Environment;
use shepherd_domain::infrastructure::{Migration, MigrationPhase};
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_kubevirt::{CallLimits, KubeVirtProvider};
use shepherd_ports::providers::{InfrastructureProvider, MigrationProvider, ProviderError};
use shepherd_simulator::{ClusterSeed, NodeSeed, Simulator, SimulatorConfig, Timing};

use super::{NAME, NAMESPACE, apply};
use crate::documents::Plan;
use crate::lab::{CLUSTER, eventually, provider};
use crate::requests::migration_of;

const MOVE: &str = "move-1";

/// A running machine on a cluster of one node, so that a migration finds no target.
async fn nowhere_to_go() -> (Simulator, Arc<KubeVirtProvider>) {
    let seed = ClusterSeed {
        nodes: vec![NodeSeed::default()],
        ..ClusterSeed::default()
    };
    let config = SimulatorConfig {
        seed,
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config).await.expect("the simulator starts");
    let (provider, _) = provider(&simulator.kubeconfig(), CallLimits::default());
    provider
        .ensure_namespace(CLUSTER, NAMESPACE, Environment::Test, None)
        .await
        .expect("the namespace can be made");
    apply(&provider, Plan::new(NAMESPACE, NAME).running()).await;
    let ask = &provider;
    eventually("the machine runs", move || async move {
        let vm = machine(ask).await;
        vm.condition == ObservedCondition::Is(VmStatus::Running) && vm.live_migratable == Some(true)
    })
    .await;
    (simulator, provider)
}

async fn machine(provider: &KubeVirtProvider) -> ObservedVm {
    let found = provider.get_vm(CLUSTER, NAMESPACE, NAME).await;
    found.expect("the machine can be read").expect("the machine is there")
}

async fn migrate(provider: &KubeVirtProvider, name: &str, event: &str) -> Result<Migration, ProviderError> {
    let request = migration_of(NAMESPACE, NAME, name, event);
    provider.migrate_vm(CLUSTER, &request).await
}

async fn read(provider: &KubeVirtProvider) -> Option<Migration> {
    let found = provider.get_vm_migration(CLUSTER, NAMESPACE, MOVE).await;
    found.expect("the migration can be read")
}

/// Begins a migration, and waits until it looks for a node.
async fn begun(simulator: &Simulator, provider: &KubeVirtProvider) -> Migration {
    let made = migrate(provider, MOVE, "e-1").await.expect("the machine can be moved");
    eventually("the migration looks for a node", move || async move {
        let stored = simulator
            .cluster()
            .get("VirtualMachineInstanceMigration", NAMESPACE, MOVE);
        stored.is_some_and(|migration| migration["status"]["phase"] == "Scheduling")
    })
    .await;
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_without_a_target_waits_until_it_is_called_off() {
    let (simulator, provider) = nowhere_to_go().await;
    let before = machine(&provider).await;
    begun(&simulator, &provider).await;
    let waiting = read(&provider).await.expect("it is there");
    assert_eq!((waiting.phase, waiting.target_node), (MigrationPhase::Pending, None));
    let cancelled = provider.cancel_migration(CLUSTER, NAMESPACE, MOVE).await;
    assert_eq!(cancelled, Ok(()));
    let ask = &provider;
    eventually("the migration is gone", move || async move {
        match read(ask).await {
            None => true,
            Some(found) => {
                assert_eq!((found.phase, found.error), (MigrationPhase::Cancelled, None));
                false
            }
        }
    })
    .await;
    assert_eq!(machine(&provider).await.node, before.node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_on_its_way_is_moved_by_nobody_else() {
    let (simulator, provider) = nowhere_to_go().await;
    let first = begun(&simulator, &provider).await;
    let other = migrate(&provider, "move-2", "e-2").await;
    assert!(
        matches!(&other, Err(ProviderError::Forbidden(why) | ProviderError::Invalid { message: why, .. }) if why.contains("in-flight")),
        "{other:?}"
    );
    let again = migrate(&provider, MOVE, "e-1").await.expect("it is the same request");
    assert_eq!(again.uid, first.uid);
    let foreign = migrate(&provider, MOVE, "e-2").await;
    assert!(matches!(foreign, Err(ProviderError::AlreadyExists(_))), "{foreign:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_of_a_machine_that_is_lost_fails() {
    let (simulator, provider) = nowhere_to_go().await;
    begun(&simulator, &provider).await;
    simulator.faults().lose_vm(NAMESPACE, NAME);
    let ask = &provider;
    eventually("the migration ends", move || async move {
        read(ask).await.is_some_and(|found| found.phase.is_final())
    })
    .await;
    assert_eq!(
        read(&provider).await.map(|found| found.phase),
        Some(MigrationPhase::Failed)
    );
}
