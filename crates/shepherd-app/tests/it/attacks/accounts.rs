//! Passwords and accounts that change while somebody uses them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use futures::future::join_all;
use serde_json::json;

use super::{Target, how_many, try_login};
use crate::client::Caller;
use crate::server::{PATIENCE, Replica};
use crate::world::{PASSWORD, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_away_is_gone_at_once_and_everywhere() {
    let target = Target::patient().await;
    a_replayed_password_change_is_refused(&target).await;
    of_twenty_password_changes_at_once_one_wins(&target).await;
    a_login_with_the_old_password_does_not_survive_the_change(&target).await;
    a_user_disabled_mid_request_gets_no_further(&target).await;
    a_disabled_role_grants_nothing_at_once(&target).await;
    no_part_of_a_long_password_is_ignored(&target).await;
}

async fn a_replayed_password_change_is_refused(target: &Target) {
    let dora = target.enrol("dora", None).await;
    let change = json!({"old_password": PASSWORD, "new_password": "another bicycle bell"});
    let session = target.caller(&dora.token);
    session.post("/auth/change-password", &change).await.ok(204);
    for session in [session.at(&target.two), session] {
        session
            .post("/auth/change-password", &change)
            .await
            .refused(400, "INVALID_CURRENT_PASSWORD");
    }
    try_login(&target.nobody(), "dora", PASSWORD)
        .await
        .refused(401, "INVALID_CREDENTIALS");
    try_login(&target.nobody(), "dora", "another bicycle bell")
        .await
        .ok(200);
}

async fn of_twenty_password_changes_at_once_one_wins(target: &Target) {
    const CHANGES: usize = 20;
    let erin = target.enrol("erin", None).await;
    let (one, two) = (target.caller(&erin.token), target.caller(&erin.token).at(&target.two));
    let changes = (0..CHANGES).map(|number| {
        let caller = if number % 2 == 0 { &one } else { &two };
        let body = json!({"old_password": PASSWORD, "new_password": format!("bicycle bell number {number}")});
        async move { caller.post("/auth/change-password", &body).await }
    });
    let replies = join_all(changes).await;
    assert_eq!(how_many(&replies, 204), 1);
    assert_eq!(how_many(&replies, 400), CHANGES - 1);
    let winner = replies.iter().position(|reply| reply.status == 204).unwrap_or_default();
    for reply in replies.into_iter().filter(|reply| reply.status == 400) {
        reply.refused(400, "INVALID_CURRENT_PASSWORD");
    }
    let password = format!("bicycle bell number {winner}");
    try_login(&target.nobody(), "erin", &password).await.ok(200);
    let changed = format!(
        "audit_logs WHERE action = 'user.password_change' AND outcome = 'success' AND resource_id = '{}'",
        erin.id
    );
    assert_eq!(target.home.count(&changed).await, 1);
}

/// A login that verified the old password while the change was under way opens no session that outlives it.
async fn a_login_with_the_old_password_does_not_survive_the_change(target: &Target) {
    const LOGINS: usize = 8;
    let fay = target.enrol("fay", None).await;
    let session = target.caller(&fay.token);
    let change = json!({"old_password": PASSWORD, "new_password": "another bicycle bell"});
    let nobody = target.nobody().at(&target.two);
    let logins = join_all((0..LOGINS).map(|_| try_login(&nobody, "fay", PASSWORD)));
    let (changed, logins) = tokio::join!(session.post("/auth/change-password", &change), logins);
    changed.ok(204);
    for reply in logins {
        if reply.status == 200 {
            let stolen = target.caller(&text(&reply.body["token"]));
            stolen.get("/auth/me").await.refused(401, "UNAUTHORIZED");
        } else {
            reply.refused(401, "INVALID_CREDENTIALS");
        }
    }
    session.get("/auth/me").await.ok(200);
}

async fn a_user_disabled_mid_request_gets_no_further(target: &Target) {
    let eve = target.enrol("eve", Some("role-operator")).await;
    let body = json!({"name": "slow"}).to_string();
    let (first, rest) = body.split_at(body.len() / 2);
    let mut upload = SlowUpload::begin(&target.one, &eve.token, body.len()).await;
    upload.send(first);

    let path = format!("/admin/users/{}", eve.id);
    target.patch(&path, &json!({"enabled": false})).await.ok(200);
    let session = target.caller(&eve.token);
    for session in [session.at(&target.two), session] {
        let params = session.get("/systems").await.refused(401, "UNAUTHORIZED");
        assert_eq!(params["reason"], "revoked");
    }

    upload.send(rest);
    let status = upload.status().await;
    let made = target.home.count("systems WHERE name = 'slow'").await;
    // It was authenticated while the account was good, so it may be finished; half of it may not.
    assert!(
        matches!((status, made), (201, 1) | (401 | 403, 0)),
        "status {status}, {made} Systems"
    );
    target
        .caller(&eve.token)
        .get("/systems")
        .await
        .refused(401, "UNAUTHORIZED");
    try_login(&target.nobody(), "eve", PASSWORD)
        .await
        .refused(401, "INVALID_CREDENTIALS");
}

/// `POST /systems` whose body comes piece by piece.
struct SlowUpload(TcpStream);

impl SlowUpload {
    /// Returns when the server has read the head and asks for the body.
    async fn begin(replica: &Replica, token: &str, length: usize) -> Self {
        let site = replica.site("");
        let address = site.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /api/v1/systems HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let (stream, said) = tokio::task::spawn_blocking(move || {
            let mut said = [0; 12];
            stream.read_exact(&mut said).unwrap();
            (stream, said)
        })
        .await
        .unwrap();
        assert_eq!(&said, b"HTTP/1.1 100");
        Self(stream)
    }

    fn send(&mut self, part: &str) {
        // A server that refuses may close before it has everything.
        let _ = self.0.write_all(part.as_bytes());
    }

    /// The status of the answer.
    async fn status(self) -> u16 {
        let mut stream = self.0;
        let said = tokio::task::spawn_blocking(move || {
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            said
        });
        let said = String::from_utf8_lossy(&said.await.unwrap()).into_owned();
        let (_, answer) = said.split_once("HTTP/1.1 ").expect("an answer");
        answer
            .get(..3)
            .and_then(|status| status.parse().ok())
            .expect("a status")
    }
}

async fn a_disabled_role_grants_nothing_at_once(target: &Target) {
    let role = json!({"name": "LogReader", "permissions": ["audit:read"]});
    let role = text(&target.admin().post("/admin/roles", &role).await.ok(201)["id"]);
    let gina = target.enrol("gina", Some(&role)).await;
    let both: [Caller; 2] = [target.caller(&gina.token), target.caller(&gina.token).at(&target.two)];
    for session in &both {
        session.get("/audit-logs").await.ok(200);
    }
    let path = format!("/admin/roles/{role}");
    target.patch(&path, &json!({"enabled": false})).await.ok(200);
    for session in &both {
        session.get("/audit-logs").await.refused(403, "FORBIDDEN");
    }
    target.patch(&path, &json!({"enabled": true})).await.ok(200);
    for session in &both {
        session.get("/audit-logs").await.ok(200);
    }
}

async fn no_part_of_a_long_password_is_ignored(target: &Target) {
    let nobody = target.nobody();
    let seventy_two = "lamp post".repeat(8);
    assert_eq!(seventy_two.len(), 72);
    let umlauts = "ü".repeat(128);
    for (name, password, others) in [
        (
            "hugo",
            format!("{seventy_two}1"),
            vec![
                seventy_two.clone(),
                format!("{seventy_two}2"),
                format!("{seventy_two}12"),
            ],
        ),
        (
            "ines",
            umlauts.clone(),
            vec![
                "ü".repeat(127),
                format!("{umlauts}ü"),
                format!("{umlauts}{}", "x".repeat(896)),
            ],
        ),
    ] {
        let user = json!({"username": name, "password": password, "force_password_change": false});
        target.admin().post("/admin/users", &user).await.ok(201);
        try_login(&nobody, name, &password).await.ok(200);
        for other in others {
            try_login(&nobody, name, &other)
                .await
                .refused(401, "INVALID_CREDENTIALS");
        }
        for padded in [format!(" {password}"), format!("{password} ")] {
            try_login(&nobody, name, &padded)
                .await
                .refused(401, "INVALID_CREDENTIALS");
        }
    }
    let too_long = "x".repeat(1025);
    for name in ["hugo", "nobody-at-all"] {
        try_login(&nobody, name, &too_long)
            .await
            .refused(400, "VALIDATION_FAILED");
    }
    let user = json!({"username": "jana", "password": format!("{umlauts}ü")});
    let refused = target.admin().post("/admin/users", &user).await;
    refused.refused(400, "PASSWORD_POLICY_VIOLATION");
}
