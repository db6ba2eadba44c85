//! Ports of Shepherd, implemented here: ids that count, the clock of this machine, and notifications that become lines
//! of a file, for whatever picks them up there.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shepherd_domain::ids::{NotificationId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft};
use shepherd_ports::notifications::NotificationRepository;
use shepherd_ports::{Clock, IdSource, RepositoryError};

/// 1, 2, 3: ids for a program that keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct Numbers(AtomicU64);

impl IdSource for Numbers {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1
    }
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineClock;

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "this is where this program has its clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// Appends one line of JSON per notification to a file. Without a file they are printed.
#[derive(Clone, Debug)]
pub(crate) struct Spool(pub(crate) Option<PathBuf>);

impl Spool {
    /// One write per line, so that lines of several requests do not mix.
    fn append(&self, line: &str) -> io::Result<()> {
        match &self.0 {
            None => io::stdout().write_all(line.as_bytes()),
            Some(path) => {
                let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                file.write_all(line.as_bytes())
            }
        }
    }
}

/// Who gets it, for people who do not know Shepherd's types.
fn recipients(audience: Audience) -> Value {
    match audience {
        Audience::User(user) => json!({"user": user}),
        Audience::VmOwner { owner, system } => json!({"owner": owner, "system": system}),
        Audience::Approvers { environment, except } => json!({"approvers_of": environment, "except": except}),
        Audience::EligibleApprovers { ticket, except } => json!({"approvers_of_ticket": ticket, "except": except}),
        Audience::PlatformAdmins => json!("administrators"),
    }
}

#[async_trait]
impl NotificationRepository for Spool {
    async fn insert_for(
        &mut self,
        audience: Audience,
        draft: &NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError> {
        let line = json!({
            "at": at.to_rfc3339_opts(SecondsFormat::Secs, true), "to": recipients(audience), "type": draft.kind,
            "title": draft.title(), "message": draft.message(),
        });
        match self.append(&format!("{line}\n")) {
            Ok(()) => Ok(1),
            Err(error) => Err(RepositoryError::Unavailable(Box::new(error))),
        }
    }

    async fn mark_read(&mut self, _: UserId, _: NotificationId, _: DateTime<Utc>) -> Result<bool, RepositoryError> {
        // There is no inbox that a notification could be in.
        Ok(false)
    }

    async fn mark_all_read(&mut self, _: UserId, _: DateTime<Utc>) -> Result<(), RepositoryError> {
        Ok(())
    }
}
