//! The document that is served, and whether the server does what it says about sessions.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, send};
use crate::coverage::PUBLIC;
use crate::server::{Home, Replica, workspace};

const BASE: &str = "/api/v1";
const SOME_ID: &str = "01983f0e-0000-7000-8000-000000000000";

/// One operation of the document.
struct Operation {
    method: Method,
    path: String,
    description: Value,
}

impl Operation {
    fn id(&self) -> &str {
        self.description["operationId"].as_str().unwrap_or_default()
    }

    /// The path below the base.
    fn path(&self) -> &str {
        self.path.strip_prefix(BASE).expect("every path has the base path")
    }

    /// Method and path below the base: `GET /systems`.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path())
    }

    /// Whether anybody may call it.
    fn is_public(&self) -> bool {
        let name = self.name();
        PUBLIC.iter().any(|(public, _)| *public == name)
    }

    /// The path below the base, with an id in the place of every parameter.
    fn address(&self) -> String {
        let parts = self
            .path()
            .split('/')
            .map(|part| if part.starts_with('{') { SOME_ID } else { part });
        parts.collect::<Vec<_>>().join("/")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_served_document_is_the_one_that_was_reviewed_and_tells_the_truth_about_sessions() {
    let home = Home::new().await;
    let server = Replica::start(&home, "api", &[]).await;
    let anybody = Caller::new(&home.client, &server, None);
    let served = anybody.get("/openapi.json").await.ok(200);

    let reviewed = std::fs::read_to_string(workspace().join("docs/openapi/v1.json")).unwrap();
    let reviewed: Value = serde_json::from_str(&reviewed).unwrap();
    assert!(
        served == reviewed,
        "docs/openapi/v1.json is stale; `cargo xtask openapi` writes it"
    );

    let page = home.client.get(server.site("/docs/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(
        page.text().await.unwrap().contains("swagger-ui"),
        "the document is shown to people"
    );

    let operations = operations(&served);
    assert!(operations.len() > 40, "{} operations", operations.len());
    every_operation_is_described(&operations);
    join_all(
        operations
            .iter()
            .map(|operation| asks_for_a_session(&anybody, operation)),
    )
    .await;
}

/// The operations of a document, as the tables of other tests name them: `GET /systems`.
pub fn names(document: &Value) -> BTreeSet<String> {
    operations(document).iter().map(Operation::name).collect()
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, description) in item.as_object().into_iter().flatten() {
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                description: description.clone(),
            });
        }
    }
    operations
}

fn every_operation_is_described(operations: &[Operation]) {
    let mut ids: Vec<&str> = operations.iter().map(Operation::id).collect();
    ids.sort_unstable();
    assert!(!ids.contains(&""), "an operation has no operationId");
    assert!(
        ids.windows(2).all(|pair| pair[0] != pair[1]),
        "an operationId is used twice: {ids:?}"
    );
    for operation in operations {
        let id = operation.id();
        let summary = operation.description["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty(), "{id} has no summary");
        let expected = if operation.is_public() {
            json!([])
        } else {
            json!([{"session": []}])
        };
        assert_eq!(operation.description["security"], expected, "security of {id}");
    }
}

async fn asks_for_a_session(anybody: &Caller, operation: &Operation) {
    let request = anybody.request(operation.method.clone(), &operation.address());
    let reply = send(request).await;
    let refused = reply.status == 401 && reply.code() == "UNAUTHORIZED";
    assert_eq!(
        refused,
        !operation.is_public(),
        "{} without a session: {}",
        operation.id(),
        reply.text
    );
    assert!(refused || reply.status < 500, "{}: {}", operation.id(), reply.text);
}
