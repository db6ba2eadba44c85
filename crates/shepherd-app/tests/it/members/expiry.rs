//! Memberships that end, and Systems that nobody looks after.

use reqwest::Method;
use serde_json::{Value, json};

use super::Team;
use crate::client::{Caller, send};
use crate::server::{PATIENCE, eventually};
use crate::world::{PASSWORD, Person, log_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memberships_end_at_their_time_and_systems_tell_when_nobody_looks_after_them() {
    let team = Team::start().await;
    a_membership_ends_by_itself(&team).await;
    what_has_expired_makes_room_and_is_cleared_away(&team).await;
    an_owner_does_not_expire(&team).await;
    a_system_tells_that_no_owner_can_log_in(&team).await;
}

/// Lets a membership end an hour ago.
async fn let_expire(team: &Team, who: &Person) {
    let sql = format!(
        "UPDATE resource_role_bindings SET expires_at = now() - interval '1 hour' \
         WHERE user_id = '{}' AND resource_id = '{}' RETURNING id::text",
        who.id, team.system
    );
    assert_eq!(team.home.texts(&sql).await.len(), 1);
}

async fn a_membership_ends_by_itself(team: &Team) {
    let eva = team.enrol("eva").await;
    let end = team.moment("20 seconds").await;
    let body = json!({"user_id": eva.id, "role": "member", "expires_at": end});
    let added = team.as_(&team.olga).post(&team.members(), &body).await.ok(201);
    assert_ne!(added["expires_at"], Value::Null);
    let shop = team.there(&eva).get(&team.shop()).await.ok(200);
    assert_eq!(shop["my_role"], "member");
    eventually("the membership has ended", PATIENCE, async || {
        (team.there(&eva).get(&team.shop()).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(team.listed().await, ["olga owner"]);
}

async fn what_has_expired_makes_room_and_is_cleared_away(team: &Team) {
    let finn = team.member("finn", "viewer").await;
    let_expire(team, &finn).await;
    team.there(&finn)
        .get(&team.shop())
        .await
        .refused(404, "SYSTEM_NOT_FOUND");
    for refused in [
        team.change(&team.olga, &finn, "member").await,
        team.remove(&team.olga, &finn).await,
    ] {
        refused.refused(404, "MEMBER_NOT_FOUND");
    }
    team.add(&team.olga, &finn, "admin").await.ok(201);
    let shop = team.there(&finn).get(&team.shop()).await.ok(200);
    assert_eq!(shop["my_role"], "admin");
    let rows = format!("resource_role_bindings WHERE user_id = '{}'", finn.id);
    assert_eq!(team.home.count(&rows).await, 1);
    let expired = "system.member_remove ACCESS_REVOKED by system:expiry";
    let added = "system.member_add ACCESS_GRANTED by olga";
    assert_eq!(team.recorded(&finn).await, [added, expired, added]);

    let_expire(team, &finn).await;
    let add = "SELECT id::text FROM graphile_worker.add_job('periodic_job', \
                   payload => '{\"job\": \"membership_expiry\"}', max_attempts => 1)";
    team.home.texts(add).await;
    eventually("the remains are cleared away", PATIENCE, async || {
        (team.home.count(&rows).await == 0).then_some(())
    })
    .await;
    assert_eq!(team.recorded(&finn).await, [added, expired, added, expired]);
    let ended = "audit_logs WHERE action = 'system.member_remove' AND performed_by = 'system:expiry' \
                 AND params ->> 'reason' = 'expired'";
    // Finn twice, and Eva.
    assert_eq!(team.home.count(ended).await, 3);
    let kept = format!("resource_role_bindings WHERE resource_id = '{}'", team.system);
    assert_eq!(team.home.count(&kept).await, 1, "the owner stays");
}

async fn an_owner_does_not_expire(team: &Team) {
    let gina = team.enrol("gina").await;
    let end = team.moment("1 hour").await;
    let body = json!({"user_id": gina.id, "role": "member", "expires_at": end});
    team.as_(&team.olga).post(&team.members(), &body).await.ok(201);
    let admin = team.change(&team.olga, &gina, "admin").await.ok(200);
    assert_ne!(admin["expires_at"], Value::Null, "another role ends at the same time");
    let owner = team.change(&team.olga, &gina, "owner").await.ok(200);
    assert_eq!(owner["expires_at"], Value::Null);
    team.remove(&team.olga, &gina).await.ok(204);
}

async fn a_system_tells_that_no_owner_can_log_in(team: &Team) {
    let admin = team.as_(&team.admin);
    let hugo = team.member("hugo", "admin").await;
    let disable = async |who: &Person, enabled: bool| {
        let request = admin.request(Method::PATCH, &format!("/admin/users/{}", who.id));
        send(request.json(&json!({"enabled": enabled}))).await.ok(200);
    };
    disable(&team.olga, false).await;
    let shop = team.there(&hugo).get(&team.shop()).await.ok(200);
    assert_eq!(shop["warnings"], json!([{"code": "SYSTEM_WITHOUT_ENABLED_OWNER"}]));
    let listed = team.there(&hugo).get("/systems").await.ok(200);
    assert_eq!(listed["items"][0]["warnings"], Value::Null);
    let refused = team.remove(&team.admin, &team.olga).await;
    refused.refused(409, "LAST_OWNER_CANNOT_BE_REMOVED");
    team.change(&team.admin, &hugo, "owner").await.ok(200);
    let shop = team.there(&hugo).get(&team.shop()).await.ok(200);
    assert_eq!(shop["warnings"], Value::Null);

    // A disabled user keeps memberships and may get new ones; they count again with the account.
    team.remove(&hugo, &team.olga).await.ok(204);
    team.add(&hugo, &team.olga, "owner").await.ok(201);
    team.remove(&hugo, &hugo).await.ok(204);
    disable(&team.olga, true).await;
    let nobody = Caller::new(&team.home.client, &team.two, None);
    let token = log_in(&nobody, "olga", PASSWORD).await;
    let olga = Caller::new(&team.home.client, &team.two, Some(token));
    assert_eq!(olga.get(&team.shop()).await.ok(200)["my_role"], "owner");
}
