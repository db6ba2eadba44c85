//! Values where they do not belong: fields that are not the client's to set, and text that means something elsewhere.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{NOTHING, Target, try_login};
use crate::client::send;

/// Columns that a body sets only where its schema says so.
const NOT_THE_CLIENTS: [&str; 7] = [
    "built_in",
    "created_by",
    "enabled",
    "id",
    "password_hash",
    "role",
    "row_version",
];
/// What ends a statement, escapes, matches everything, or is replaced in the texts of this product.
const META: [&str; 14] = [
    "' OR '1'='1",
    "admin' --",
    "'; DROP TABLE users; --",
    "\\",
    "\\'; SELECT pg_sleep(10); --",
    "\"",
    "%",
    "_",
    "$1",
    "?",
    "{where}",
    "{limit}",
    "'||(SELECT version())||'",
    "/*",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_set_or_run_that_the_document_does_not_offer() {
    let target = Target::patient().await;
    no_body_sets_what_is_not_the_clients(&target).await;
    text_that_means_something_in_sql_is_text(&target).await;
    a_nul_is_refused_wherever_it_is(&target).await;
}

async fn no_body_sets_what_is_not_the_clients(target: &Target) {
    let admin = target.admin();
    let document = admin.get("/openapi.json").await.ok(200);
    let mut tried = BTreeSet::new();
    let mut findings = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            // Nothing of a body is looked at before its signature.
            if schema.is_null() || path == "/api/v1/webhooks/approval-callback" {
                continue;
            }
            let mut known = BTreeSet::new();
            properties(&document, schema, &mut known);
            assert!(!known.is_empty(), "{method} {path} has a body of nothing");
            let method: Method = method.to_uppercase().parse().unwrap();
            let address = address(path);
            for key in NOT_THE_CLIENTS.into_iter().filter(|key| !known.contains(*key)) {
                let body = json!({key: value_for(key)});
                let reply = send(admin.request(method.clone(), &address).json(&body)).await;
                let as_expected = reply.status == 400
                    && reply.code() == "INVALID_REQUEST_FIELD"
                    && reply.body["params"]["field"] == key;
                if !as_expected {
                    findings.push(format!("{method} {path} with {key}: {} {}", reply.status, reply.text));
                }
                tried.insert(format!("{method} {path}"));
            }
        }
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    assert!(tried.len() > 15, "{tried:?}");
}

/// The path below the base, with an id in the place of every parameter.
fn address(path: &str) -> String {
    let path = path.strip_prefix("/api/v1").expect("every path has the base path");
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { NOTHING } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// The keys that a schema has, through references and alternatives.
fn properties(document: &Value, schema: &Value, into: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
    {
        properties(document, &document["components"]["schemas"][name], into);
    }
    for part in ["allOf", "anyOf", "oneOf"] {
        for alternative in schema[part].as_array().into_iter().flatten() {
            properties(document, alternative, into);
        }
    }
    into.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys().cloned()),
    );
}

fn value_for(key: &str) -> Value {
    match key {
        "built_in" | "enabled" => json!(true),
        "row_version" => json!(1),
        "role" => json!("role-platform-admin"),
        "created_by" => json!("system:seed"),
        "password_hash" => json!("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAA"),
        _ => json!(NOTHING),
    }
}

async fn text_that_means_something_in_sql_is_text(target: &Target) {
    let (admin, nobody) = (target.admin(), target.nobody());
    let users = target.home.count("users").await;
    for text in META {
        for name in [text.to_owned(), format!("admin{text}")] {
            try_login(&nobody, &name, text)
                .await
                .refused(401, "INVALID_CREDENTIALS");
        }
        let path = format!("/admin/users?q={}", percent(text));
        let found = admin.get(&path).await.ok(200);
        assert_eq!(found["pagination"]["total"], 0, "{text}");
    }
    let found = admin.get("/admin/users?q=dmi").await.ok(200);
    assert_eq!(found["pagination"]["total"], 1, "a search that finds somebody");
    assert_eq!(target.home.count("users").await, users);
}

async fn a_nul_is_refused_wherever_it_is(target: &Target) {
    let (admin, nobody) = (target.admin(), target.nobody());
    for (name, password) in [("adm\0in", "x"), ("admin\0", "x"), ("admin", "loud harbour lamp 18\0")] {
        try_login(&nobody, name, password).await.refused(400, "INVALID_REQUEST");
    }
    for path in [
        "/admin/users?q=%00",
        "/admin/users/%00",
        "/admin/roles/%00",
        "/approvals/%00",
        "/approvals/TKT-%00",
    ] {
        let reply = admin.get(path).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text);
    }
}

/// Every byte in its `%XX` form.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
