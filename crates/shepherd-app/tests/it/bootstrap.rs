//! Emergency access from the server's host, its end, and what the doctor says about it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, send};
use crate::server::{Home, Replica, SEEDED_PASSWORD};
use crate::world::{PASSWORD, log_in, text};

const ADMIN_PASSWORD: &str = "loud harbour lamp 18";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emergency_access_is_given_on_the_host_recorded_and_ends() {
    let home = Home::new().await;
    home.seed().await;
    let server = Replica::start(&home, "api,worker", &[]).await;
    let nobody = Caller::new(&home.client, &server, None);
    let token = log_in(&nobody, "admin", SEEDED_PASSWORD).await;
    let admin = Caller::new(&home.client, &server, Some(token));
    let change = json!({"old_password": SEEDED_PASSWORD, "new_password": ADMIN_PASSWORD});
    admin.post("/auth/change-password", &change).await.ok(204);
    let user = json!({"username": "Rescue", "password": PASSWORD, "force_password_change": false});
    let rescue = text(&admin.post("/admin/users", &user).await.ok(201)["id"]);
    assert_eq!(
        home.run(&["doctor"], &[("LOG_LEVEL", "error")]).await,
        (true, "Nothing to report.\n".to_owned())
    );

    let (succeeded, said) = home.run(&["break-glass", "--user", "nobody"], &[]).await;
    assert!(!succeeded && said.contains("must exist and be enabled"), "{said}");
    let (succeeded, said) = home.run(&["break-glass", "--user", "rescue"], &[]).await;
    assert!(succeeded && said.contains("Bootstrap role"), "{said}");
    let session = Caller::new(&home.client, &server, Some(log_in(&nobody, "rescue", PASSWORD).await));
    session.get("/admin/users").await.ok(200);
    told_and_recorded(&home, &admin, &rescue).await;
    the_doctor_names_it(&home).await;

    an_administrators_new_password_ends_it(&home, &admin, &rescue).await;
    nobody_else_ends_it_and_it_can_be_removed(&home, &admin, &rescue).await;
    a_day_ends_it(&home, &rescue).await;
}

async fn told_and_recorded(home: &Home, admin: &Caller, rescue: &str) {
    let rows = home
        .sql(
            "SELECT action, action_code, performed_by, resource_type, resource_id, parent_id, params \
             FROM audit_logs WHERE action LIKE 'bootstrap.%'",
        )
        .await;
    let [row] = rows.as_slice() else {
        panic!("one row was expected: {rows:?}");
    };
    assert_eq!(row["action_code"], "SECURITY");
    assert_eq!(row["performed_by"], "system:bootstrap");
    assert_eq!(
        (&row["resource_type"], &row["resource_id"]),
        (&json!("role"), &json!("role-bootstrap"))
    );
    assert_eq!(row["parent_id"], *rescue);
    let inbox = admin.get("/notifications").await.ok(200);
    let alert = inbox["items"].as_array().and_then(|items| {
        items
            .iter()
            .find(|item| item["params"]["code"] == "BREAK_GLASS")
            .cloned()
    });
    assert_eq!(alert.map(|alert| alert["severity"].clone()), Some(json!("urgent")));
}

async fn the_doctor_names_it(home: &Home) {
    let (succeeded, said) = home.run(&["doctor"], &[]).await;
    assert!(
        !succeeded && said.contains("Rescue holds the Bootstrap role until"),
        "{said}"
    );
    let (_, said) = home.run(&["doctor", "--json"], &[("LOG_LEVEL", "error")]).await;
    let (document, _) = said.split_once("\nshepherd:").expect("the finding count follows");
    let findings: Value = serde_json::from_str(document).unwrap();
    assert_eq!(findings[0]["check"], "bootstrap_binding");
    home.texts(
        "WITH broken AS (UPDATE roles SET permissions = permissions || '{vm:fly}'::text[] \
         WHERE key = 'role-platform-admin' RETURNING id) SELECT id::text FROM broken",
    )
    .await;
    let (_, said) = home.run(&["doctor"], &[]).await;
    for check in ["unknown_permissions", "platform_admin_keys"] {
        assert!(said.contains(check), "{said}");
    }
    home.texts(
        "WITH mended AS (UPDATE roles SET permissions = '{platform:admin}' WHERE key = 'role-platform-admin' \
         RETURNING id) SELECT id::text FROM mended",
    )
    .await;
}

async fn an_administrators_new_password_ends_it(home: &Home, admin: &Caller, rescue: &str) {
    let path = format!("/admin/users/{rescue}");
    let body = json!({"password": "another bicycle bell", "force_password_change": false});
    send(admin.request(Method::PATCH, &path).json(&body)).await.ok(200);
    assert_eq!(ends(home).await, ["password_changed"]);
    assert_eq!(bindings(home).await, 0);
}

async fn nobody_else_ends_it_and_it_can_be_removed(home: &Home, admin: &Caller, rescue: &str) {
    assert!(home.run(&["break-glass", "--user", "rescue"], &[]).await.0);
    let listed = admin.get(&format!("/admin/users/{rescue}/role-bindings")).await.ok(200);
    let binding = &listed["items"][0];
    assert_eq!(binding["source"], "break_glass");
    let path = format!("/admin/users/{rescue}/role-bindings/{}", text(&binding["id"]));
    admin.delete(&path).await.ok(204);
    assert_eq!(ends(home).await, ["password_changed", "removed"]);
}

async fn a_day_ends_it(home: &Home, rescue: &str) {
    assert!(home.run(&["break-glass", "--user", "rescue"], &[]).await.0);
    home.texts(&format!(
        "WITH aged AS (UPDATE role_bindings SET expires_at = now() - interval '1 second' WHERE user_id = '{rescue}' \
         RETURNING id) SELECT id::text FROM aged"
    ))
    .await;
    home.texts(
        "SELECT id::text FROM graphile_worker.add_job('periodic_job', payload => '{\"job\": \"bootstrap_expiry\"}'::json)",
    )
    .await;
    crate::server::eventually("the binding is gone", crate::server::PATIENCE, async || {
        (bindings(home).await == 0).then_some(())
    })
    .await;
    assert_eq!(ends(home).await, ["password_changed", "removed", "expired"]);
}

async fn bindings(home: &Home) -> i64 {
    home.count("role_bindings WHERE source = 'break_glass'").await
}

/// Why bindings ended, oldest first.
async fn ends(home: &Home) -> Vec<String> {
    home.texts(
        "SELECT params ->> 'reason' FROM audit_logs WHERE action = 'bootstrap.expire' AND action_code = 'SECURITY' \
         AND performed_by = 'system:bootstrap' ORDER BY performed_at, id",
    )
    .await
}
