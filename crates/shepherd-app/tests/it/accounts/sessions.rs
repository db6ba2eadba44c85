//! Sessions: one's own and, for administrators, those of others.

use reqwest::Method;
use serde_json::{Value, json};

use super::{NOTHING, Office};
use crate::client::{Caller, send};
use crate::world::{PASSWORD, log_in, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_ended_by_their_users_and_by_those_above() {
    let office = Office::start().await;
    office.choose_a_password().await;
    users_end_their_own_sessions_only(&office).await;
    all_sessions_but_the_present_one_end(&office).await;
    administrators_end_sessions_of_those_below(&office).await;
}

async fn own_sessions(caller: &Caller) -> Vec<Value> {
    let listed = caller.get("/auth/sessions").await.ok(200);
    listed["items"].as_array().cloned().unwrap_or_default()
}

/// The id of the first session that is, or is not, the one of the request.
fn session_id(sessions: &[Value], current: bool) -> String {
    let found = sessions.iter().find(|session| session["current"] == current);
    text(&found.expect("a session")["id"])
}

/// A request without a body.
async fn revoke_all(caller: &Caller, path: &str) -> Value {
    send(caller.request(Method::POST, path)).await.ok(200)
}

async fn recorded(office: &Office, action: &str, resource: &str) -> i64 {
    let rows = format!("audit_logs WHERE action = '{action}' AND resource_id = '{resource}'");
    office.home.count(&rows).await
}

async fn users_end_their_own_sessions_only(office: &Office) {
    let sue = office.enrol("sue").await;
    let caller = office.caller(&sue.token);
    for _ in 0..2 {
        log_in(&office.nobody(), "sue", PASSWORD).await;
    }
    let sessions = own_sessions(&caller).await;
    let current = sessions.iter().filter(|session| session["current"] == true);
    assert_eq!((sessions.len(), current.count()), (3, 1), "{sessions:?}");
    assert!(
        sessions.iter().all(|session| session["ip"] == "127.0.0.1"),
        "{sessions:?}"
    );

    let idle = session_id(&sessions, false);
    let aged = format!(
        "UPDATE user_sessions SET last_seen_at = now() - interval '31 minutes' WHERE id = '{idle}' RETURNING id::text"
    );
    office.home.texts(&aged).await;
    let sessions = own_sessions(&caller).await;
    assert_eq!(sessions.len(), 2, "an idle session has ended");
    let foreign = session_id(&own_sessions(&office.admin()).await, true);
    for ended in [&idle, &foreign, NOTHING] {
        let refused = caller.delete(&format!("/auth/sessions/{ended}")).await;
        assert_eq!(refused.refused(404, "SESSION_NOT_FOUND"), json!({"id": ended}));
    }
    office.admin().get("/auth/me").await.ok(200);

    let other = session_id(&sessions, false);
    let path = format!("/auth/sessions/{other}");
    caller.delete(&path).await.ok(204);
    caller.delete(&path).await.refused(404, "SESSION_NOT_FOUND");
    assert_eq!(recorded(office, "auth.token_revoke", &other).await, 1);
    let left = own_sessions(&caller.at(&office.two)).await;
    assert_eq!((left.len(), &left[0]["current"]), (1, &json!(true)));
    let own = format!("/auth/sessions/{}", session_id(&left, true));
    caller.delete(&own).await.ok(204);
    let refused = caller.at(&office.two).get("/auth/me").await;
    assert_eq!(refused.refused(401, "UNAUTHORIZED")["reason"], "revoked");
}

async fn all_sessions_but_the_present_one_end(office: &Office) {
    const PATH: &str = "/auth/sessions/revoke-all";
    let tim = office.enrol("tim").await;
    let caller = office.caller(&tim.token);
    let other = office.caller(&log_in(&office.nobody(), "tim", PASSWORD).await);
    other.at(&office.two).get("/auth/me").await.ok(200);
    assert_eq!(revoke_all(&caller, PATH).await, json!({"revoked_count": 1}));
    other.at(&office.two).get("/auth/me").await.refused(401, "UNAUTHORIZED");
    assert_eq!(own_sessions(&caller.at(&office.two)).await.len(), 1);
    let again = caller.post(PATH, &json!({"keep_current": true})).await.ok(200);
    assert_eq!(again, json!({"revoked_count": 0}));
    assert_eq!(
        recorded(office, "auth.revoke_all", &tim.id).await,
        1,
        "nothing ended twice"
    );
    let last = caller.post(PATH, &json!({"keep_current": false})).await.ok(200);
    assert_eq!(last, json!({"revoked_count": 1}));
    caller.get("/auth/me").await.refused(401, "UNAUTHORIZED");
}

async fn administrators_end_sessions_of_those_below(office: &Office) {
    let admin = office.admin();
    let tom = office.enrol("tom").await;
    let caller = office.caller(&tom.token);
    log_in(&office.nobody(), "tom", PASSWORD).await;
    let path = format!("/admin/users/{}/sessions", tom.id);
    let all = format!("{path}/revoke-all");
    caller.get(&path).await.refused(403, "FORBIDDEN");
    let listed = admin.get(&format!("{path}?per_page=1")).await.ok(200);
    assert_eq!(listed["pagination"]["total"], 2);
    assert_eq!(listed["items"][0]["current"], false);

    let own = session_id(&own_sessions(&caller).await, true);
    let newest = format!("/admin/sessions/{}", text(&listed["items"][0]["id"]));
    assert!(!newest.ends_with(&own), "the newest session is the other one");
    admin.delete(&newest).await.ok(204);
    admin.delete(&newest).await.refused(404, "SESSION_NOT_FOUND");
    caller.get("/auth/me").await.ok(200);
    assert_eq!(revoke_all(&admin, &all).await, json!({"revoked_count": 1}));
    caller
        .at(&office.two)
        .get("/auth/me")
        .await
        .refused(401, "UNAUTHORIZED");
    assert_eq!(revoke_all(&admin, &all).await, json!({"revoked_count": 0}));
    assert_eq!(recorded(office, "auth.revoke_all", &tom.id).await, 1);
    let missing = [
        (
            Method::GET,
            format!("/admin/users/{NOTHING}/sessions"),
            "USER_NOT_FOUND",
        ),
        (
            Method::POST,
            format!("/admin/users/{NOTHING}/sessions/revoke-all"),
            "USER_NOT_FOUND",
        ),
        (
            Method::DELETE,
            format!("/admin/sessions/{NOTHING}"),
            "SESSION_NOT_FOUND",
        ),
    ];
    for (method, path, code) in missing {
        send(admin.request(method, &path)).await.refused(404, code);
    }

    let hana = office.enrol("hana").await;
    office.bind(&hana, &office.helpdesk_role("Helpdesk").await).await;
    let helpdesk = office.caller(&hana.token);
    let of_admin = session_id(&own_sessions(&admin).await, true);
    helpdesk
        .get(&format!("/admin/users/{}/sessions", office.admin.id))
        .await
        .refused(403, "GRANT_CEILING_EXCEEDED");
    let one = helpdesk.delete(&format!("/admin/sessions/{of_admin}")).await;
    one.refused(403, "GRANT_CEILING_EXCEEDED");
    let path = format!("/admin/users/{}/sessions/revoke-all", office.admin.id);
    let every = send(helpdesk.request(Method::POST, &path)).await;
    every.refused(403, "GRANT_CEILING_EXCEEDED");
    admin.get("/auth/me").await.ok(200);
    let below = format!("/admin/users/{}/sessions/revoke-all", tom.id);
    log_in(&office.nobody(), "tom", PASSWORD).await;
    assert_eq!(revoke_all(&helpdesk, &below).await, json!({"revoked_count": 1}));
}
