//! Snapshots, clones, migrations, seeds and rights over the API.

use reqwest::Method;
use serde_json::{Value, json};
use shepherd_simulator::{ClusterSeed, Grant, Refusal, SimulatorConfig, Timing};

use crate::server::{Login, MACHINES, MERGE, POWER, Server, answer, machine};

const SNAPSHOTS: &str = "/apis/snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots";
const CLONES: &str = "/apis/clone.kubevirt.io/v1beta1/namespaces/default/virtualmachineclones";
const MIGRATIONS: &str = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstancemigrations";

fn web() -> Value {
    json!({"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"})
}

fn snapshot() -> Value {
    json!({"metadata": {"name": "before"}, "spec": {"source": web()}})
}

fn migration(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"vmiName": "web"}})
}

/// Waits until an object's status field has a value.
async fn wait_for(server: &Server, kind: &str, name: &str, field: &str, wanted: Value) -> Value {
    loop {
        let revision = server.cluster().revision();
        let found = server.cluster().get(kind, "default", name).unwrap_or_default();
        if found["status"][field] == wanted {
            return found;
        }
        server.cluster().changed_since(revision).await;
    }
}

#[tokio::test]
async fn a_snapshot_becomes_ready_and_a_clone_succeeds() {
    let server = Server::start().await;
    server.post(MACHINES, &machine("Halted")).await;
    server.wait_for_status("Stopped").await;
    assert_eq!(server.post(SNAPSHOTS, &snapshot()).await.0, 201);
    let ready = wait_for(&server, "VirtualMachineSnapshot", "before", "readyToUse", json!(true)).await;
    assert_eq!(ready["status"]["phase"], "Succeeded");
    let moved = json!({"spec": {"source": {"name": "other"}}});
    assert_eq!(server.patch(&format!("{SNAPSHOTS}/before"), MERGE, &moved).await.0, 422);

    let source = json!({"apiGroup": "snapshot.kubevirt.io", "kind": "VirtualMachineSnapshot", "name": "before"});
    let (code, clone) = server
        .post(
            CLONES,
            &json!({"metadata": {"name": "copy"}, "spec": {"source": source}}),
        )
        .await;
    assert_eq!(code, 201);
    let target = clone["spec"]["target"]["name"].as_str().unwrap();
    assert!(target.starts_with("clone-before-"), "{target}");
    wait_for(&server, "VirtualMachineClone", "copy", "phase", json!("Succeeded")).await;
    assert_eq!(server.get(&format!("{MACHINES}/{target}")).await.0, 200);
    assert_eq!(
        server.get(&format!("{SNAPSHOTS}/before")).await.0,
        200,
        "the source is kept"
    );
}

#[tokio::test]
async fn snapshots_need_their_feature_gate() {
    let server = Server::with(SimulatorConfig {
        seed: ClusterSeed {
            feature_gates: Vec::new(),
            ..ClusterSeed::default()
        },
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    })
    .await;
    let (code, body) = server.post(SNAPSHOTS, &snapshot()).await;
    assert_eq!(code, 400);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .ends_with("snapshot feature gate not enabled")
    );
}

#[tokio::test]
async fn migrations_are_admitted_one_at_a_time() {
    let server = Server::start().await;
    let (code, body) = server.post(MIGRATIONS, &migration("early")).await;
    assert_eq!(code, 400);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .ends_with("the VMI \"default/web\" does not exist")
    );

    server.post(MACHINES, &machine("Always")).await;
    server.wait_for_status("Running").await;
    server.cluster().freeze("default", "web");
    assert_eq!(server.post(MIGRATIONS, &migration("first")).await.0, 201);
    let (code, body) = server.post(MIGRATIONS, &migration("second")).await;
    assert_eq!(code, 400);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("in-flight migration detected")
    );
    server.cluster().thaw("default", "web");
    let kind = "VirtualMachineInstanceMigration";
    let done = wait_for(&server, kind, "first", "phase", json!("Succeeded")).await;
    let state = &done["status"]["migrationState"];
    assert_eq!(
        (&state["sourceNode"], &state["targetNode"]),
        (&json!("node-1"), &json!("node-2"))
    );
    assert_eq!(server.post(MIGRATIONS, &migration("second")).await.0, 201);
}

#[tokio::test]
async fn instance_types_can_be_seeded_and_must_exist() {
    let large = json!({
        "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "large"},
        "spec": {"cpu": {"guest": 4}, "memory": {"guest": "8Gi"}},
    });
    let server = Server::with(SimulatorConfig {
        seed: ClusterSeed {
            objects: vec![large],
            ..ClusterSeed::default()
        },
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    })
    .await;
    let path = "/apis/instancetype.kubevirt.io/v1beta1/virtualmachineclusterinstancetypes";
    assert_eq!(server.get(path).await.1["items"][0]["metadata"]["name"], "large");
    let mut vm = machine("Always");
    vm["spec"]["instancetype"] = json!({"name": "huge"});
    let (code, body) = server.post(MACHINES, &vm).await;
    assert_eq!(
        (code, &body["details"]["causes"][0]["field"]),
        (422, &json!("spec.instancetype"))
    );
    vm["spec"]["instancetype"]["name"] = json!("large");
    assert_eq!(server.post(MACHINES, &vm).await.0, 201);
}

#[tokio::test]
async fn a_limited_user_may_do_what_the_grants_say() {
    let server = Server::start().await;
    server.post(MACHINES, &machine("Halted")).await;
    server.wait_for_status("Stopped").await;
    let grants = [
        Grant::new(&["get", "list"], &["virtualmachines"], &["default"]),
        Grant::new(&["update"], &["virtualmachines/start"], &["default"]),
    ];
    let token = Login::read(&server.simulator.add_user("operator", &grants)).token;
    let ask =
        async |method: Method, path: &str| answer(server.request_as(&token, method, path).send().await.unwrap()).await;
    assert_eq!(ask(Method::GET, MACHINES).await.0, 200);
    assert_eq!(ask(Method::GET, "/apis/kubevirt.io/v1/virtualmachines").await.0, 403);
    let (code, body) = ask(Method::DELETE, &format!("{MACHINES}/web")).await;
    assert_eq!(code, 403);
    assert_eq!(
        body["message"],
        "virtualmachines.kubevirt.io \"web\" is forbidden: User \"operator\" cannot delete resource \
         \"virtualmachines\" in API group \"kubevirt.io\" in the namespace \"default\""
    );
    let faults = server.simulator.faults();
    let refusal = Refusal::new("update", "virtualmachines/start").for_user("operator");
    faults.refuse_some(refusal.clone());
    assert_eq!(
        ask(Method::PUT, &format!("{POWER}/virtualmachines/web/start")).await.0,
        403
    );
    faults.allow_some(&refusal);
    assert_eq!(
        ask(Method::PUT, &format!("{POWER}/virtualmachines/web/start")).await.0,
        202
    );
}
