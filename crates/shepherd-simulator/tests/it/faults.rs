//! Faults on demand.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use shepherd_simulator::{FaultEffect, FaultRule};

use crate::server::{CONFIG_MAPS, MACHINES, Server, answer, config_map, machine};

#[tokio::test]
async fn the_next_request_can_be_refused_dropped_or_broken_off() {
    let server = Server::start().await;
    let faults = server.simulator.faults();
    faults.inject(FaultRule::next(1, "GET", "/configmaps", FaultEffect::throttled(7)));
    let response = server.open(CONFIG_MAPS).await;
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(answer(response).await.1["reason"], "TooManyRequests");

    faults.inject(FaultRule::next(1, "GET", "/configmaps", FaultEffect::DropConnection));
    assert!(server.request(Method::GET, CONFIG_MAPS).send().await.is_err());
    faults.inject(FaultRule::next(1, "GET", "/configmaps", FaultEffect::TruncateBody));
    let text = server.open(CONFIG_MAPS).await.text().await.unwrap();
    assert!(text.starts_with('{') && !text.ends_with('}'));

    assert_eq!(server.get(CONFIG_MAPS).await.0, 200);
    let codes: Vec<u16> = server
        .cluster()
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(codes.first(), Some(&429));
    assert!(codes.contains(&0), "an unanswered request has no code");
}

#[tokio::test]
async fn a_hanging_request_gets_no_answer() {
    let server = Server::start().await;
    server
        .simulator
        .faults()
        .inject(FaultRule::always("", "/configmaps", FaultEffect::Hang));
    let pending = server
        .request(Method::GET, CONFIG_MAPS)
        .timeout(Duration::from_millis(200))
        .send()
        .await;
    assert!(pending.unwrap_err().is_timeout());
    server.simulator.faults().clear();
    assert_eq!(server.get(CONFIG_MAPS).await.0, 200);
}

#[tokio::test]
async fn permissions_and_quotas_can_be_taken_away() {
    let server = Server::start().await;
    let faults = server.simulator.faults();
    faults.refuse("create", "configmaps");
    assert_eq!(server.post(CONFIG_MAPS, &config_map("settings", "1")).await.0, 403);
    faults.allow("create", "configmaps");
    faults.exceed_quota("default");
    let (code, body) = server.post(CONFIG_MAPS, &config_map("settings", "1")).await;
    assert_eq!(code, 403);
    assert!(body["message"].as_str().unwrap().contains("exceeded quota"));
}

#[tokio::test]
async fn a_machine_can_freeze_and_get_lost() {
    let server = Server::start().await;
    let faults = server.simulator.faults();
    faults.freeze_vm("default", "web");
    server.post(MACHINES, &machine("Always")).await;
    assert!(server.get(&format!("{MACHINES}/web")).await.1["status"].is_null());
    faults.thaw_vm("default", "web");
    server.wait_for_status("Running").await;
    faults.lose_vm("default", "web");
    assert_eq!(server.get(&format!("{MACHINES}/web")).await.0, 404);
}

#[tokio::test]
async fn faults_can_be_switched_over_http() {
    let server = Server::start().await;
    let control = "/simulator/faults";
    let rule =
        json!({"path_contains": "/nodes", "effect": {"type": "status", "code": 503, "reason": "ServiceUnavailable"}});
    let (code, shown) = server
        .put(
            control,
            &json!({"rules": [rule], "frozen": [{"namespace": "a", "name": "b"}]}),
        )
        .await;
    assert_eq!((code, &shown["frozen"][0]["name"]), (200, &json!("b")));
    assert_eq!(server.get("/api/v1/nodes").await.0, 503);

    let restricted = server
        .request_as(&server.restricted(), Method::GET, control)
        .send()
        .await
        .unwrap();
    assert_eq!(answer(restricted).await.0, 403);
    assert_eq!(server.put(control, &json!({"nonsense": 1})).await.0, 400);
    assert_eq!(
        server.request(Method::DELETE, control).send().await.unwrap().status(),
        200
    );
    assert_eq!(server.get("/api/v1/nodes").await.0, 200);
}
