//! Watches: events, initial state, bookmarks, expiry and cuts.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, MERGE, Server, config_map};

/// A watch being read line by line.
struct Watch {
    response: Response,
    buffer: Vec<u8>,
}

impl Watch {
    async fn open(server: &Server, query: &str) -> Self {
        let response = server.open(&format!("{CONFIG_MAPS}?watch=true&{query}")).await;
        assert_eq!(response.status(), 200);
        Self {
            response,
            buffer: Vec::new(),
        }
    }

    /// The next event; `None` at the end; an error when the connection was cut.
    async fn next(&mut self) -> Result<Option<Value>, reqwest::Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap()));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk())
                .await
                .unwrap()?;
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    async fn event(&mut self) -> (String, Value) {
        let event = self.next().await.unwrap().unwrap();
        (event["type"].as_str().unwrap().to_owned(), event["object"].clone())
    }
}

async fn version(server: &Server) -> String {
    let (_, list) = server.get(CONFIG_MAPS).await;
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_watch_sees_what_happens_after_its_version() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("before", "1")).await;
    let version = version(&server).await;
    let mut watch = Watch::open(&server, &format!("resourceVersion={version}&labelSelector=app%3Dshop")).await;

    server.post(CONFIG_MAPS, &config_map("settings", "1")).await;
    let path = format!("{CONFIG_MAPS}/settings");
    server.patch(&path, MERGE, &json!({"data": {"value": "2"}})).await;
    server
        .patch(&path, MERGE, &json!({"metadata": {"labels": {"app": "bank"}}}))
        .await;
    server
        .patch(&path, MERGE, &json!({"metadata": {"labels": {"app": "shop"}}}))
        .await;
    server.delete(&path, &json!({})).await;

    let mut kinds = Vec::new();
    for _ in 0..5 {
        let (kind, object) = watch.event().await;
        assert_eq!(object["metadata"]["name"], "settings");
        kinds.push(kind);
    }
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]);
}

#[tokio::test]
async fn a_watch_list_ends_its_initial_events_with_a_bookmark() {
    let server = Server::start().await;
    server.cluster().set_bookmark_interval(Duration::from_millis(20));
    server.post(CONFIG_MAPS, &config_map("settings", "1")).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Watch::open(&server, query).await;
    let (kind, object) = watch.event().await;
    assert_eq!(
        (kind.as_str(), &object["metadata"]["name"]),
        ("ADDED", &json!("settings"))
    );
    let (kind, object) = watch.event().await;
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let (kind, object) = watch.event().await;
    assert_eq!(kind, "BOOKMARK");
    assert!(object["metadata"]["annotations"].is_null());
}

#[tokio::test]
async fn an_expired_version_is_gone() {
    let server = Server::start().await;
    let version = version(&server).await;
    let mut open = Watch::open(&server, &format!("resourceVersion={version}")).await;
    server.simulator.faults().expire_resource_versions();
    let mut late = Watch::open(&server, &format!("resourceVersion={version}")).await;
    for watch in [&mut open, &mut late] {
        let (kind, status) = watch.event().await;
        assert_eq!(
            (kind.as_str(), &status["code"], &status["reason"]),
            ("ERROR", &json!(410), &json!("Expired"))
        );
        assert!(watch.next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_watch_ends_in_time_or_is_cut() {
    let server = Server::start().await;
    let version = version(&server).await;
    let mut short = Watch::open(&server, &format!("resourceVersion={version}&timeoutSeconds=1")).await;
    assert!(short.next().await.unwrap().is_none());

    let mut cut = Watch::open(&server, &format!("resourceVersion={version}")).await;
    server.simulator.faults().drop_watches();
    assert!(cut.next().await.is_err());
}
