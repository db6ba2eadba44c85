//! Resolved rights per user, for the current epoch only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use shepherd_domain::access::{Grant, Subject, Term};
use shepherd_domain::ids::UserId;
use shepherd_ports::RepositoryError;
use shepherd_ports::identity::{Holdings, IdentityQueries};

use crate::{Platform, UseCaseError};

/// Most users remembered; beyond it the cache starts over.
const CAPACITY: usize = 10_000;

/// Remembers what a user may do while the epoch stands. Every change of rights raises the epoch in its own
/// transaction, so a revocation is effective with the next request on every replica.
#[derive(Default)]
pub struct SubjectCache {
    entries: Mutex<HashMap<UserId, Entry>>,
}

struct Entry {
    epoch: i64,
    valid_until: Option<DateTime<Utc>>,
    subject: Arc<Subject>,
}

impl SubjectCache {
    /// What the user may do at this epoch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resolve(
        &self,
        read: &dyn IdentityQueries,
        user: UserId,
        epoch: i64,
        now: DateTime<Utc>,
    ) -> Result<Arc<Subject>, RepositoryError> {
        if let Some(subject) = self.remembered(user, epoch, now) {
            return Ok(subject);
        }
        let holdings = read.holdings(user, now).await?;
        let valid_until = holdings.valid_until;
        let subject = Arc::new(subject_of(user, holdings));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CAPACITY {
            entries.clear();
        }
        entries.insert(
            user,
            Entry {
                epoch,
                valid_until,
                subject: Arc::clone(&subject),
            },
        );
        Ok(subject)
    }

    fn remembered(&self, user: UserId, epoch: i64, now: DateTime<Utc>) -> Option<Arc<Subject>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&user)?;
        (entry.epoch == epoch && entry.valid_until.is_none_or(|end| now < end)).then(|| Arc::clone(&entry.subject))
    }
}

/// What a user holds now, straight from the store: for judging the holder of an account, who need not be logged in.
/// The holdings of a disabled user count all the same; they are there again as soon as the account is enabled.
///
/// # Errors
/// When the store fails.
pub async fn load(platform: &Platform, user: UserId, now: DateTime<Utc>) -> Result<Subject, UseCaseError> {
    let holdings = platform.read.holdings(user, now).await?;
    Ok(subject_of(user, holdings))
}

/// The decision's view of what a user holds.
pub fn subject_of(user: UserId, holdings: Holdings) -> Subject {
    let grants = holdings
        .bindings
        .into_iter()
        .map(|binding| Grant {
            scope: binding.scope,
            environments: binding.environments,
            permissions: binding.permissions,
            term: Term::from(binding.hands_on_until),
        })
        .collect();
    let ends = holdings.membership_ends.into_iter();
    Subject::new(user, grants, holdings.memberships).with_terms(ends.map(|(system, end)| (system, Term::Until(end))))
}
