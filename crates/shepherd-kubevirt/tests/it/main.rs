//! The provider against clusters: the contract every cluster has to keep, and what only the simulator can provoke.
//!
//! `SHEPHERD_CONFORMANCE_KUBECONFIG=<file>` runs the contract against that cluster, too. The file holds inline
//! credentials (`kubectl config view --raw --flatten --minify`). With `SHEPHERD_CONFORMANCE_ADMIN_KUBECONFIG=<file>` the
//! provider has the rights of the first file only, and what the cases do past it is done with those of the second.
//! `SHEPHERD_CONFORMANCE_FIRST_FAILURE=1` ends it with the first case that fails.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod contract;
mod documents;
mod golden;
mod impostor;
mod isolation;
mod lab;
mod least_privilege;
mod operations;
mod pace;
mod rendering;
mod requests;
mod simulated;

use lab::Lab;
use shepherd_simulator::{Simulator, SimulatorConfig, Timing};

/// A simulated cluster that needs milliseconds for what takes a real one minutes.
async fn simulator() -> Simulator {
    let config = SimulatorConfig {
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    };
    Simulator::start(config).await.expect("the simulator starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_keeps_the_contract() {
    let simulator = simulator().await;
    let restricted = simulator.restricted_kubeconfig();
    contract::run(&Lab::new(&simulator.kubeconfig(), Some(&restricted)).await).await;
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_named_cluster_keeps_the_contract() {
    let Ok(file) = std::env::var("SHEPHERD_CONFORMANCE_KUBECONFIG") else {
        eprintln!("skipped: SHEPHERD_CONFORMANCE_KUBECONFIG names no cluster");
        return;
    };
    let read = |file: String| std::fs::read_to_string(file).expect("the kubeconfig can be read");
    let kubeconfig = read(file);
    let administrator =
        std::env::var("SHEPHERD_CONFORMANCE_ADMIN_KUBECONFIG").map_or_else(|_| kubeconfig.clone(), read);
    contract::run(&Lab::with_rights_of(&kubeconfig, &administrator, None).await).await;
}
