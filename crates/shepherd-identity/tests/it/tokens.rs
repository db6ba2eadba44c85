//! Session tokens: what is issued is verified, and nothing else is.
//!
//! The forged tokens are put together here by hand, so that the library under test has no part in them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_identity::JwtIssuer;
use shepherd_ports::authentication::{TokenClaims, TokenError, TokenIssuer};
use zeroize::Zeroizing;

const SECRET: &str = "the secret of the tests, 41 characters...";
const OTHER_SECRET: &str = "another secret of the tests, also long...";
const USER: UserId = UserId::from_bits(0x0190_0000_0000_7000_8000_0000_0000_0001);
const SESSION: SessionId = SessionId::from_bits(0x0190_0000_0000_7000_8000_0000_0000_0002);
/// Some moment of 2027, in seconds since 1970; also the moment the tokens are issued.
const NOW: i64 = 1_800_000_000;
const LIFETIME: i64 = 86_400;
const LEEWAY: i64 = 30;

fn secret(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn issuer_with(signing: &str, extra: &[&str]) -> JwtIssuer {
    match JwtIssuer::new(secret(signing), extra.iter().copied().map(secret).collect()) {
        Ok(issuer) => issuer,
        Err(error) => panic!("{error}"),
    }
}

fn issuer() -> JwtIssuer {
    issuer_with(SECRET, &[])
}

/// So many seconds after the tokens were issued.
fn after(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(NOW + seconds)
}

fn issued() -> TokenClaims {
    TokenClaims {
        user: USER,
        session: SESSION,
        issued_at: after(0),
        expires_at: after(LIFETIME),
    }
}

fn token() -> String {
    match issuer().issue(issued()) {
        Ok(token) => token,
        Err(error) => panic!("{error}"),
    }
}

fn header() -> Value {
    json!({"typ": "JWT", "alg": "HS256"})
}

fn claims() -> Value {
    json!({
        "iss": "shepherd",
        "sub": USER,
        "sid": SESSION,
        "jti": SESSION,
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + LIFETIME,
    })
}

/// The claims with one of them changed.
fn claims_with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// A token with this header and these claims and an HMAC-SHA256 of both, whatever the header says.
fn forge(header: &Value, claims: &Value, secret: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        message.as_bytes(),
    );
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn refuse(token: &str) {
    assert_eq!(issuer().verify(token, after(0)), Err(TokenError::Invalid), "{token}");
}

#[test]
fn an_issued_token_is_verified() {
    assert_eq!(issuer().verify(&token(), after(60)), Ok(issued()));
}

#[test]
fn a_token_says_what_the_specification_says() {
    let token = token();
    let parts: Vec<Value> = token
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts, [header(), claims()]);
}

#[test]
fn a_token_made_by_the_book_elsewhere_is_verified() {
    assert_eq!(
        issuer().verify(&forge(&header(), &claims(), SECRET), after(0)),
        Ok(issued())
    );
}

#[test]
fn algorithm_none_is_refused_with_and_without_signature() {
    for name in ["none", "None", "NONE", ""] {
        let header = json!({"typ": "JWT", "alg": name});
        refuse(&format!("{}.{}.", encode(&header), encode(&claims())));
        refuse(&format!("{}.{}", encode(&header), encode(&claims())));
        refuse(&forge(&header, &claims(), SECRET));
        refuse(&forge(&header, &claims(), ""));
    }
}

#[test]
fn other_algorithms_are_refused_though_the_tag_is_right() {
    for algorithm in [
        "HS384", "HS512", "RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA", "hs256",
    ] {
        refuse(&forge(&json!({"typ": "JWT", "alg": algorithm}), &claims(), SECRET));
    }
    refuse(&forge(&json!({"typ": "JWT"}), &claims(), SECRET));
}

#[test]
fn a_key_inside_the_header_is_not_trusted() {
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(OTHER_SECRET), "alg": "HS256"});
    refuse(&forge(
        &json!({"typ": "JWT", "alg": "HS256", "jwk": jwk}),
        &claims(),
        OTHER_SECRET,
    ));
}

#[test]
fn an_extension_nobody_understands_is_refused() {
    refuse(&forge(
        &json!({"typ": "JWT", "alg": "HS256", "crit": ["x"], "x": true}),
        &claims(),
        SECRET,
    ));
}

#[test]
fn the_signature_of_another_key_is_refused() {
    refuse(&forge(&header(), &claims(), OTHER_SECRET));
    refuse(&forge(&header(), &claims(), ""));
}

#[test]
fn a_further_key_verifies_and_never_signs() {
    let before_rotation = issuer_with(SECRET, &[]);
    let rotated = issuer_with(OTHER_SECRET, &[SECRET]);
    let after_rotation = issuer_with(OTHER_SECRET, &[]);
    assert_eq!(
        rotated.verify(&before_rotation.issue(issued()).unwrap(), after(0)),
        Ok(issued())
    );
    let new_token = rotated.issue(issued()).unwrap();
    assert_eq!(after_rotation.verify(&new_token, after(0)), Ok(issued()));
    assert_eq!(before_rotation.verify(&new_token, after(0)), Err(TokenError::Invalid));
}

#[test]
fn a_token_ends_with_its_time_and_the_leeway() {
    assert_eq!(issuer().verify(&token(), after(LIFETIME + LEEWAY - 1)), Ok(issued()));
    assert_eq!(
        issuer().verify(&token(), after(LIFETIME + LEEWAY)),
        Err(TokenError::Expired)
    );
    assert_eq!(
        issuer().verify(&token(), after(LIFETIME * 400)),
        Err(TokenError::Expired)
    );
}

#[test]
fn an_expired_token_of_another_key_is_invalid_rather_than_expired() {
    let forged = forge(&header(), &claims_with("exp", NOW - LIFETIME), OTHER_SECRET);
    assert_eq!(issuer().verify(&forged, after(0)), Err(TokenError::Invalid));
}

#[test]
fn a_token_that_is_not_valid_yet_is_refused_past_the_leeway() {
    assert_eq!(issuer().verify(&token(), after(-LEEWAY)), Ok(issued()));
    assert_eq!(issuer().verify(&token(), after(-LEEWAY - 1)), Err(TokenError::Invalid));
    refuse(&forge(&header(), &claims_with("nbf", NOW + LEEWAY + 1), SECRET));
}

#[test]
fn a_token_that_was_issued_in_the_future_is_refused_past_the_leeway() {
    let within = forge(&header(), &claims_with("iat", NOW + LEEWAY), SECRET);
    assert!(issuer().verify(&within, after(0)).is_ok());
    refuse(&forge(&header(), &claims_with("iat", NOW + LEEWAY + 1), SECRET));
}

#[test]
fn a_token_of_endless_length_is_refused_though_its_signature_is_right() {
    let within = forge(&header(), &claims_with("more", "x".repeat(300)), SECRET);
    assert!(issuer().verify(&within, after(0)).is_ok());
    refuse(&forge(&header(), &claims_with("more", "x".repeat(1024)), SECRET));
    refuse(&"a.".repeat(1024 * 1024));
}

#[test]
fn a_token_has_three_parts_and_no_more() {
    let token = token();
    for changed in [
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{token}"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
    ] {
        refuse(&changed);
    }
}

#[test]
fn every_claim_is_mandatory() {
    for name in ["iss", "sub", "sid", "jti", "iat", "nbf", "exp"] {
        let mut incomplete = claims();
        incomplete.as_object_mut().unwrap().remove(name);
        refuse(&forge(&header(), &incomplete, SECRET));
        refuse(&forge(&header(), &claims_with(name, Value::Null), SECRET));
        refuse(&forge(&header(), &claims_with(name, json!({})), SECRET));
    }
}

#[test]
fn times_that_no_calendar_knows_are_refused() {
    for name in ["iat", "nbf", "exp"] {
        for time in [
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
            json!("2027-01-15"),
            json!(-1.5),
        ] {
            refuse(&forge(&header(), &claims_with(name, time), SECRET));
        }
    }
}

#[test]
fn a_foreign_issuer_is_refused() {
    for issuer in [
        json!("somebody else"),
        json!(""),
        json!("Shepherd"),
        json!(["shepherd", "somebody else"]),
    ] {
        refuse(&forge(&header(), &claims_with("iss", issuer), SECRET));
    }
}

#[test]
fn a_token_for_another_audience_is_refused() {
    refuse(&forge(&header(), &claims_with("aud", "grafana"), SECRET));
}

#[test]
fn a_token_id_that_is_not_the_session_is_refused() {
    refuse(&forge(&header(), &claims_with("jti", USER.to_string()), SECRET));
}

#[test]
fn a_changed_payload_is_refused() {
    let token = token();
    let parts: Vec<&str> = token.split('.').collect();
    let promoted = encode(&claims_with("sub", SESSION.to_string()));
    refuse(&format!("{}.{promoted}.{}", parts[0], parts[2]));
}

#[test]
fn a_short_secret_is_refused_wherever_it_is() {
    let short = "only 31 characters, one too few";
    assert_eq!(short.len(), 31);
    assert!(JwtIssuer::new(secret(short), Vec::new()).is_err());
    assert!(JwtIssuer::new(secret(SECRET), vec![secret(OTHER_SECRET), secret(short)]).is_err());
    assert!(JwtIssuer::new(secret("exactly 32 characters, not less!"), Vec::new()).is_ok());
}

#[test]
fn a_printed_issuer_shows_no_secret() {
    let printed = format!("{:?}", issuer_with(SECRET, &[OTHER_SECRET]));
    let as_numbers = format!("{:?}", &SECRET.as_bytes()[..4]);
    assert!(!printed.contains("secret of the tests") && !printed.contains(as_numbers.trim_matches(['[', ']'])));
}

proptest! {
    #[test]
    fn one_changed_character_is_noticed_wherever_it_is(at: prop::sample::Index, other in "[A-Za-z0-9_.=-]") {
        let token = token();
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != other);
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        prop_assert_eq!(issuer().verify(&changed, after(0)), Err(TokenError::Invalid));
    }

    #[test]
    fn a_cut_token_is_refused(at: prop::sample::Index) {
        let token = token();
        prop_assert!(issuer().verify(&token[..at.index(token.len())], after(0)).is_err());
    }

    #[test]
    fn garbage_is_refused_without_a_panic(garbage in ".*") {
        prop_assert_eq!(issuer().verify(&garbage, after(0)), Err(TokenError::Invalid));
    }

    #[test]
    fn garbage_in_the_shape_of_a_token_is_refused_without_a_panic(
        garbage in "([A-Za-z0-9_-]{0,40}\\.){2}[A-Za-z0-9_-]{0,43}",
    ) {
        prop_assert_eq!(issuer().verify(&garbage, after(0)), Err(TokenError::Invalid));
    }

    #[test]
    fn signed_garbage_is_refused_without_a_panic(claims: Vec<u8>) {
        let message = format!("{}.{}", encode(&header()), URL_SAFE_NO_PAD.encode(&claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
        prop_assert_eq!(issuer().verify(&token, after(0)), Err(TokenError::Invalid));
    }

    #[test]
    fn any_times_are_survived(iat: i64, nbf: i64, exp: i64, now in -4_000_000_000_i64..4_000_000_000) {
        let mut claims = claims();
        claims["iat"] = iat.into();
        claims["nbf"] = nbf.into();
        claims["exp"] = exp.into();
        if let Ok(verified) = issuer().verify(&forge(&header(), &claims, SECRET), after(now)) {
            prop_assert!(nbf <= NOW + now + LEEWAY && NOW + now < exp.saturating_add(LEEWAY));
            prop_assert_eq!(verified.session, SESSION);
        }
    }
}
