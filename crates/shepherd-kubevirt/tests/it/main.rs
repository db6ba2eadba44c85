//! The provider against clusters: the contract every cluster has to keep, and what only the simulator can provoke.
//!
//! `SHEPHERD_CONFORMANCE_KUBECONFIG=<file>` runs the contract against that cluster, too. The file holds inline
//! credentials (`kubectl config view --raw --flatten --minify`).

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod contract;
mod documents;
mod golden;
mod impostor;
mod isolation;
mod lab;
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
    let kubeconfig = std::fs::read_to_string(&file).expect("the kubeconfig can be read");
    contract::run(&Lab::new(&kubeconfig, None).await).await;
}
