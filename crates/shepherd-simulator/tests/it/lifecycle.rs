//! Machines from creation to their end, through the API alone.

use reqwest::Method;
use serde_json::{Value, json};
use shepherd_simulator::{SimulatorConfig, Timing};

use crate::server::{INSTANCES, MACHINES, POWER, Server, answer, machine};

#[tokio::test]
async fn a_created_machine_runs_and_a_deleted_one_goes() {
    let server = Server::start().await;
    let (code, created) = server.post(MACHINES, &machine("Always")).await;
    assert_eq!(code, 201);
    assert!(created["status"].is_null(), "a new machine has no status yet");
    server.wait_for_status("Running").await;

    let (code, vmi) = server.get(&format!("{INSTANCES}/web")).await;
    assert_eq!((code, &vmi["status"]["phase"]), (200, &json!("Running")));
    assert!(vmi["status"]["interfaces"][0]["ipAddress"].is_string());

    let uid = &created["metadata"]["uid"];
    let wrong = json!({"preconditions": {"uid": "somebody-else"}});
    assert_eq!(server.delete(&format!("{MACHINES}/web"), &wrong).await.0, 409);
    let options = json!({"preconditions": {"uid": uid}, "propagationPolicy": "Foreground"});
    let (code, deleted) = server.delete(&format!("{MACHINES}/web"), &options).await;
    assert_eq!(code, 200);
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    server.wait_for("its end", |vm| vm.is_none()).await;
    assert_eq!(server.get(&format!("{MACHINES}/web")).await.0, 404);
    assert_eq!(server.get(&format!("{INSTANCES}/web")).await.0, 404);
}

#[tokio::test]
async fn power_actions_answer_like_kubevirt() {
    let server = Server::start().await;
    server.post(MACHINES, &machine("Halted")).await;
    server.wait_for_status("Stopped").await;
    let act = async |resource: &str, action: &str| {
        let path = format!("{POWER}/{resource}/web/{action}");
        let response = server.request(Method::PUT, &path).body("{}").send().await.unwrap();
        answer(response).await
    };
    let (machines, instances) = ("virtualmachines", "virtualmachineinstances");
    assert_eq!(act(machines, "stop").await.0, 409);
    assert_eq!(act(instances, "pause").await.0, 404);
    assert_eq!(act(machines, "start").await, (202, Value::Null));
    server.wait_for_status("Running").await;
    let (code, refusal) = act(machines, "start").await;
    assert_eq!(code, 409);
    assert!(refusal["message"].as_str().unwrap().ends_with("VM is already running"));

    assert_eq!(act(instances, "pause").await.0, 202);
    server.wait_for_status("Paused").await;
    assert_eq!(act(instances, "pause").await.0, 409);
    assert_eq!(act(instances, "unpause").await.0, 202);
    server.wait_for_status("Running").await;

    let uid = || {
        let instance = server.cluster().get("VirtualMachineInstance", "default", "web");
        instance.map(|instance| instance["metadata"]["uid"].clone())
    };
    let first = uid();
    assert_eq!(act(machines, "restart").await.0, 202);
    let runs_anew = |vm: Option<&Value>| {
        vm.is_some_and(|vm| vm["status"]["printableStatus"] == "Running") && uid().is_some_and(|uid| Some(uid) != first)
    };
    server.wait_for("another instance", runs_anew).await;
    let counts = server.cluster().mutations();
    assert_eq!(counts[&("restart".to_owned(), machines.to_owned())], 1);
}

#[tokio::test]
async fn the_state_file_brings_a_cluster_back() {
    let path = std::env::temp_dir().join(format!("shepherd-simulator-{}.json", std::process::id()));
    let config = || SimulatorConfig {
        timing: Timing::instant(),
        state_file: Some(path.clone()),
        ..SimulatorConfig::default()
    };
    let server = Server::with(config()).await;
    server.post(MACHINES, &machine("Halted")).await;
    let token = server.restricted();
    server.simulator.stop().await;

    let server = Server::with(config()).await;
    assert_eq!(server.get(&format!("{MACHINES}/web")).await.0, 200);
    assert_eq!(server.restricted(), token);
    server.simulator.stop().await;
    std::fs::remove_file(&path).unwrap();
}
