//! Forged, stolen and dead tokens. The secret is known here, so a forgery can be wrong in one thing only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use ring::hmac;
use serde_json::{Value, json};

use super::{NOTHING, Target};
use crate::client::send;
use crate::server::Replica;
use crate::world::{PASSWORD, Person, log_in};

const SECRET: &str = "the secret of these attacks - long enough";
const OTHER_SECRET: &str = "another secret of these attacks - as long";
const LEEWAY: i64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_but_a_living_one_opens_anything() {
    let target = Target::start(&[("SESSION_SECRET", SECRET.to_owned())]).await;
    let carol = target.enrol("carol", None).await;
    let claims = claims_of(&carol.token);
    opens(&target, &forge("HS256", &claims, SECRET)).await;

    a_token_with_alg_none_is_refused(&target, &carol, &claims).await;
    a_token_of_another_algorithm_is_refused(&target, &claims).await;
    a_token_signed_with_another_key_is_refused(&target, &claims).await;
    a_token_for_somebody_elses_session_is_refused(&target, &carol, &claims).await;
    a_tampered_payload_is_refused(&target, &carol, &claims).await;
    a_token_without_a_claim_is_refused(&target, &claims).await;
    an_expired_token_is_refused(&target, &claims).await;
    a_token_from_the_future_is_refused(&target, &claims).await;
    a_very_long_token_is_refused(&target, &claims).await;
    only_one_bearer_header_counts(&target, &carol.token).await;
    an_old_key_verifies_during_a_roll_over_and_a_new_one_signs(&target, &carol.token).await;
    an_idle_or_expired_session_is_dead_though_its_token_lives(&target).await;
    a_revoked_session_is_dead_on_every_replica(&target, &carol).await;
}

fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn with(claims: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims.clone();
    claims[name] = value.into();
    claims
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// A token with these claims and an HMAC-SHA256, whatever its header says.
fn forge(algorithm: &str, claims: &Value, secret: &str) -> String {
    let header = json!({"typ": "JWT", "alg": algorithm});
    let message = format!("{}.{}", encode(&header), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

async fn opens(target: &Target, token: &str) {
    target.caller(token).get("/auth/me").await.ok(200);
}

async fn refused(target: &Target, token: &str, reason: &str) {
    let session = target.caller(token);
    for session in [session.at(&target.two), session] {
        let params = session.get("/auth/me").await.refused(401, "UNAUTHORIZED");
        assert_eq!(params["reason"], reason, "{token}");
    }
}

async fn a_token_with_alg_none_is_refused(target: &Target, carol: &Person, claims: &Value) {
    let signature = carol.token.rsplit('.').next().unwrap_or_default();
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(&json!({"typ": "JWT", "alg": name}));
        let claims = encode(claims);
        refused(target, &format!("{header}.{claims}."), "invalid").await;
        refused(target, &format!("{header}.{claims}"), "invalid").await;
        refused(target, &format!("{header}.{claims}.{signature}"), "invalid").await;
    }
    refused(target, &forge("none", claims, SECRET), "invalid").await;
}

async fn a_token_of_another_algorithm_is_refused(target: &Target, claims: &Value) {
    for name in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256"] {
        refused(target, &forge(name, claims, SECRET), "invalid").await;
    }
}

async fn a_token_signed_with_another_key_is_refused(target: &Target, claims: &Value) {
    for secret in [OTHER_SECRET, "", "secret", &SECRET[1..]] {
        refused(target, &forge("HS256", claims, secret), "invalid").await;
    }
}

async fn a_token_for_somebody_elses_session_is_refused(target: &Target, carol: &Person, claims: &Value) {
    let admin = claims_of(&target.admin.token);
    // The signature is right: even a leaked key does not turn one's own session into the administrator's.
    let mine_as_admin = with(claims, "sub", admin["sub"].clone());
    refused(target, &forge("HS256", &mine_as_admin, SECRET), "invalid").await;
    let admins_as_me = with(&admin, "sub", carol.id.as_str());
    refused(target, &forge("HS256", &admins_as_me, SECRET), "invalid").await;
    let of_nothing = with(&with(claims, "sid", NOTHING), "jti", NOTHING);
    refused(target, &forge("HS256", &of_nothing, SECRET), "revoked").await;
    refused(
        target,
        &forge("HS256", &with(claims, "jti", NOTHING), SECRET),
        "invalid",
    )
    .await;
    for issuer in ["grafana", "Shepherd", ""] {
        refused(target, &forge("HS256", &with(claims, "iss", issuer), SECRET), "invalid").await;
    }
}

async fn a_tampered_payload_is_refused(target: &Target, carol: &Person, claims: &Value) {
    let parts: Vec<&str> = carol.token.split('.').collect();
    for (name, value) in [
        ("sub", json!(target.admin.id)),
        ("exp", json!(claims["exp"].as_i64().unwrap_or_default() + 1)),
        ("roles", json!(["platform:admin"])),
    ] {
        let payload = encode(&with(claims, name, value));
        refused(target, &format!("{}.{payload}.{}", parts[0], parts[2]), "invalid").await;
    }
}

async fn a_token_without_a_claim_is_refused(target: &Target, claims: &Value) {
    for name in ["iss", "sub", "sid", "jti", "iat", "nbf", "exp"] {
        let mut incomplete = claims.clone();
        incomplete.as_object_mut().unwrap().remove(name);
        refused(target, &forge("HS256", &incomplete, SECRET), "invalid").await;
        refused(
            target,
            &forge("HS256", &with(claims, name, Value::Null), SECRET),
            "invalid",
        )
        .await;
    }
}

async fn an_expired_token_is_refused(target: &Target, claims: &Value) {
    let issued = claims["iat"].as_i64().unwrap_or_default();
    let expired = with(claims, "exp", issued - LEEWAY - 1);
    refused(target, &forge("HS256", &expired, SECRET), "expired").await;
    refused(target, &forge("HS256", &expired, OTHER_SECRET), "invalid").await;
    for never in [json!("never"), json!(i64::MAX), json!(1e300), json!([])] {
        refused(target, &forge("HS256", &with(claims, "exp", never), SECRET), "invalid").await;
    }
}

async fn a_token_from_the_future_is_refused(target: &Target, claims: &Value) {
    let issued = claims["iat"].as_i64().unwrap_or_default();
    for name in ["iat", "nbf"] {
        // An hour, since this test takes its time as well.
        let early = with(claims, name, issued + 3600);
        refused(target, &forge("HS256", &early, SECRET), "invalid").await;
    }
}

async fn a_very_long_token_is_refused(target: &Target, claims: &Value) {
    let long = forge("HS256", &with(claims, "more", "x".repeat(4096)), SECRET);
    refused(target, &long, "invalid").await;
    refused(target, &"a.".repeat(4096), "invalid").await;
}

async fn only_one_bearer_header_counts(target: &Target, token: &str) {
    let nobody = target.nobody();
    let get = || nobody.request(Method::GET, "/auth/me");
    let with_header = |request: RequestBuilder, value: &str| request.header("authorization", value);
    let bearer = format!("Bearer {token}");
    send(with_header(get(), &bearer)).await.ok(200);
    send(with_header(get(), &format!("bearer {token}"))).await.ok(200);
    for other in [
        token.to_owned(),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("JWT {token}"),
        format!("Bearer{token}"),
        format!("Bearer:{token}"),
        format!("Basic Og== Bearer {token}"),
        String::new(),
    ] {
        let params = send(with_header(get(), &other)).await.refused(401, "UNAUTHORIZED");
        assert_eq!(params["reason"], "missing", "{other}");
    }
    for (first, second) in [
        (bearer.as_str(), "Bearer something"),
        ("Basic Og==", bearer.as_str()),
        (bearer.as_str(), bearer.as_str()),
    ] {
        let both = with_header(with_header(get(), first), second);
        send(both).await.refused(401, "UNAUTHORIZED");
    }
    for elsewhere in [
        get().header("x-authorization", &bearer),
        get().header("cookie", format!("token={token}; session={token}")),
        nobody.request(Method::GET, &format!("/auth/me?access_token={token}&token={token}")),
    ] {
        let params = send(elsewhere).await.refused(401, "UNAUTHORIZED");
        assert_eq!(params["reason"], "missing");
    }
}

async fn an_old_key_verifies_during_a_roll_over_and_a_new_one_signs(target: &Target, old: &str) {
    let rolled_over = [
        ("SESSION_SECRET", OTHER_SECRET.to_owned()),
        ("SECURITY_JWT_VERIFICATION_KEYS", SECRET.to_owned()),
    ];
    let replica = Replica::start(&target.home, "api", &rolled_over).await;
    target.caller(old).at(&replica).get("/auth/me").await.ok(200);
    let new = log_in(&target.nobody().at(&replica), "carol", PASSWORD).await;
    target.caller(&new).at(&replica).get("/auth/me").await.ok(200);
    refused(target, &new, "invalid").await;
}

async fn an_idle_or_expired_session_is_dead_though_its_token_lives(target: &Target) {
    for change in [
        "last_seen_at = last_seen_at - interval '31 minutes'",
        "expires_at = now() - interval '1 second'",
        "revoked_at = now()",
    ] {
        let token = log_in(&target.nobody(), "carol", PASSWORD).await;
        opens(target, &token).await;
        let session = claims_of(&token)["sid"].as_str().unwrap_or_default().to_owned();
        let query = format!("UPDATE user_sessions SET {change} WHERE id = '{session}' RETURNING id::text");
        assert_eq!(target.home.texts(&query).await, [session]);
        let reason = if change.starts_with("revoked") {
            "revoked"
        } else {
            "expired"
        };
        refused(target, &token, reason).await;
    }
}

async fn a_revoked_session_is_dead_on_every_replica(target: &Target, carol: &Person) {
    let session = target.caller(&carol.token);
    session.at(&target.two).get("/auth/me").await.ok(200);
    session.post("/auth/logout", &json!({})).await.ok(204);
    refused(target, &carol.token, "revoked").await;
}
