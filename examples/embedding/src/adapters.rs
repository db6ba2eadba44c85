//! Ports of Shepherd, implemented here: ids that count, and notifications that are printed instead of stored.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::{NotificationId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft};
use shepherd_ports::notifications::NotificationRepository;
use shepherd_ports::{IdSource, RepositoryError};

/// 1, 2, 3: ids for a program that keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct Numbers(AtomicU64);

impl IdSource for Numbers {
    fn next(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1
    }
}

/// Prints what would go to the inboxes of the recipients, and remembers it.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    pub(crate) printed: Vec<(Audience, String)>,
}

#[async_trait]
impl NotificationRepository for Printer {
    async fn insert_for(
        &mut self,
        audience: Audience,
        draft: &NotificationDraft,
        _at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError> {
        println!("to {audience:?}: {}: {}", draft.title(), draft.message());
        self.printed.push((audience, draft.title().to_owned()));
        Ok(1)
    }

    async fn mark_read(&mut self, _: UserId, _: NotificationId, _: DateTime<Utc>) -> Result<bool, RepositoryError> {
        // There is no inbox that a notification could be in.
        Ok(false)
    }

    async fn mark_all_read(&mut self, _: UserId, _: DateTime<Utc>) -> Result<(), RepositoryError> {
        Ok(())
    }
}
