//! Session tokens: compact JWTs signed with HMAC-SHA256.

mod provider;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{SessionId, UserId};
use shepherd_ports::authentication::{TokenClaims, TokenError, TokenIssuer};
use zeroize::Zeroizing;

/// `iss` of every token.
const ISSUER: &str = "shepherd";
/// How far the clocks of two replicas may be apart.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);
/// Most bytes of a token; ours have less than half of it. Nothing longer is decoded, let alone hashed with every key.
const MAX_TOKEN: usize = 1024;
/// Least bytes of a secret, as many as the hash has.
const MIN_SECRET: usize = 32;

/// A secret that cannot protect anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session secret and every further verification key need at least 32 characters")]
pub struct SecretError;

/// The claims on the wire; times are whole seconds since 1970. All are mandatory.
#[derive(Serialize, Deserialize)]
struct WireClaims {
    iss: String,
    sub: UserId,
    sid: SessionId,
    jti: SessionId,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Issues session tokens with one secret and verifies them with that and with further ones, so that a secret can be
/// replaced without ending all sessions. Secrets are overwritten when dropped and never printed.
#[derive(Debug)]
pub struct JwtIssuer {
    signing: EncodingKey,
    verification: Vec<DecodingKey>,
    validation: Validation,
}

impl JwtIssuer {
    /// An issuer that signs with `secret`.
    ///
    /// # Errors
    /// [`SecretError`] when any of the secrets is shorter than 32 characters.
    pub fn new(secret: Zeroizing<Vec<u8>>, extra: Vec<Zeroizing<Vec<u8>>>) -> Result<Self, SecretError> {
        if std::iter::once(&secret)
            .chain(&extra)
            .any(|secret| secret.len() < MIN_SECRET)
        {
            return Err(SecretError);
        }
        provider::install();
        Ok(Self {
            signing: EncodingKey::from_secret(&secret),
            verification: std::iter::once(&secret)
                .chain(&extra)
                .map(|secret| DecodingKey::from_secret(secret))
                .collect(),
            validation: validation(),
        })
    }

    /// The claims, if one of the keys signed them.
    fn authentic(&self, token: &str) -> Option<WireClaims> {
        let decoded = self
            .verification
            .iter()
            .find_map(|key| jsonwebtoken::decode::<WireClaims>(token, key, &self.validation).ok())?;
        // The library reads past `crit`; RFC 7515 wants a token refused whose extensions are not understood.
        decoded.header.crit.is_none().then_some(decoded.claims)
    }
}

/// What the library checks. Times are not among it: it would take them from the system clock.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["iss", "sub", "nbf", "exp"]);
    validation.set_issuer(&[ISSUER]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

impl TokenIssuer for JwtIssuer {
    fn issue(&self, claims: TokenClaims) -> Result<String, TokenError> {
        let wire = WireClaims {
            iss: ISSUER.to_owned(),
            sub: claims.user,
            sid: claims.session,
            jti: claims.session,
            iat: claims.issued_at.timestamp(),
            nbf: claims.issued_at.timestamp(),
            exp: claims.expires_at.timestamp(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &wire, &self.signing).map_err(|_| TokenError::Invalid)
    }

    fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<TokenClaims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Invalid);
        }
        let wire = self.authentic(token).ok_or(TokenError::Invalid)?;
        let time = |seconds| DateTime::from_timestamp(seconds, 0).ok_or(TokenError::Invalid);
        let (issued_at, not_before, expires_at) = (time(wire.iat)?, time(wire.nbf)?, time(wire.exp)?);
        let in_the_future = |time: DateTime<Utc>| time.signed_duration_since(now) > LEEWAY;
        if wire.sid != wire.jti || in_the_future(issued_at) || in_the_future(not_before) {
            return Err(TokenError::Invalid);
        }
        if now.signed_duration_since(expires_at) >= LEEWAY {
            return Err(TokenError::Expired);
        }
        Ok(TokenClaims {
            user: wire.sub,
            session: wire.sid,
            issued_at,
            expires_at,
        })
    }
}
