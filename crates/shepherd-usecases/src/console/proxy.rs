//! Open consoles: from the token that is used up to the reason of the end (console.md §4, §5).
//!
//! Who relays the bytes asks again and again whether the console may go on, and says at last how it ended. Each time
//! the row of the console gets a sign of life; one whose replica went away has none, counts for nobody, and is ended by
//! the hourly clean-up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::ids::{ConsoleGrantId, ConsoleSessionId, ConsoleTokenId, SessionId, UserId};
use shepherd_domain::vm::VmStatus;
use shepherd_ports::consoles::tokens::{LostConsole, NewConsoleSession, Relayed};
use shepherd_ports::metrics::{self, ConsoleTokenResult};
use shepherd_ports::providers::{ConsoleConnection, ProviderError};
use shepherd_ports::vms::VmRecord;
use shepherd_ports::{RequestContext, UnitOfWork};
use strum::IntoStaticStr;
use tokio::sync::watch;

use super::door::{self, Closed, Denial, Guest, Reason};
use super::token::Claims;
use crate::auth::authenticate::RequestMarks;
use crate::limit::{self, LimitType};
use crate::{Platform, UseCaseError};

/// Open consoles of one user over all replicas.
const MOST_PER_USER: u64 = 5;
/// When one of them may have ended, in seconds: a guess.
const RETRY_AFTER: u64 = 60;
/// Without a sign of life for so long a console is over: several times the longest `console.check_interval`.
const LOST_AFTER: TimeDelta = TimeDelta::minutes(2);
/// Looks in a row that may fail before a console ends for want of an answer.
const MOST_FAILED_CHECKS: u32 = 3;
/// What a look may take, however near the end of the grant is.
const SHORTEST_CHECK: Duration = Duration::from_secs(1);
/// The messages of a browser that a person causes: KeyEvent, PointerEvent and ClientCutText (RFC 6143 §7.5). Viewers
/// send all others by themselves.
const INPUTS: [u8; 3] = [4, 5, 6];
/// Lost consoles of one transaction.
const BATCH: u32 = 1_000;

/// Why a console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum End {
    /// The browser closed it, or its connection is gone.
    BrowserLeft,
    /// The browser answered no ping.
    BrowserSilent,
    /// The browser sent what no console understands.
    ProtocolError,
    /// Grant, session, account, rights or machine no longer are what they were.
    AccessLost,
    /// The grant has expired.
    GrantEnded,
    /// The machine no longer runs.
    VmStopped,
    /// The stream of the cluster could not be opened, broke, or ended while the machine was running.
    ClusterFailed,
    /// This replica stops.
    Shutdown,
    /// Nobody could say any more whether it may go on.
    Unchecked,
    /// Its replica went away.
    ReplicaLost,
}

impl End {
    /// The name in audit rows and in the row of the console.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The close code the browser is told.
    pub fn close_code(self) -> u16 {
        match self {
            Self::BrowserLeft => 1000,
            Self::Shutdown | Self::ReplicaLost => 1001,
            Self::ProtocolError => 1002,
            Self::BrowserSilent | Self::Unchecked => 1011,
            Self::AccessLost => 4403,
            Self::GrantEnded => 4408,
            Self::VmStopped => 4410,
            Self::ClusterFailed => 4502,
        }
    }
}

/// Counts what goes through a console.
#[derive(Default)]
pub struct Meter {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    inputs: AtomicU64,
}

impl Meter {
    /// A message that went from the browser to the machine.
    pub fn count_in(&self, message: &[u8]) {
        self.bytes_in.fetch_add(message.len() as u64, Ordering::Relaxed);
        if message.first().is_some_and(|kind| INPUTS.contains(kind)) {
            self.inputs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Bytes that went from the machine to the browser.
    pub fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Messages that begin with something a person did.
    fn inputs(&self) -> u64 {
        self.inputs.load(Ordering::Relaxed)
    }

    fn read(&self) -> Relayed {
        Relayed {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

/// An open console. Whoever has one must [`end`](Console::end) it.
pub struct Console {
    id: ConsoleSessionId,
    token: ConsoleTokenId,
    grant: ConsoleGrantId,
    grant_end: DateTime<Utc>,
    session: SessionId,
    user: UserId,
    vm: VmRecord,
    started_at: DateTime<Utc>,
    context: RequestContext,
    marks: RequestMarks,
    /// What went through it.
    pub meter: Meter,
}

/// Uses a token up and opens the console it is for.
///
/// # Errors
/// INVALID_VNC_TOKEN when the grant has ended, VNC_TOKEN_REPLAYED; RATE_LIMIT_EXCEEDED when the user has too many open
/// consoles, and then the token is as good as before.
pub async fn enter(platform: &Platform, guest: Guest) -> Result<Console, UseCaseError> {
    match use_up(platform, &guest).await {
        Ok((id, started_at)) => Ok(Console {
            id,
            token: guest.claims.jti,
            grant: guest.grant.id,
            grant_end: guest.grant.expires_at,
            session: guest.claims.sid,
            user: guest.claims.sub,
            vm: guest.vm,
            started_at,
            context: guest.context,
            marks: guest.marks,
            meter: Meter::default(),
        }),
        Err(Closed::Failed(error)) => Err(error),
        Err(Closed::Denied(denial)) => Err(door::refuse(platform, &guest.claims, &guest.context, denial).await),
    }
}

/// In one transaction: the number of open consoles, the token, the row and the audit row. What is refused changes
/// nothing.
async fn use_up(platform: &Platform, guest: &Guest) -> Result<(ConsoleSessionId, DateTime<Utc>), Closed> {
    let Claims { jti, sub, .. } = guest.claims;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    within_limit(&mut *uow, sub, now).await?;
    let tokens = uow.console_tokens();
    let held = tokens.lock_grant(guest.grant.id).await?;
    if !held.is_some_and(|grant| grant.is_live(now)) {
        return Err(Denial::invalid(Reason::GrantEnded).into());
    }
    if !tokens.consume(jti, guest.vm.id, now).await? {
        return Err(Denial::replayed(guest.vm.id).into());
    }
    let console = NewConsoleSession {
        id: platform.ids.id(),
        token_id: jti,
        grant_id: guest.grant.id,
        user_id: sub,
        vm_id: guest.vm.id,
        replica: platform.settings().controllers.instance.clone(),
        started_at: now,
    };
    tokens.open_console(&console).await?;
    let entry = AuditEntry::new(AuditAction::VncSessionStarted, "vm", guest.vm.id)
        .named(guest.vm.name.as_str())
        .environment(guest.vm.environment)
        .details(json!({"jti": jti, "grant": guest.grant.id, "console": console.id, "ip": guest.context.ip}));
    platform.audit(&mut *uow, &guest.context, now, [entry]).await?;
    uow.commit().await?;
    metrics::console_token(ConsoleTokenResult::Used);
    Ok((console.id, now))
}

async fn within_limit(uow: &mut dyn UnitOfWork, user: UserId, now: DateTime<Utc>) -> Result<(), UseCaseError> {
    let tokens = uow.console_tokens();
    tokens.hold_consoles(user).await?;
    let open = tokens.open_consoles(user, now - LOST_AFTER).await?;
    let open = u64::try_from(open).unwrap_or_default();
    if open < MOST_PER_USER {
        return Ok(());
    }
    Err(limit::exceeded(LimitType::ConsoleTokens, open, MOST_PER_USER, RETRY_AFTER, false).into())
}

impl Console {
    /// The screen of the machine.
    ///
    /// # Errors
    /// When the cluster refuses or cannot be reached.
    pub async fn connect(&self, platform: &Platform) -> Result<ConsoleConnection, ProviderError> {
        let Self { vm, .. } = self;
        platform
            .consoles
            .get_vnc_connection(vm.cluster_id, &vm.namespace, &vm.name)
            .await
    }

    /// Ends when the console has to, and says why: looks every `console.check_interval`, at the end of the grant, and
    /// whenever it is called.
    pub async fn watch(&self, platform: &Platform, mut called: watch::Receiver<()>) -> End {
        let mut failures = 0;
        let mut seen_inputs = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.until_next_check(platform)) => {}
                Ok(()) = called.changed() => {}
            }
            if self.grant_end <= platform.now() {
                return End::GrantEnded;
            }
            let inputs = self.meter.inputs();
            match self.check_in_time(platform, inputs > seen_inputs).await {
                Some(Some(end)) => return end,
                Some(None) => {
                    failures = 0;
                    seen_inputs = inputs;
                }
                None => {
                    failures += 1;
                    if failures == MOST_FAILED_CHECKS {
                        return End::Unchecked;
                    }
                }
            }
        }
    }

    /// The end of the grant is looked at on time.
    fn until_next_check(&self, platform: &Platform) -> Duration {
        let until_grant_end = (self.grant_end - platform.now()).to_std().unwrap_or_default();
        platform.settings().console.check_interval.min(until_grant_end)
    }

    /// Looks, for as long as there is time until the next look; `None` when nobody could say in that time.
    async fn check_in_time(&self, platform: &Platform, is_used: bool) -> Option<Option<End>> {
        let patience = self.until_next_check(platform).max(SHORTEST_CHECK);
        let checked = tokio::time::timeout(patience, self.check(platform, self.meter.read(), is_used)).await;
        match checked {
            Ok(Ok(end)) => Some(end),
            Ok(Err(error)) => {
                tracing::warn!(
                    console = %self.id,
                    error = &error as &dyn std::error::Error,
                    "nobody can say whether a console may go on"
                );
                None
            }
            Err(_) => {
                tracing::warn!(console = %self.id, "nobody could say in time whether a console may go on");
                None
            }
        }
    }

    /// What it means that the stream of the cluster has ended: the machine has stopped, or the cluster failed. The row
    /// may not say yet that the machine stops, so the cluster is asked.
    pub async fn end_of_stream(&self, platform: &Platform) -> End {
        if let Some(Some(end)) = self.check_in_time(platform, false).await {
            return end;
        }
        let vm = &self.vm;
        let seen = platform.provider.get_vm(vm.cluster_id, &vm.namespace, &vm.name);
        let patience = self.until_next_check(platform).max(SHORTEST_CHECK);
        match tokio::time::timeout(patience, seen).await {
            Ok(Ok(Some(seen))) => end_by_status(seen.condition.status(true)).unwrap_or(End::ClusterFailed),
            Ok(Ok(None)) => End::VmStopped,
            Ok(Err(_)) | Err(_) => End::ClusterFailed,
        }
    }

    /// Whether it may go on. Who types is using the session, whatever else happens in it.
    async fn check(&self, platform: &Platform, relayed: Relayed, is_used: bool) -> Result<Option<End>, UseCaseError> {
        let now = platform.now();
        let Some(grant) = platform.read.note_console(self.id, relayed, now).await? else {
            return Ok(Some(End::AccessLost));
        };
        if grant.revoked_at.is_some() {
            return Ok(Some(End::AccessLost));
        }
        if grant.expires_at <= now {
            return Ok(Some(End::GrantEnded));
        }
        let examined = async {
            let caller = door::person(platform, self.session, self.user, &self.marks, now).await?;
            door::allowed(platform, &caller, self.vm.id).await
        };
        let vm = match examined.await {
            Ok(vm) => vm,
            Err(Closed::Denied(_)) => return Ok(Some(End::AccessLost)),
            Err(Closed::Failed(error)) => return Err(error),
        };
        if is_used {
            platform.read.touch_session(self.session, now).await?;
        }
        Ok(end_by_status(vm.status))
    }

    /// Writes down that it ended, and why.
    ///
    /// # Errors
    /// When the store fails; the clean-up then ends it.
    pub async fn end(&self, platform: &Platform, end: End) -> Result<(), UseCaseError> {
        let now = platform.now();
        let relayed = self.meter.read();
        let mut uow = platform.begin().await?;
        let tokens = uow.console_tokens();
        if !tokens.end_console(self.id, end.as_str(), relayed, now).await? {
            return Ok(());
        }
        let entry = AuditEntry::new(AuditAction::VncSessionEnded, "vm", self.vm.id)
            .named(self.vm.name.as_str())
            .environment(self.vm.environment)
            .details(json!({
                "jti": self.token,
                "grant": self.grant,
                "console": self.id,
                "ip": self.context.ip,
                "duration_seconds": (now - self.started_at).num_seconds(),
                "bytes_in": relayed.bytes_in,
                "bytes_out": relayed.bytes_out,
                "reason": end.as_str(),
            }));
        platform.audit(&mut *uow, &self.context, now, [entry]).await?;
        Ok(uow.commit().await?)
    }
}

/// What the status of a machine means for its console. Where the cluster cannot say, the stream itself will tell.
fn end_by_status(status: VmStatus) -> Option<End> {
    match status {
        VmStatus::Running | VmStatus::Migrating | VmStatus::Unknown => None,
        VmStatus::Deleting => Some(End::AccessLost),
        VmStatus::Creating
        | VmStatus::Pending
        | VmStatus::Stopping
        | VmStatus::Stopped
        | VmStatus::Paused
        | VmStatus::Failed => Some(End::VmStopped),
    }
}

/// Ends the consoles of replicas that went away; answers how many.
///
/// # Errors
/// When the store fails.
pub(crate) async fn end_lost(platform: &Platform) -> Result<u64, UseCaseError> {
    let now = platform.now();
    let context = RequestContext::system("upkeep");
    let mut ended = 0;
    loop {
        let mut uow = platform.begin().await?;
        let tokens = uow.console_tokens();
        let lost = tokens
            .end_lost(now - LOST_AFTER, End::ReplicaLost.as_str(), BATCH)
            .await?;
        if !lost.is_empty() {
            platform
                .audit(&mut *uow, &context, now, lost.iter().map(lost_entry))
                .await?;
        }
        uow.commit().await?;
        ended += lost.len() as u64;
        if lost.len() < BATCH as usize {
            return Ok(ended);
        }
    }
}

fn lost_entry(lost: &LostConsole) -> AuditEntry {
    AuditEntry::new(AuditAction::VncSessionEnded, "vm", lost.vm_id)
        .environment(lost.environment)
        .details(json!({
            "jti": lost.token_id,
            "grant": lost.grant_id,
            "console": lost.id,
            "user": lost.user_id,
            "replica": lost.replica,
            "duration_seconds": (lost.ended_at - lost.started_at).num_seconds(),
            "bytes_in": lost.bytes_in,
            "bytes_out": lost.bytes_out,
            "reason": End::ReplicaLost.as_str(),
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_runs_keeps_its_console() {
        assert_eq!(end_by_status(VmStatus::Running), None);
        assert_eq!(end_by_status(VmStatus::Migrating), None);
        assert_eq!(end_by_status(VmStatus::Stopping).map(End::close_code), Some(4410));
        assert_eq!(end_by_status(VmStatus::Deleting).map(End::close_code), Some(4403));
    }

    #[test]
    fn a_meter_counts_both_ways() {
        let meter = Meter::default();
        meter.count_in(&[3, 0, 0]);
        meter.count_out(5);
        meter.count_in(&[4, 1, 0, 0]);
        let counted = meter.read();
        assert_eq!((counted.bytes_in, counted.bytes_out), (7, 5));
    }

    #[test]
    fn only_what_a_person_does_is_use() {
        let meter = Meter::default();
        let by_itself: [&[u8]; 6] = [&[], b"RFB 003.008\n", &[0, 4], &[2, 4, 5, 6], &[3, 4], &[248, 4]];
        for message in by_itself {
            meter.count_in(message);
        }
        assert_eq!(meter.inputs(), 0);
        for kind in INPUTS {
            meter.count_in(&[kind, 0]);
        }
        assert_eq!(meter.inputs(), 3);
    }
}
