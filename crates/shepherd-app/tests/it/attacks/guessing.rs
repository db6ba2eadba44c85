//! Guessing passwords and user names at the login.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use super::{Target, how_many, try_login};
use crate::client::{Caller, send};
use crate::server::Replica;
use crate::world::{PASSWORD, log_in};

/// `security.login.max_failures_user`.
const MAX_USER: usize = 5;
/// `security.login.max_failures_ip`.
const MAX_IP: usize = 20;
/// An address that is nobody's here.
const ELSEWHERE: &str = "198.51.100.7";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_slowed_down_however_it_is_done() {
    let target = Target::start(&[("SECURITY_LOGIN_MAX_FAILURES_IP", MAX_IP.to_string())]).await;
    target.enrol("frank", None).await;
    target.enrol("grace", None).await;

    a_burst_at_two_replicas_gets_no_more_guesses_than_one_by_one(&target, "frank").await;
    a_right_password_has_to_wait_as_well(&target).await;
    whoever_waited_gets_exactly_one_more_guess(&target, "frank").await;
    start_over(&target).await;
    a_burst_at_two_replicas_gets_no_more_guesses_than_one_by_one(&target, "nobody-at-all").await;
    whoever_waited_gets_exactly_one_more_guess(&target, "nobody-at-all").await;
    start_over(&target).await;
    other_spellings_are_the_same_name(&target).await;
    start_over(&target).await;
    many_names_from_one_address_are_limited_by_the_address(&target).await;
    start_over(&target).await;
    an_open_session_guesses_no_faster(&target).await;
    start_over(&target).await;
    the_name_of_an_unknown_user_is_not_kept(&target).await;
    behind_a_trusted_proxy_only_what_it_added_counts(&target).await;
}

/// As if nobody had failed before.
async fn start_over(target: &Target) {
    target.home.texts("DELETE FROM login_attempts RETURNING id::text").await;
}

/// As if all attempts had been made earlier.
async fn let_pass(target: &Target, seconds: u32) {
    let query = format!("UPDATE login_attempts SET at = at - interval '{seconds} seconds' RETURNING id::text");
    target.home.texts(&query).await;
}

async fn failures_recorded(target: &Target) -> i64 {
    target.home.count("audit_logs WHERE action = 'user.login_failed'").await
}

async fn a_burst_at_two_replicas_gets_no_more_guesses_than_one_by_one(target: &Target, name: &str) {
    const GUESSES: usize = 50;
    let before = failures_recorded(target).await;
    let (one, two) = (target.nobody(), target.nobody().at(&target.two));
    let guesses = (0..GUESSES).map(|number| {
        let caller = if number % 2 == 0 { &one } else { &two };
        async move { try_login(caller, name, &format!("guess number {number}")).await }
    });
    let replies = join_all(guesses).await;
    assert_eq!(how_many(&replies, 401), MAX_USER, "guesses that were looked at");
    assert_eq!(how_many(&replies, 429), GUESSES - MAX_USER);
    for reply in replies.into_iter().filter(|reply| reply.status == 429) {
        let seconds: u64 = reply.header("retry-after").parse().expect("seconds");
        assert!((1..=31).contains(&seconds), "{seconds}");
        let refused = reply.refused(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(refused["retry_after"], seconds);
        assert_eq!(
            (&refused["limit_type"], &refused["current_value"], &refused["max_value"]),
            (&json!("login"), &json!(MAX_USER), &json!(MAX_USER))
        );
    }
    let recorded = failures_recorded(target).await - before;
    assert_eq!(recorded, MAX_USER as i64, "a refused guess writes no audit row");
    let rows = target
        .home
        .count("login_attempts WHERE subject_kind = 'username_hash' AND NOT succeeded")
        .await;
    assert_eq!(rows, MAX_USER as i64, "nor any other");
}

async fn a_right_password_has_to_wait_as_well(target: &Target) {
    try_login(&target.nobody(), "frank", PASSWORD)
        .await
        .refused(429, "RATE_LIMIT_EXCEEDED");
    try_login(&target.nobody(), "grace", PASSWORD).await.ok(200);
}

/// After the burst: half a minute, then twice as long; refused guesses in between prolong nothing.
async fn whoever_waited_gets_exactly_one_more_guess(target: &Target, name: &str) {
    let nobody = target.nobody();
    for (wait, next) in [(31, 31..=61), (61, 91..=121)] {
        try_login(&nobody, name, "too early")
            .await
            .refused(429, "RATE_LIMIT_EXCEEDED");
        let_pass(target, wait).await;
        try_login(&nobody, name, "in time")
            .await
            .refused(401, "INVALID_CREDENTIALS");
        let reply = try_login(&nobody.at(&target.two), name, "once more").await;
        let seconds: u64 = reply.header("retry-after").parse().expect("seconds");
        assert!(next.contains(&seconds), "{seconds}");
        reply.refused(429, "RATE_LIMIT_EXCEEDED");
    }
}

async fn other_spellings_are_the_same_name(target: &Target) {
    let nobody = target.nobody();
    for spelling in ["frank", "FRANK", "Frank", "fRANK", "FrAnK"] {
        try_login(&nobody, spelling, "wrong")
            .await
            .refused(401, "INVALID_CREDENTIALS");
    }
    try_login(&nobody, "franK", PASSWORD)
        .await
        .refused(429, "RATE_LIMIT_EXCEEDED");
    // Look-alikes: Cyrillic a, Kelvin sign, full width, a trailing space, a zero-width space. Whether or not the
    // database takes one for the letter, it opens no second account of guesses for it.
    for lookalike in ["fr\u{430}nk", "fran\u{212a}", "\u{ff46}rank", "frank ", "frank\u{200b}"] {
        let reply = try_login(&nobody, lookalike, PASSWORD).await;
        assert!([401, 429].contains(&reply.status), "{lookalike}: {}", reply.text);
    }
}

async fn many_names_from_one_address_are_limited_by_the_address(target: &Target) {
    let nobody = target.nobody();
    for number in 0..MAX_IP {
        let name = format!("name-{number}");
        // A valid account in between does not clear the address.
        if number % 5 == 4 {
            log_in(&nobody, "grace", PASSWORD).await;
        }
        let forwarded = nobody
            .request(reqwest::Method::POST, "/auth/login")
            .header("x-forwarded-for", format!("203.0.113.{number}"))
            .header("forwarded", format!("for=203.0.113.{number}"))
            .header("x-real-ip", format!("203.0.113.{number}"))
            .json(&json!({"username": name, "password": "wrong"}));
        send(forwarded).await.refused(401, "INVALID_CREDENTIALS");
    }
    let refused = try_login(&nobody.at(&target.two), "grace", PASSWORD).await;
    assert_eq!(refused.refused(429, "RATE_LIMIT_EXCEEDED")["max_value"], MAX_IP);
    let others = "audit_logs WHERE ip IS NOT NULL AND host(ip) <> '127.0.0.1'";
    assert_eq!(target.home.count(others).await, 0, "a header is not an address");
}

async fn an_open_session_guesses_no_faster(target: &Target) {
    let session = log_in(&target.nobody(), "frank", PASSWORD).await;
    let session = target.caller(&session);
    let guess = async |old: &str| {
        let body = json!({"old_password": old, "new_password": "a fine new password"});
        session.post("/auth/change-password", &body).await
    };
    for _ in 0..MAX_USER {
        guess("wrong").await.refused(400, "INVALID_CURRENT_PASSWORD");
    }
    let limited = guess(PASSWORD).await;
    assert_ne!(limited.header("retry-after"), "");
    limited.refused(429, "RATE_LIMIT_EXCEEDED");
    try_login(&target.nobody(), "frank", PASSWORD)
        .await
        .refused(429, "RATE_LIMIT_EXCEEDED");
    session.get("/auth/me").await.ok(200);
}

async fn the_name_of_an_unknown_user_is_not_kept(target: &Target) {
    let secret = "my-password-in-the-wrong-field";
    try_login(&target.nobody(), secret, "x")
        .await
        .refused(401, "INVALID_CREDENTIALS");
    let newest = "SELECT to_jsonb(a)::text FROM audit_logs a WHERE action = 'user.login_failed' \
                  ORDER BY performed_at DESC, id DESC LIMIT 1";
    let row = target.home.texts(newest).await.pop().expect("a row");
    assert!(!row.contains(secret), "{row}");
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    let digest = row["resource_id"].as_str().unwrap_or_default();
    assert!(
        digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()),
        "{row}"
    );
    assert!(!target.one.log_text().contains(secret), "the log has it");
}

async fn behind_a_trusted_proxy_only_what_it_added_counts(target: &Target) {
    let trusting = [("SERVER_TRUSTED_PROXIES", "127.0.0.1/32".to_owned())];
    let replica = Replica::start(&target.home, "api", &trusting).await;
    let nobody = Caller::new(&target.home.client, &replica, None);
    for (sent, noted) in [
        (ELSEWHERE, ELSEWHERE),
        ("203.0.113.1, 198.51.100.7", ELSEWHERE),
        ("203.0.113.1, what?, 198.51.100.7", ELSEWHERE),
        ("203.0.113.1, 198.51.100.7, 127.0.0.1", ELSEWHERE),
        ("203.0.113.1, what?", "127.0.0.1"),
        ("", "127.0.0.1"),
    ] {
        let login = nobody
            .request(reqwest::Method::POST, "/auth/login")
            .header("x-forwarded-for", sent)
            .json(&json!({"username": "grace", "password": PASSWORD}));
        send(login).await.ok(200);
        let newest = "SELECT host(ip) FROM audit_logs ORDER BY performed_at DESC, id DESC LIMIT 1";
        assert_eq!(target.home.texts(newest).await, [noted], "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_a_refusal_tells_nothing_about_the_account() {
    const LOGINS: usize = 15;
    let target = Target::patient().await;
    target.enrol("frank", None).await;
    let disabled = target.enrol("dora", None).await;
    let path = format!("/admin/users/{}", disabled.id);
    target.patch(&path, &json!({"enabled": false})).await.ok(200);
    let nobody = target.nobody();

    let mut times: [Vec<Duration>; 4] = Default::default();
    for number in 0..LOGINS {
        // Side by side, so that what else happens on this machine hits all of them.
        for (kind, name, password) in [
            (0, "frank".to_owned(), "a wrong password"),
            (1, format!("unknown-{number}"), "a wrong password"),
            (2, "dora".to_owned(), PASSWORD),
        ] {
            let started = Instant::now();
            let reply = try_login(&nobody, &name, password).await;
            times[kind].push(started.elapsed());
            assert_eq!(reply.text, r#"{"code":"INVALID_CREDENTIALS"}"#, "{name}");
        }
        let started = Instant::now();
        nobody.get("/auth/me").await.refused(401, "UNAUTHORIZED");
        times[3].push(started.elapsed());
    }
    let [wrong, unknown, disabled, unhashed] = times.map(median);
    for (what, time) in [("unknown", unknown), ("disabled", disabled)] {
        let ratio = time / wrong;
        assert!((0.5..2.0).contains(&ratio), "{what}: {time} s against {wrong} s");
        assert!(time > unhashed * 5.0, "{what}: {time} s, without hashing {unhashed} s");
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}
