//! Kinds that are described by a definition.

use serde_json::{Value, json};
use shepherd_simulator::{SimulatorConfig, Timing, read_definitions};

use crate::server::{APPLY, Server};

const TYPES: &str = "/apis/instancetype.kubevirt.io/v1beta1/virtualmachineclusterinstancetypes";
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: virtualmachineclusterinstancetypes.instancetype.kubevirt.io
spec:
  group: instancetype.kubevirt.io
  names: {plural: virtualmachineclusterinstancetypes, kind: VirtualMachineClusterInstancetype}
  scope: Cluster
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            required: [cpu]
            properties:
              cpu:
                type: object
                required: [guest]
                properties:
                  guest: {type: integer, minimum: 1}
                  model: {type: string, default: host-model}
              gpus:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string}
                    deviceName: {type: string}
";

async fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("types.yaml"), DEFINITION).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not a definition").unwrap();
    let crds = read_definitions(folder.path()).unwrap();
    assert_eq!(crds.len(), 1);
    Server::with(SimulatorConfig {
        timing: Timing::instant(),
        crds,
        ..SimulatorConfig::default()
    })
    .await
}

fn kind(spec: Value) -> Value {
    json!({
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "large"},
        "spec": spec,
    })
}

#[tokio::test]
async fn unknown_fields_are_pruned_and_defaults_filled_in() {
    let server = server().await;
    let sent = kind(json!({"cpu": {"guest": 2, "gest": 3}}));
    let (code, refused) = server.post(&format!("{TYPES}?fieldValidation=Strict"), &sent).await;
    assert_eq!(code, 400);
    assert_eq!(
        refused["message"],
        "strict decoding error: unknown field \"spec.cpu.gest\""
    );
    let response = server
        .request(reqwest::Method::POST, TYPES)
        .json(&sent)
        .send()
        .await
        .unwrap();
    let warning = response.headers()["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("spec.cpu.gest"), "{warning}");
    let stored = server.get(&format!("{TYPES}/large")).await.1;
    assert_eq!(stored["spec"], json!({"cpu": {"guest": 2, "model": "host-model"}}));
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualmachineclusterinstancetypes.\
                instancetype.kubevirt.io";
    let shown = server.get(path).await.1;
    assert!(shown["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].is_object());
}

#[tokio::test]
async fn values_are_validated_with_their_causes() {
    let server = server().await;
    let (code, refused) = server.post(TYPES, &kind(json!({"cpu": {"guest": 0}}))).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")));
    let cause = &refused["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.cpu.guest");
    assert_eq!(cause["reason"], "FieldValueInvalid");
    let (_, refused) = server.post(TYPES, &kind(json!({}))).await;
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueRequired");
    let (_, refused) = server.post(TYPES, &kind(json!({"cpu": {"guest": "two"}}))).await;
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueTypeInvalid");
}

#[tokio::test]
async fn keyed_lists_merge_item_by_item() {
    let server = server().await;
    let apply = async |manager: &str, gpu: &str| {
        let path = format!("{TYPES}/large?fieldManager={manager}");
        let sent = kind(json!({"cpu": {"guest": 2}, "gpus": [{"name": gpu, "deviceName": "nvidia.com/A10"}]}));
        server.patch(&path, APPLY, &sent).await
    };
    assert_eq!(apply("one", "first").await.0, 201);
    let (code, merged) = apply("two", "second").await;
    assert_eq!(code, 200);
    assert_eq!(merged["spec"]["gpus"].as_array().unwrap().len(), 2);
    let (_, moved) = apply("one", "third").await;
    let names: Vec<&Value> = moved["spec"]["gpus"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gpu| &gpu["name"])
        .collect();
    assert_eq!(
        names,
        ["second", "third"],
        "what a manager no longer sends goes, and only that"
    );
}
