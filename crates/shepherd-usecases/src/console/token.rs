//! Tokens: what a browser carries from the answer of the API to the console, once (console.md §3).
//!
//! The row of a token is its truth; what the browser carries is made from it and can be made again, so that an unused
//! token is sent again for as long as it is valid. Its text is never stored, logged or part of an address.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shepherd_domain::ActorId;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{ClusterId, ConsoleGrantId, ConsoleTokenId, SessionId, UserId, VmId};
use shepherd_domain::limit::whole_seconds;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::consoles::GrantRecord;
use shepherd_ports::consoles::tokens::{NewToken, TokenRecord};
use shepherd_ports::context::Caller;
use shepherd_ports::crypto::CipherError;
use shepherd_ports::metrics::{self, ConsoleTokenResult};
use shepherd_ports::vms::VmRecord;
use shepherd_ports::{RepositoryError, UnitOfWork};
use strum::IntoStaticStr;
use zeroize::Zeroizing;

use crate::limit::{self, LimitType};
use crate::session::liveness;
use crate::{Platform, UseCaseError, encryption};

/// Tokens that a grant gives in an hour.
const MOST_PER_HOUR: u64 = 20;
/// Who all tokens are for.
const AUDIENCE: &str = "vnc";
/// How much the clocks of two replicas may differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);
/// So long after its end a token is of interest to nobody.
const LONG: TimeDelta = TimeDelta::hours(1);
/// Between two looks for the keys of tokens, in milliseconds.
const BETWEEN_LOOKS: i64 = 10_000;

/// When this process last looked for the key of a token. Anybody can name a key in what looks like a token, so such
/// looks are few.
#[derive(Debug, Default)]
pub struct KeyLooks {
    last: AtomicI64,
}

impl KeyLooks {
    /// Whether it is time for one; then it is the caller's.
    fn take(&self, now: DateTime<Utc>) -> bool {
        let now = now.timestamp_millis();
        let last = self.last.load(Ordering::Relaxed);
        // The clock may have been set back.
        let is_due = now < last || now.saturating_sub(last) >= BETWEEN_LOOKS;
        let order = Ordering::Relaxed;
        is_due && self.last.compare_exchange(last, now, order, order).is_ok()
    }
}

/// What made a token be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// A request for the console.
    ConsoleRequest,
    /// A look at what became of one.
    ConsoleStatus,
}

/// A token on its way to the browser.
pub struct Issued {
    /// The value of the cookie.
    pub cookie: Zeroizing<String>,
    /// When it can no longer be used.
    pub expires_at: DateTime<Utc>,
}

/// What a token says; times in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    pub(super) jti: ConsoleTokenId,
    pub(super) sub: UserId,
    pub(super) sid: SessionId,
    pub(super) grant_id: ConsoleGrantId,
    pub(super) vm_id: VmId,
    cluster: ClusterId,
    namespace: String,
    pub(super) name: String,
    aud: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    single_use: bool,
}

impl Claims {
    /// What the row of a token of this machine says.
    fn of(token: &TokenRecord, vm: &VmRecord) -> Self {
        Self {
            jti: token.token_id,
            sub: token.user_id,
            sid: token.session_id,
            grant_id: token.grant_id,
            vm_id: token.vm_id,
            cluster: vm.cluster_id,
            namespace: vm.namespace.clone(),
            name: vm.name.clone(),
            aud: AUDIENCE.to_owned(),
            iat: token.issued_at.timestamp(),
            nbf: token.issued_at.timestamp(),
            exp: token.expires_at.timestamp(),
            single_use: true,
        }
    }

    /// Whether it is a console token that opens a console once.
    pub(super) fn is_for_consoles(&self) -> bool {
        self.aud == AUDIENCE && self.single_use
    }

    /// Whether it can be used at a moment.
    pub(super) fn is_timely(&self, now: DateTime<Utc>) -> bool {
        self.nbf <= (now + LEEWAY).timestamp() && now.timestamp() < self.exp
    }

    /// Whether its time was over long ago.
    pub(super) fn is_long_past(&self, now: DateTime<Utc>) -> bool {
        self.exp <= (now - LONG).timestamp()
    }
}

/// Gives the caller a token of a live grant: the unused one again as long as it is valid, and else a new one.
///
/// # Errors
/// CONSOLE_GRANT_NOT_FOUND when the grant has ended meanwhile, UNAUTHORIZED when the session has, RATE_LIMIT_EXCEEDED.
pub async fn issue(
    platform: &Platform,
    caller: &Caller,
    grant: &GrantRecord,
    vm: &VmRecord,
    source: Source,
) -> Result<Issued, UseCaseError> {
    let now = platform.now();
    let session = platform
        .read
        .get_session(caller.session, liveness(platform, now))
        .await?
        .ok_or_else(|| Problem::new(ErrorCode::Unauthorized).with("reason", "revoked"))?;
    let mut uow = platform.begin().await?;
    let held = uow.console_tokens().lock_grant(grant.id).await?;
    let Some(grant) = held.filter(|held| held.is_live(now) && held.user_id == caller.subject.user()) else {
        return Err(Problem::not_found(ErrorCode::ConsoleGrantNotFound, grant.id).into());
    };
    let unused = uow.console_tokens().unused(grant.id).await?;
    // Those of other sessions of the person, and those that have expired, make room for a new one.
    if let Some(token) = unused.filter(|token| token.session_id == session.id && token.expires_at > now) {
        drop(uow);
        metrics::console_token(ConsoleTokenResult::Reissued);
        return seal(platform, &token, vm);
    }
    within_limit(&mut *uow, grant.id, now).await?;
    let token = new_token(platform, caller, &grant, session.expires_at, now);
    uow.console_tokens().issue(&token, &ActorId::system("console")).await?;
    let entry = issued_entry(&token, &grant, vm, source);
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    metrics::console_token(ConsoleTokenResult::Issued);
    seal(platform, &record(token), vm)
}

/// RATE_LIMIT_EXCEEDED when the grant gave as many tokens in the last hour as it may.
async fn within_limit(uow: &mut dyn UnitOfWork, grant: ConsoleGrantId, now: DateTime<Utc>) -> Result<(), UseCaseError> {
    let window = TimeDelta::hours(1);
    let issues = uow.console_tokens().issued_after(grant, now - window).await?;
    let issued = u64::try_from(issues.count).unwrap_or_default();
    if issued < MOST_PER_HOUR {
        return Ok(());
    }
    let wait = whole_seconds(issues.first.unwrap_or(now) + window - now);
    Err(limit::exceeded(LimitType::ConsoleTokens, issued, MOST_PER_HOUR, wait, false).into())
}

fn new_token(
    platform: &Platform,
    caller: &Caller,
    grant: &GrantRecord,
    session_end: DateTime<Utc>,
    now: DateTime<Utc>,
) -> NewToken {
    let ttl = TimeDelta::from_std(platform.settings().console.token_ttl).unwrap_or(TimeDelta::zero());
    NewToken {
        token_id: platform.ids.id(),
        grant_id: grant.id,
        session_id: caller.session,
        user_id: grant.user_id,
        vm_id: grant.vm_id,
        issued_at: now,
        expires_at: (now + ttl).min(grant.expires_at).min(session_end),
    }
}

fn issued_entry(token: &NewToken, grant: &GrantRecord, vm: &VmRecord, source: Source) -> AuditEntry {
    let approver = grant.ticket_id.map(|_| grant.granted_by.to_string());
    let entry = AuditEntry::new(AuditAction::VncAccess, "vm", vm.id)
        .named(vm.name.as_str())
        .environment(vm.environment)
        .details(json!({
            "jti": token.token_id,
            "environment": vm.environment,
            "source": <&'static str>::from(source),
            "ticket": grant.ticket_id,
            "approver": approver,
        }));
    match grant.ticket_id {
        Some(ticket) => entry.ticket(ticket),
        None => entry,
    }
}

fn record(token: NewToken) -> TokenRecord {
    TokenRecord {
        token_id: token.token_id,
        grant_id: token.grant_id,
        session_id: token.session_id,
        user_id: token.user_id,
        vm_id: token.vm_id,
        issued_at: token.issued_at,
        expires_at: token.expires_at,
        used_at: None,
        revoked_at: None,
    }
}

fn seal(platform: &Platform, token: &TokenRecord, vm: &VmRecord) -> Result<Issued, UseCaseError> {
    let claims = serde_json::to_vec(&Claims::of(token, vm)).map_err(|source| UseCaseError::Stored {
        what: "console token",
        source,
    })?;
    Ok(Issued {
        cookie: platform
            .console_sealer
            .seal_token(token.vm_id, &Zeroizing::new(claims))?,
        expires_at: token.expires_at,
    })
}

/// The claims of a token; `None` when it is none of ours.
///
/// # Errors
/// When the store fails.
pub(super) async fn open(platform: &Platform, token: &str) -> Result<Option<Claims>, RepositoryError> {
    let mut opened = platform.console_sealer.open_token(token);
    if matches!(opened, Err(CipherError::UnknownKey(_))) && platform.token_key_looks.take(platform.now()) {
        // Another replica may have sealed it with a key that this one has not heard of.
        match encryption::reload(&*platform.keys, &*platform.read).await {
            Ok(()) => opened = platform.console_sealer.open_token(token),
            Err(UseCaseError::Repository(error)) => return Err(error),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the stored keys cannot be opened"
            ),
        }
    }
    let claims = match opened {
        Ok((vm, claims)) => serde_json::from_slice::<Claims>(&claims)
            .ok()
            .filter(|claims| claims.vm_id == vm),
        Err(_) => None,
    };
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn claims(iat: i64, exp: i64) -> Claims {
        Claims {
            jti: ConsoleTokenId::from_bits(1),
            sub: UserId::from_bits(2),
            sid: SessionId::from_bits(3),
            grant_id: ConsoleGrantId::from_bits(4),
            vm_id: VmId::from_bits(5),
            cluster: ClusterId::from_bits(6),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            aud: AUDIENCE.to_owned(),
            iat,
            nbf: iat,
            exp,
            single_use: true,
        }
    }

    #[test]
    fn a_token_is_good_from_its_issue_to_its_end() {
        let claims = claims(1_000, 2_000);
        assert!(claims.is_timely(moment(1_000)) && claims.is_timely(moment(1_999)));
        assert!(claims.is_timely(moment(970)), "the clock of the issuer may be ahead");
        assert!(!claims.is_timely(moment(969)));
        assert!(!claims.is_timely(moment(2_000)));
        assert!(!claims.is_long_past(moment(5_599)));
        assert!(claims.is_long_past(moment(5_600)));
    }

    #[test]
    fn keys_are_looked_for_now_and_then() {
        let looks = KeyLooks::default();
        assert!(looks.take(moment(1_000)));
        assert!(!looks.take(moment(1_000)) && !looks.take(moment(1_009)));
        assert!(looks.take(moment(1_010)));
        assert!(looks.take(moment(500)), "the clock was set back");
    }

    #[test]
    fn only_single_use_tokens_for_consoles_open_one() {
        assert!(claims(0, 1).is_for_consoles());
        for wrong in [
            Claims {
                aud: "api".to_owned(),
                ..claims(0, 1)
            },
            Claims {
                single_use: false,
                ..claims(0, 1)
            },
        ] {
            assert!(!wrong.is_for_consoles());
        }
    }
}
