//! Consoles as a browser gets to them: asked for over the API, opened with a cookie, relayed from the cluster.
//!
//! [`browser`] plays the browser, with an RFB client that is not ours; [`prod`] is about approvals and replicas,
//! [`ends`] about what closes an open console, [`caps`] about how many there may be and how much goes through them.

pub mod browser;
mod caps;
mod ends;
mod process;
mod prod;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use self::browser::{Viewer, admitted, answered, ask, enter, knock, look, refusal, token, upgrade, visit};
use crate::client::{Reply, send};
use crate::world::{User, World, text};

/// Visitors that come with the same token at the same time.
const CROWD: usize = 50;
/// The part of a token that is looked for: long enough to be no coincidence.
const TELLING: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_in_test_is_given_at_once_and_opened_once() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    let first = the_answer_gives_a_cookie(&world, &vm).await;
    a_look_uses_nothing_up(&world, &vm, &first).await;
    strangers_stay_outside(&world, &vm, &first).await;
    a_viewer_sees_the_machine(&world, &vm, &first).await;
    a_used_token_is_refused(&world, &vm, &first).await;
    let second = of_a_crowd_one_comes_in(&world, &vm).await;
    for token in [first, second] {
        a_token_is_found_nowhere(&world, &token).await;
    }
}

/// Why visitors with a token of ours were refused, oldest first.
async fn denials(world: &World) -> Vec<String> {
    let query = "SELECT params ->> 'reason' FROM audit_logs WHERE action = 'vnc.access_denied' AND outcome <> 'success' \
         ORDER BY performed_at, id";
    let denials = world.home.texts(query).await;
    let facts = world
        .home
        .count("domain_events WHERE event_type = 'VNC_ACCESS_DENIED' AND status = 'COMPLETED'")
        .await;
    assert_eq!(facts, denials.len() as i64, "every refusal is a fact");
    denials
}

async fn the_answer_gives_a_cookie(world: &World, vm: &str) -> String {
    let alice = world.as_(User::Alice);
    let reply = ask(&alice, vm).await;
    let first = gives_access(&reply, vm);
    assert!(reply.body.get("ticket_id").is_none(), "{}", reply.text);
    // The unused token is sent again, not a second one.
    gives_access(&ask(&alice, vm).await, vm);
    let again = gives_access(&alice.get(&format!("/vms/{vm}/console/status")).await, vm);
    let home = &world.home;
    assert_eq!(home.count("console_grants").await, 1);
    assert_eq!(home.count("vnc_access_tokens").await, 1);
    assert_eq!(
        home.count("approval_tickets WHERE request_type = 'VNC_ACCESS'").await,
        0
    );
    assert_eq!(
        home.count("domain_events WHERE event_type = 'VNC_ACCESS_GRANTED'")
            .await,
        1
    );
    let issued = "audit_logs WHERE action = 'vnc.access' AND params ->> 'source' = 'console_request'";
    assert_eq!(home.count(issued).await, 1);
    a_look_uses_nothing_up(world, vm, &again).await;
    for nobody in [User::Mallory, User::Carol] {
        let refused = ask(&world.as_(nobody), vm).await;
        assert!(matches!(refused.status, 403 | 404), "{}", refused.text);
    }
    first
}

/// The token of an answer with access, which has it nowhere but in the cookie.
fn gives_access(reply: &Reply, vm: &str) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let path = format!("/api/v1/vms/{vm}/vnc");
    assert_eq!(reply.body["status"], "APPROVED");
    assert_eq!(reply.body["vnc_url"], json!(path));
    let token = token(reply);
    let cookie = reply.header("set-cookie");
    let mut attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    attributes.sort_unstable();
    let path = format!("Path={path}");
    let mut wanted = vec!["HttpOnly", "Max-Age=60", path.as_str(), "SameSite=Strict", "Secure"];
    wanted.sort_unstable();
    assert_eq!(attributes, wanted);
    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 1);
    assert!(!reply.text.contains(&token));
    let elsewhere = reply.headers.iter().filter(|(name, _)| name.as_str() != "set-cookie");
    for (name, value) in elsewhere {
        assert!(!value.to_str().unwrap_or_default().contains(&token), "{name}");
    }
    token
}

async fn a_look_uses_nothing_up(world: &World, vm: &str, token: &str) {
    let ready = json!({"status": "SESSION_READY", "vm_id": vm, "websocket_path": format!("/api/v1/vms/{vm}/vnc")});
    for _ in 0..2 {
        let seen = look(world, &world.server, vm, token).await;
        assert!(seen.headers.get("set-cookie").is_none(), "the cookie is still of use");
        assert_eq!(seen.ok(200), ready);
    }
    assert_eq!(world.home.count("vnc_access_tokens WHERE used_at IS NOT NULL").await, 0);
    assert_eq!(world.home.count("console_sessions").await, 0);
}

async fn strangers_stay_outside(world: &World, vm: &str, token: &str) {
    let server = &world.server;
    let nobody = world.anonymous().get(&format!("/vms/{vm}/vnc")).await;
    nobody.refused(401, "INVALID_VNC_TOKEN");
    for changed in [
        tampered(token, TELLING),
        tampered(token, token.len() - 1),
        "x".repeat(5_000),
    ] {
        let seen = look(world, server, vm, &changed).await;
        seen.refused(401, "INVALID_VNC_TOKEN");
    }
    assert_eq!(denials(world).await, [""; 0], "what is not ours is noise");

    let elsewhere = world.service.as_str();
    let refused = refusal(knock(world, server, elsewhere, token)).await;
    refused.refused(409, "VNC_TOKEN_VM_MISMATCH");
    let mallory = world.as_(User::Mallory).request(Method::GET, &format!("/vms/{vm}/vnc"));
    let refused = send(mallory.header("cookie", format!("vnc_bootstrap={token}"))).await;
    refused.refused(401, "INVALID_VNC_TOKEN");
    assert_eq!(denials(world).await, ["VM_MISMATCH", "FOREIGN_SESSION"]);
    let alice = world.as_(User::Alice).request(Method::GET, &format!("/vms/{vm}/vnc"));
    send(alice.header("cookie", format!("vnc_bootstrap={token}")))
        .await
        .ok(200);

    let page = |origin: &str| upgrade(world, server, vm, token).header("origin", origin);
    let foreign = [
        upgrade(world, server, vm, token),
        page("https://evil.example"),
        page("null"),
        page(&format!("{}.evil.example", server.site(""))),
    ];
    for request in foreign {
        refusal(request).await.refused(403, "FORBIDDEN");
    }
    let strange = visit(world, server, vm, token)
        .header("origin", server.site(""))
        .header("connection", "Upgrade")
        .header("upgrade", "websocket");
    refusal(strange).await.refused(400, "INVALID_REQUEST");
    a_look_uses_nothing_up(world, vm, token).await;
}

/// The token with one character exchanged.
fn tampered(token: &str, place: usize) -> String {
    let (before, rest) = token.split_at(place);
    let (character, after) = rest.split_at(1);
    // Far apart in the alphabet, so that more than padding changes.
    let other = if character == "A" { "g" } else { "A" };
    format!("{before}{other}{after}")
}

async fn a_viewer_sees_the_machine(world: &World, vm: &str, token: &str) {
    let name = world
        .home
        .texts(&format!("SELECT name FROM vms WHERE id = '{vm}'"))
        .await
        .remove(0);
    let mut viewer = Viewer::over(enter(world, &world.server, vm, token).await).await;
    let picture = shepherd_simulator::screen("dev", &name);
    viewer
        .see("the picture of the machine", |viewer| viewer.canvas == picture)
        .await;
    assert_eq!(viewer.colour(0, 0), [192; 3], "the first band is light grey");
    assert_eq!(viewer.colour(0, 104), [0; 3], "nobody has typed");
    viewer.press('a').await;
    viewer
        .see("what was typed", |viewer| viewer.colour(0, 104) != [0; 3])
        .await;
    viewer.click(200, 150).await;
    viewer
        .see("where the pointer is", |viewer| viewer.colour(204, 150) == [255; 3])
        .await;
    let open = world
        .as_(User::Admin)
        .get("/admin/console-grants?active=true")
        .await
        .ok(200);
    assert_eq!(open["items"][0]["open_sessions"], 1);
    let started = "audit_logs WHERE action = 'vnc.session_started' AND params ->> 'ip' = '127.0.0.1'";
    assert_eq!(world.home.count(started).await, 1);
}

async fn a_used_token_is_refused(world: &World, vm: &str, token: &str) {
    let refused = look(world, &world.server, vm, token).await;
    refused.refused(409, "VNC_TOKEN_REPLAYED");
    let refused = refusal(knock(world, &world.server, vm, token)).await;
    refused.refused(409, "VNC_TOKEN_REPLAYED");
    assert_eq!(
        denials(world).await,
        ["VM_MISMATCH", "FOREIGN_SESSION", "REPLAYED", "REPLAYED"]
    );
}

async fn of_a_crowd_one_comes_in(world: &World, vm: &str) -> String {
    let before = denials(world).await.len();
    let token = admitted(&world.as_(User::Alice), vm).await;
    let visits = (0..CROWD).map(|_| answered(knock(world, &world.server, vm, &token)));
    let (inside, outside): (Vec<_>, Vec<_>) = join_all(visits).await.into_iter().partition(Result::is_ok);
    assert_eq!(inside.len(), 1, "a token opens one console");
    for reply in outside.into_iter().filter_map(Result::err) {
        reply.refused(409, "VNC_TOKEN_REPLAYED");
    }
    assert_eq!(denials(world).await.len(), before + CROWD - 1);
    assert_eq!(world.home.count("console_sessions").await, 2);
    token
}

/// Neither a row of any table nor a line of the log has the token in it.
async fn a_token_is_found_nowhere(world: &World, token: &str) {
    let part = &token[token.len() - TELLING..];
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let tables = world.home.texts(tables).await;
    assert!(tables.len() > 40, "{tables:?}");
    for table in tables {
        let rows = format!("{table} AS found WHERE position('{part}' IN found::text) > 0");
        assert_eq!(world.home.count(&rows).await, 0, "{table}");
    }
    assert!(!world.server.log_text().contains(part));
}

/// How the console that was opened last has ended, and whether bytes went in and out.
async fn last_end(world: &World) -> String {
    let query = "SELECT coalesce(end_reason, 'OPEN') || ' ' || (bytes_in > 0)::text || ' ' || (bytes_out > 0)::text \
         FROM console_sessions ORDER BY started_at DESC, id DESC LIMIT 1";
    world.home.texts(query).await.remove(0)
}

/// The grant of a person, as an administrator finds it.
async fn grant_of(world: &World, user: &str) -> String {
    let path = format!("/admin/console-grants?active=true&user_id={user}");
    let listed = world.as_(User::Admin).get(&path).await.ok(200);
    text(&listed["items"][0]["id"])
}
