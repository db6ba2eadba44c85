//! Creates, updates, patches and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{APPLY, CONFIG_MAPS, MACHINES, MERGE, Server, answer, config_map, machine};

fn applied(manager: &str, more: &str) -> String {
    format!("{MACHINES}/web?fieldManager={manager}{more}")
}

#[tokio::test]
async fn a_dry_run_validates_and_stores_nothing() {
    let server = Server::start().await;
    let (code, body) = server
        .patch(&applied("me", "&dryRun=All&force=true"), APPLY, &machine("Always"))
        .await;
    assert_eq!((code, &body["metadata"]["name"]), (201, &json!("web")));
    assert_eq!(server.get(&format!("{MACHINES}/web")).await.0, 404);

    let mut refused = machine("Always");
    refused["metadata"]["annotations"] = json!({"note": "reject-me"});
    let (code, body) = server.patch(&applied("me", "&dryRun=All"), APPLY, &refused).await;
    assert_eq!((code, &body["reason"]), (422, &json!("Invalid")));
    assert_eq!(body["details"]["causes"][0]["field"], "metadata.annotations");
    assert!(server.cluster().mutations().is_empty(), "dry runs are no mutations");
}

#[tokio::test]
async fn applying_twice_keeps_the_version_and_foreign_fields_conflict() {
    let server = Server::start().await;
    let (code, first) = server
        .patch(&applied("shepherd", "&force=true"), APPLY, &machine("Halted"))
        .await;
    assert_eq!(code, 201);
    server.wait_for_status("Stopped").await;
    let before = server.get(&format!("{MACHINES}/web")).await.1;
    let (code, second) = server.patch(&applied("shepherd", ""), APPLY, &machine("Halted")).await;
    assert_eq!(code, 200);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);

    let wanted = machine("Always");
    let (code, conflict) = server.patch(&applied("other", ""), APPLY, &wanted).await;
    assert_eq!((code, &conflict["reason"]), (409, &json!("Conflict")));
    assert_eq!(conflict["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert_eq!(conflict["details"]["causes"][0]["field"], ".spec.runStrategy");
    assert_eq!(
        server.patch(&applied("other", "&force=true"), APPLY, &wanted).await.0,
        200
    );
    server.wait_for_status("Running").await;
    let nobody = server.patch(&format!("{MACHINES}/web"), APPLY, &wanted).await;
    assert_eq!(nobody.0, 422, "apply needs a field manager");
}

#[tokio::test]
async fn versions_guard_updates() {
    let server = Server::start().await;
    let (_, created) = server.post(CONFIG_MAPS, &config_map("settings", "1")).await;
    let path = format!("{CONFIG_MAPS}/settings");
    let (code, merged) = server.patch(&path, MERGE, &json!({"data": {"value": "2"}})).await;
    assert_eq!((code, &merged["data"]["value"]), (200, &json!("2")));

    let mut stale = created.clone();
    stale["data"]["value"] = json!("3");
    let (code, refusal) = server.put(&path, &stale).await;
    assert_eq!((code, &refusal["reason"]), (409, &json!("Conflict")));
    let mut fresh = merged;
    fresh["data"]["value"] = json!("3");
    assert_eq!(server.put(&path, &fresh).await.0, 200);

    let patch = json!([{"op": "replace", "path": "/data/value", "value": "4"}]);
    let (code, patched) = server.patch(&path, "application/json-patch+json", &patch).await;
    assert_eq!((code, &patched["data"]["value"]), (200, &json!("4")));
    assert_eq!(
        server.post(CONFIG_MAPS, &config_map("settings", "1")).await.1["reason"],
        "AlreadyExists"
    );
}

#[tokio::test]
async fn refusals_carry_their_reason() {
    let server = Server::start().await;
    let nowhere = "/apis/kubevirt.io/v1/namespaces/nowhere/virtualmachines";
    let mut vm = machine("Always");
    vm["metadata"]["namespace"] = json!("nowhere");
    let (code, body) = server.post(nowhere, &vm).await;
    assert_eq!(
        (code, &body["message"]),
        (404, &json!("namespaces \"nowhere\" not found"))
    );

    let mut misspelt = machine("Always");
    misspelt["spec"]["runstrategy"] = json!("Always");
    let (code, body) = server
        .post(&format!("{MACHINES}?fieldValidation=Strict"), &misspelt)
        .await;
    assert_eq!(code, 400);
    assert_eq!(
        body["message"],
        "strict decoding error: unknown field \"spec.runstrategy\""
    );

    let mut nameless = machine("Always");
    nameless["metadata"]["name"] = json!("Not_A_Name");
    let (code, body) = server.post(MACHINES, &nameless).await;
    assert_eq!(
        (code, &body["details"]["causes"][0]["field"]),
        (422, &json!("metadata.name"))
    );

    let anonymous = server
        .request_as("nonsense", Method::GET, MACHINES)
        .send()
        .await
        .unwrap();
    assert_eq!(answer(anonymous).await.0, 401);
    let restricted = server.restricted();
    let response = server
        .request_as(&restricted, Method::GET, MACHINES)
        .send()
        .await
        .unwrap();
    let (code, body) = answer(response).await;
    assert_eq!((code, &body["reason"]), (403, &json!("Forbidden")));
    let version = server
        .request_as(&restricted, Method::GET, "/version")
        .send()
        .await
        .unwrap();
    assert_eq!(answer(version).await.1["gitVersion"], "v1.33.1");
}

#[tokio::test]
async fn lists_are_paged_and_selected() {
    let server = Server::start().await;
    for name in ["one", "two", "three"] {
        server.post(CONFIG_MAPS, &config_map(name, "1")).await;
    }
    let (_, page) = server
        .get(&format!("{CONFIG_MAPS}?limit=2&labelSelector=app%3Dshop"))
        .await;
    let token = page["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = server.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&page), ["one", "three"]);
    assert_eq!(names(&rest), ["two"]);
    let (_, none) = server
        .get(&format!("{CONFIG_MAPS}?labelSelector=app%21%3Dshop,app"))
        .await;
    assert!(names(&none).is_empty());

    let removed = server
        .delete(&format!("{CONFIG_MAPS}?labelSelector=app%3Dshop"), &json!({}))
        .await;
    assert_eq!((removed.0, names(&removed.1).len()), (200, 3));
    assert!(names(&server.get(CONFIG_MAPS).await.1).is_empty());
}
