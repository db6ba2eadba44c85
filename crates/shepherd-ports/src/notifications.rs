//! Notifications: sending inside a transaction, reading one's own.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::ids::{NotificationId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft};
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;

/// Stores notifications.
#[async_trait]
pub trait NotificationRepository: Send {
    /// Inserts one row per recipient of the audience by one statement; answers how many.
    async fn insert_for(
        &mut self,
        audience: Audience,
        draft: &NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError>;
    /// Inserts one row per notification and recipient of its audience; answers how many. A store that can does so by
    /// one statement for all.
    async fn insert_many(
        &mut self,
        messages: &[(Audience, NotificationDraft)],
        at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError> {
        let mut inserted = 0;
        for (audience, draft) in messages {
            inserted += self.insert_for(*audience, draft, at).await?;
        }
        Ok(inserted)
    }
    /// Marks one as read; `false` when it is not the user's.
    async fn mark_read(&mut self, user: UserId, id: NotificationId, at: DateTime<Utc>)
    -> Result<bool, RepositoryError>;
    /// Marks all as read.
    async fn mark_all_read(&mut self, user: UserId, at: DateTime<Utc>) -> Result<(), RepositoryError>;
}

/// Sends notifications in the caller's transaction: the change and its notification stay or go together.
#[async_trait]
pub trait NotificationSender: Send + Sync {
    /// Sends to one audience.
    async fn send(
        &self,
        store: &mut dyn NotificationRepository,
        audience: Audience,
        draft: NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError>;
    /// Sends several, each to its own audience.
    async fn send_many(
        &self,
        store: &mut dyn NotificationRepository,
        messages: Vec<(Audience, NotificationDraft)>,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError>;
}

/// A stored notification.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.16")]
pub struct NotificationRecord {
    pub id: NotificationId,
    #[serde(rename = "type")]
    pub kind: String,
    pub severity: String,
    pub title: String,
    pub message: String,
    pub params: Value,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub read: bool,
    pub read_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// Reads one's own notifications.
#[async_trait]
pub trait NotificationQueries: Send + Sync {
    /// Newest first.
    async fn list_notifications(
        &self,
        user: UserId,
        unread_only: bool,
        page: PageRequest,
    ) -> Result<Page<NotificationRecord>, RepositoryError>;
    /// How many are unread.
    async fn unread_count(&self, user: UserId) -> Result<i64, RepositoryError>;
}
